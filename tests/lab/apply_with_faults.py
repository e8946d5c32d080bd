"""Run `etcdup apply` while its journal is read: add and remove clients, or kill it at a given step."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.lab.load import Load
from tests.lab.operator import HEALTHY, Operator

Entry = Mapping[str, Any]
TIMEOUT_S = 300.0


class JournalReader:
    """Reads the entries that are added to an operator's journal from now on."""

    def __init__(self, operator: Operator) -> None:
        self._file = operator.folder / ".etcdup" / "prod.jsonl"
        self._read = self._file.stat().st_size if self._file.exists() else 0

    def read_new(self) -> list[Entry]:
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def apply_under_load(operator: Operator, load: Load, *options: str) -> str:
    """Run an apply that must succeed, and return its stderr.

    A member has clients from its promotion to a voter until its removal.
    """
    journal = JournalReader(operator)
    running = operator.start("apply", "--yes", *options)
    for entry in _follow_journal(running, journal):
        if entry.get("step") == "PromoteMember" and entry.get("run", [""])[0] == "rm":
            load.add(entry["host"])
        # Only once: etcdup may repeat a removal that etcd refused.
        if entry.get("step") == "RemoveMember" and load.is_on(entry["member"]):
            load.remove(entry["member"])
    out, err = running.communicate()
    assert running.returncode == 0, f"{out}\n{err}"
    assert out.rstrip().endswith(HEALTHY), f"{out}\n{err}"
    return err


def apply_and_kill(
    operator: Operator,
    step: str,
    host: str = "",
    *,
    before_kill: Callable[[], None] | None = None,
    command: Sequence[str] = ("apply",),
    confirm: Sequence[str] = ("--yes",),
) -> str:
    """Run `etcdup COMMAND`, kill it with SIGKILL when its journal has this step on this host, and return the host.

    An empty `host` means any host. `before_kill` is called first.
    """
    journal = JournalReader(operator)
    running = operator.start(*command, *confirm)
    for entry in _follow_journal(running, journal):
        name = entry.get("host") or entry.get("member") or ""
        if entry.get("step") == step and name.startswith(host):
            if before_kill is not None:
                before_kill()
            running.kill()
            running.communicate()
            return str(name)
    out, err = running.communicate()
    raise AssertionError(f"the journal has no step {step} on {host or 'any host'}: {out}\n{err}")


def apply_with_disturbance(
    operator: Operator, step: str, disturb: Callable[[str], None]
) -> subprocess.CompletedProcess[str]:
    """Run an apply, call `disturb` with the host when it reaches this step, and return how the apply ended."""
    journal = JournalReader(operator)
    running = operator.start("apply", "--yes")
    disturbed = False
    for entry in _follow_journal(running, journal):
        if not disturbed and entry.get("step") == step:
            disturb(str(entry["host"]))
            disturbed = True
    out, err = running.communicate()
    assert disturbed, f"the journal has no step {step}: {out}\n{err}"
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def _follow_journal(running: subprocess.Popen[str], journal: JournalReader) -> Iterator[Entry]:
    """Yield new entries until the process has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        ended = running.poll() is not None
        yield from journal.read_new()
        if ended:
            return
        assert time.monotonic() < deadline, f"etcdup did not end within {TIMEOUT_S:.0f} s"
        time.sleep(0.005)
