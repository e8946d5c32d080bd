"""Commands of the lab itself, and its error class."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


class LabError(Exception):
    """A command of the lab failed. The message has the command and its output."""


def run(
    argv: Sequence[str | Path], *, check: bool = True, stdin: str | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command, and return its result. With `check`, an exit status other than 0 raises LabError."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words,
        input=stdin or "",
        timeout=timeout_s,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done
