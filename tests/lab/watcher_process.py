"""A running watcher, and assertions about its records."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.lab.operator import Operator
from tests.lab.watcher import Seen, read_records, state_of

ROOT = Path(__file__).parents[2]
PREFIX = "/registry/"
WAIT_S = 60.0


class WatcherProcess:
    """`written` has all values that the test has put below PREFIX, each once."""

    def __init__(self, operator: Operator, records: Path) -> None:
        self._operator = operator
        self._records = records
        self.written: list[str] = []

    @property
    def seen(self) -> list[Seen]:
        return read_records(self._records)

    @property
    def lists(self) -> int:
        return sum(each.kind == "list" for each in self.seen)

    def put(self, key: str, value: str) -> None:
        """Put a key, and wait until the watcher has received it."""
        self.written.append(value)
        self._operator.ctl("put", PREFIX + key, value)
        self.wait_for({PREFIX + key: value})

    def wait_for(self, keys: dict[str, str]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not keys.items() <= state_of(self.seen).items():
            assert time.monotonic() < deadline, f"the watcher has not received {keys}: {self.seen}"
            time.sleep(0.05)

    def assert_consistent(self) -> None:
        """Assert that revisions never went back, each event is a write and came once, and the final state is right."""
        seen = self.seen
        assert all(one.revision <= other.revision for one, other in pairwise(seen)), seen
        values = [value for each in seen if each.kind == "event" for value in each.keys.values()]
        assert len(values) == len(set(values)), seen
        assert set(values) <= set(self.written), seen
        lines = self._operator.ctl("get", "--prefix", PREFIX).split()
        assert state_of(seen) == dict(zip(lines[::2], lines[1::2], strict=True))


@contextmanager
def running_watcher(operator: Operator, members: Sequence[str]) -> Iterator[WatcherProcess]:
    """Run a watcher through these members in turn. It has listed the keys before the block begins."""
    records = operator.folder / "watched.jsonl"
    records.touch()
    addresses = [operator.lab[name].address for name in members]
    argv: list[str | Path] = [
        sys.executable, "-m", "tests.lab.watcher", operator.folder / "pki", records, PREFIX, *addresses,
    ]  # fmt: skip
    process = operator.lab.popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    watcher = WatcherProcess(operator, records)
    try:
        deadline = time.monotonic() + WAIT_S
        while not watcher.lists:
            assert process.poll() is None, "the watcher has ended"
            assert time.monotonic() < deadline, "the watcher has not listed the keys"
            time.sleep(0.05)
        yield watcher
        assert process.poll() is None, "the watcher has ended"
    finally:
        process.kill()
        process.communicate()
