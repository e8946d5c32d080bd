"""What was done, line by line, kept beside cluster.yaml: append-only JSON, never a secret.

No decision is ever read from it (the hosts are the truth); it is for people who ask what happened.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self


class Journal:
    """`record` appends one line and flushes it, so that a kill loses at most the line being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @classmethod
    def in_folder(cls, folder: Path, cluster: str) -> Self:
        """The cluster's journal, in the folder of its cluster.yaml."""
        return cls(folder / ".etcdup" / f"{cluster}.jsonl")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def record(self, event: str, facts: Mapping[str, object]) -> None:
        """One line: the time (UTC), the event, and its facts."""
        assert self._file is not None, "a journal is written inside its `with` block"
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        os.write(self._file, (json.dumps(line, ensure_ascii=False) + "\n").encode())
