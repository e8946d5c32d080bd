"""An apply that is watched while it works: clients go where members are, and it is cut where a test wants it."""

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
    """What an operator's journal says from now on."""

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


def apply_under_load(operator: Operator, load: Load) -> str:
    """An apply that must succeed. A member has clients from when it votes until it is removed."""
    journal = JournalReader(operator)
    running = operator.start("apply", "--yes")
    for entry in _follow_journal(running, journal):
        if entry.get("step") == "PromoteMember" and entry.get("run", [""])[0] == "rm":
            load.add(entry["host"])
        # Once, though etcd may want to be asked again.
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
    at: Callable[[], None] | None = None,
    words: Sequence[str] = ("apply",),
    sure: Sequence[str] = ("--yes",),
) -> str:
    """Kills an apply, or the verb of `words`, with SIGKILL once its journal tells of this step on this host (or on
    any); `at` is called first. Returns the host."""
    journal = JournalReader(operator)
    running = operator.start(*words, *sure)
    for entry in _follow_journal(running, journal):
        name = entry.get("host") or entry.get("member") or ""
        if entry.get("step") == step and name.startswith(host):
            if at is not None:
                at()
            running.kill()
            running.communicate()
            return str(name)
    out, err = running.communicate()
    raise AssertionError(f"there was no {step} on {host or 'any host'}: {out}\n{err}")


def apply_with_disturbance(
    operator: Operator, step: str, disturb: Callable[[str], None]
) -> subprocess.CompletedProcess[str]:
    """An apply in which something else happens at this step; how it ended."""
    journal = JournalReader(operator)
    running = operator.start("apply", "--yes")
    disturbed = False
    for entry in _follow_journal(running, journal):
        if not disturbed and entry.get("step") == step:
            disturb(str(entry["host"]))
            disturbed = True
    out, err = running.communicate()
    assert disturbed, f"there was no {step}: {out}\n{err}"
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def _follow_journal(running: subprocess.Popen[str], journal: JournalReader) -> Iterator[Entry]:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        ended = running.poll() is not None
        yield from journal.read_new()
        if ended:
            return
        assert time.monotonic() < deadline, f"it takes longer than {TIMEOUT_S:.0f} s"
        time.sleep(0.005)
