"""Clients that write and read while a cluster is being changed, and what they have to say of it.

    with load_on(lab, operator, ["infra1", "infra2", "infra3"]) as load:
        operator.apply()
        report = load.report()
    report.assert_clean(restarted={"infra1", "infra2", "infra3"})

The clients are a process of their own beside the machines (load_clients.py): a busy test makes no gaps.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.load_records import Event, Keys, Record, Request, from_lines
from tests.lab.load_report import Report, report_of
from tests.lab.operator import Operator
from tests.lab.restart_history import History, history_of
from tests.lab.shell import LabError

ROOT = Path(__file__).parents[2]
CLIENT_PORT = 2379
WAIT_S = 30.0


class Load:
    """A writer and a reader on each of its members."""

    def __init__(self, lab: Lab, operator: Operator) -> None:
        self._lab = lab
        self._operator = operator
        self._keys = Keys(f"load-{time.monotonic_ns()}")
        self._file = operator.folder / f"{self._keys.folder}.jsonl"
        self._file.touch()
        self._said = self._file.with_suffix(".log")
        self._process = self._start()
        self._read = 0
        self._records: list[Record] = []
        self._names: list[str] = []
        self._report: Report | None = None

    def _start(self) -> subprocess.Popen[str]:
        # A little more CPU than the members get: what is measured must not be how long the clients waited.
        argv = ["nice", "-n", "-5", sys.executable, "-m", "tests.lab.load_clients"]
        with self._said.open("w") as said:
            return self._lab.popen(
                [*argv, self._operator.folder / "pki", self._file, self._keys.folder],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=said, stderr=said,
            )  # fmt: skip

    # Members come and go

    def add(self, name: str) -> None:
        """Returns once the member answers both of its clients. A learner does not: add it when it votes."""
        self._send_command(f"add {name} {self._lab[name].address} {CLIENT_PORT}")
        self._names.append(name)
        self.wait_flowing(name)

    def is_on(self, name: str) -> bool:
        return name in self._names

    def remove(self, name: str) -> None:
        """Returns once its clients are done: call it before the member is stopped for good, or expect failures."""
        before = len(self.records())
        self._send_command(f"remove {name}")
        self._names.remove(name)
        self._wait_until(
            lambda: any(
                isinstance(each, Event) and each.event == "removed" for each in self.records()[before:]
            ),
            f"the clients of {name} do not end",
        )

    def wait_flowing(self, *names: str) -> None:
        """Until each of these members (all of them, if none is named) answers its writer and its reader again."""
        before = len(self.records())
        wanted = {f"{name}/{role}" for name in names or self._names for role in ("writer", "reader")}

        def flows() -> bool:
            new = self.records()[before:]
            return wanted <= {each.client for each in new if isinstance(each, Request) and not each.error}

        self._wait_until(flows, f"not all of {', '.join(sorted(wanted))} are answered")

    def _send_command(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def _wait_until(self, reached: Callable[[], bool], why: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not reached():
            if self._process.poll() is not None:
                raise LabError(f"the load's clients ended: {self._said.read_text()}")
            if time.monotonic() > deadline:
                raise LabError(f"after {WAIT_S:.0f} s {why}; {self._last_failure()}")
            time.sleep(0.1)

    # What they saw

    def records(self) -> list[Record]:
        """So far."""
        with self._file.open() as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._read += len(whole.encode())
        self._records += from_lines(whole.splitlines())
        return self._records

    def report(self) -> Report:
        """Ends the load, reads everything back, judges it, and prints the one line that sums it up."""
        if self._report is None:
            self.wait_flowing()
            self.stop()
            self._report = report_of(self.records(), self._read_kept_keys(), self._read_histories())
            print(f"\n{self._report}")
        return self._report

    def stop(self) -> None:
        """Lets requests on their way come to their end; a second call does nothing."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        if self._process.wait(WAIT_S) != 0:
            raise LabError(f"the load's clients failed: {self._said.read_text()}")

    def _read_kept_keys(self) -> set[str]:
        """By another client than those that wrote them: etcdctl, a linearizable read."""
        return set(self._operator.ctl("get", self._keys.log, "--prefix", "--keys-only").split())

    def _read_histories(self) -> History:
        return sum((history_of(machine) for machine in self._lab if machine.is_on()), History())

    def _last_failure(self) -> str:
        failed = [each for each in self.records() if isinstance(each, Request) and each.error]
        return f"last failure: {failed[-1]}" if failed else "no request failed"

    def kill(self) -> None:
        """Whatever state it is in."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def load_on(lab: Lab, operator: Operator, names: Sequence[str] = ()) -> Iterator[Load]:
    """Load on these members (on all of the lab's machines, if none is named), from their first answers on."""
    load = Load(lab, operator)
    try:
        for name in names or [machine.name for machine in lab]:
            load.add(name)
        yield load
    finally:
        load.kill()
