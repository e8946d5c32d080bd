"""Commands of the lab itself, and its one error."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


class LabError(Exception):
    """The lab could not do it: what was tried, and what the tool said."""


def run(
    argv: Sequence[str | Path], *, check: bool = True, stdin: str | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Its output as text; a status other than 0 is a LabError unless `check` is off."""
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
