"""Clients that write and read while a cluster is changed, and the report about their requests.

    with load_on(lab, operator, ["infra1", "infra2", "infra3"]) as load:
        operator.apply()
        report = load.report()
    report.assert_clean(restarted={"infra1", "infra2", "infra3"})

The clients run in a separate process (load_clients.py), so that a busy test causes no gaps.
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
        self._log = self._file.with_suffix(".log")
        self._process = self._start()
        self._read = 0
        self._records: list[Record] = []
        self._names: list[str] = []
        self._report: Report | None = None

    def _start(self) -> subprocess.Popen[str]:
        # The clients get more CPU than the members, so that a gap is not a client that waited for CPU.
        argv = ["nice", "-n", "-5", sys.executable, "-m", "tests.lab.load_clients"]
        with self._log.open("w") as log:
            return self._lab.popen(
                [*argv, self._operator.folder / "pki", self._file, self._keys.folder],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    # Adding and removing members

    def add(self, name: str) -> None:
        """Add clients to a member and wait for their first responses. A learner gives none: add it when it votes."""
        self._send_command(f"add {name} {self._lab[name].address} {CLIENT_PORT}")
        self._names.append(name)
        self.wait_flowing(name)

    def is_on(self, name: str) -> bool:
        return name in self._names

    def remove(self, name: str) -> None:
        """Remove the clients of a member and wait until they have ended.

        Call it before the member is removed. Otherwise requests fail.
        """
        before = len(self.records())
        self._send_command(f"remove {name}")
        self._names.remove(name)
        self._wait_until(
            lambda: any(
                isinstance(each, Event) and each.event == "removed" for each in self.records()[before:]
            ),
            f"the clients of {name} have not ended",
        )

    def wait_flowing(self, *names: str) -> None:
        """Wait until the writer and the reader of each of these members (default: all) have a new response."""
        before = len(self.records())
        wanted = {f"{name}/{role}" for name in names or self._names for role in ("writer", "reader")}

        def all_succeeded() -> bool:
            new = self.records()[before:]
            answered = (each for each in new if isinstance(each, Request) and not each.error)
            return wanted <= {each.client.partition("~")[0] for each in answered}

        self._wait_until(
            all_succeeded, f"some of these clients have no response: {', '.join(sorted(wanted))}"
        )

    def _send_command(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def _wait_until(self, reached: Callable[[], bool], why: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not reached():
            if self._process.poll() is not None:
                raise LabError(f"the clients of the load ended: {self._log.read_text()}")
            if time.monotonic() > deadline:
                raise LabError(f"{why} after {WAIT_S:.0f} s; {self._last_failure()}")
            time.sleep(0.1)

    # Results

    def records(self) -> list[Record]:
        """Return all records so far."""
        with self._file.open() as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._read += len(whole.encode())
        self._records += from_lines(whole.splitlines())
        return self._records

    def report(self) -> Report:
        """End the load, read all keys back, print one line of figures, and return the report."""
        if self._report is None:
            self.wait_flowing()
            self.stop()
            self._report = report_of(self.records(), self._read_kept_keys(), self._read_histories())
            print(f"\n{self._report}")
        return self._report

    def stop(self) -> None:
        """Wait for the requests under way and end the clients. A second call does nothing."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        if self._process.wait(WAIT_S) != 0:
            raise LabError(f"the clients of the load failed: {self._log.read_text()}")

    def _read_kept_keys(self) -> set[str]:
        """Return the keys of appends, by a linearizable read of etcdctl."""
        return set(self._operator.ctl("get", self._keys.log, "--prefix", "--keys-only").split())

    def _read_histories(self) -> History:
        return sum((history_of(machine) for machine in self._lab if machine.is_on()), History())

    def _last_failure(self) -> str:
        failed = [each for each in self.records() if isinstance(each, Request) and each.error]
        return f"last failure: {failed[-1]}" if failed else "no request failed"

    def kill(self) -> None:
        """Kill the clients in any state."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def load_on(lab: Lab, operator: Operator, names: Sequence[str] = ()) -> Iterator[Load]:
    """Put load on these members (default: all machines). The block starts after the first responses."""
    load = Load(lab, operator)
    try:
        for name in names or [machine.name for machine in lab]:
            load.add(name)
        yield load
    finally:
        load.kill()
