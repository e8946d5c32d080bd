"""How much a run says, and its log file: `--verbose`, `--quiet`, `--log-file`. Imports nothing heavy."""

import os
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.spec.visible import visible_values
from etcdup.errors import UsageError

# No command of etcdup has a secret in its arguments. This is the second line of defence.
_TO_REDACT = r"(?i)PRIVATE KEY|AGE-SECRET-KEY-|(?:password|passphrase|secret\w*)[=:]\s*\S"


class Output:
    """The options of one run. It is made before the verb is known, and closed after the verb has ended."""

    def __init__(self) -> None:
        self.verbose = False
        self.quiet = False
        # How commands in texts name cluster.yaml: `-f FILE` if the operator did, otherwise empty.
        self.file_option = ""
        self._log: int | None = None

    def open_log(self, path: Path, verb: str) -> None:
        """Append to this file from now on. Raise UsageError if it cannot be opened."""
        if self._log is not None:
            os.close(self._log)
        try:
            self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"--log-file: cannot write {path}: {error.strerror}") from None
        self.log("info", "start", verb=verb, pid=os.getpid())

    @property
    def has_log(self) -> bool:
        return self._log is not None

    def log(self, level: str, event: str, **facts: object) -> None:
        """Append one JSON line. A log that cannot be written does not stop the work."""
        if self._log is None:
            return
        import json  # not at the start: `--help` needs none

        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event}
        try:
            os.write(
                self._log, (json.dumps(visible_values(line | facts), ensure_ascii=False) + "\n").encode()
            )
        except OSError:
            os.close(self._log)
            self._log = None

    def close(self, exit_code: int, error: str = "") -> None:
        """End the log with the exit code of the run."""
        level = "error" if error else "info"
        self.log(level, "end", exit_code=exit_code, **({"error": error} if error else {}))
        if self._log is not None:
            os.close(self._log)
            self._log = None


def command_text(argv: Sequence[str]) -> str:
    """Return a command as it is typed in a shell, without secrets, and without the text of scripts."""
    return shlex.join(map(_word, argv))


def _word(word: str) -> str:
    if re.search(_TO_REDACT, word):
        return "[redacted]"
    lines = word.count("\n")
    return f"[script of {lines} lines]" if lines > 1 else word
