"""The journal: a log of what etcdup did, in JSON lines in a file next to cluster.yaml. It contains no secret.

etcdup appends to it and reads no decision from it, since only the hosts show the true state. It is for operators.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from etcdup.core.spec.visible import visible_values


class Journal:
    """An append-only file. A kill of etcdup loses at most the line that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @classmethod
    def in_folder(cls, folder: Path, cluster: str) -> Self:
        """Return the cluster's journal, in the folder of its cluster.yaml."""
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
        """Append one line with the time (UTC), the event and its facts."""
        assert self._file is not None, "the journal is open only inside its `with` block"
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        os.write(self._file, (json.dumps(visible_values(line), ensure_ascii=False) + "\n").encode())
