"""A process with clients that appends records to a file, as lines of JSON; and what its records of writes say.

Times are seconds of CLOCK_REALTIME, which is the same for all processes of this computer, also inside the machines.
"""

import itertools
import json
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab
from tests.lab.shell import LabError

ROOT = Path(__file__).parents[2]
Record = Mapping[str, Any]
FLOWING_S = 60.0
STOP_S = 120.0
SHOWN_ERRORS = 3


class Load:
    """Clients in a process of their own. It ends on SIGTERM, after its last records."""

    def __init__(
        self, lab: Lab, argv: Sequence[str | Path], records: Path, *, script: Path | None = None
    ) -> None:
        """`script`: the standard input of the command."""
        self._records = records
        self._log = records.with_suffix(".log")
        # The clients get more CPU than etcd, so that a gap is not a client that waited for CPU.
        command = ["nice", "-n", "-5", *argv]
        with (
            records.open("w") as out,
            self._log.open("w") as log,
            (script or Path("/dev/null")).open() as stdin,
        ):
            self._process = lab.popen(command, cwd=ROOT, stdin=stdin, stdout=out, stderr=log)

    def records(self) -> list[Record]:
        text = self._records.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_written(self, scopes: Iterable[str], timeout_s: float = FLOWING_S) -> bool:
        """Wait for a write of each scope that began after this call, and return whether they succeeded."""
        since, deadline = time.time(), time.monotonic() + timeout_s
        while not set(scopes) <= {
            each["scope"]
            for each in self.records()
            if each["kind"] == "write" and _succeeded_after(each, since)
        }:
            if self._process.poll() is not None:
                raise LabError(f"the clients ended: {self._log.read_text()}")
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def stop(self) -> list[Record]:
        """End the clients, and return all records."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LabError(f"the clients did not end: {self._log.read_text()}") from None
        if self._process.returncode != 0:
            raise LabError(f"the clients failed: {self._log.read_text()}")
        return self.records()


@dataclass(frozen=True)
class Writes:
    """`acknowledged`: the end of each successful write, by its number. `gap_s`: the longest time without one."""

    acknowledged: Mapping[int, float]
    failed: int
    gap_s: float
    resumed: bool
    errors: tuple[str, ...]


def writes_of(records: Iterable[Record], scope: str, *, resumed: bool) -> Writes:
    writes = [each for each in records if each["kind"] == "write" and each["scope"] == scope]
    acknowledged = {each["number"]: float(each["ended"]) for each in writes if not each["error"]}
    failed = [each for each in writes if each["error"]]
    times = sorted(acknowledged.values())
    gaps = (later - earlier for earlier, later in itertools.pairwise(times))
    errors = tuple(dict.fromkeys(each["error"] for each in failed))[:SHOWN_ERRORS]
    return Writes(acknowledged, len(failed), max(gaps, default=0.0), resumed, errors)


def _succeeded_after(write: Record, since: float) -> bool:
    return not write["error"] and bool(write["begun"] >= since)
