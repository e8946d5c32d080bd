"""The operator's record of the clusters that restores and recoveries replaced: one token on each line of a file.

The marker of a host also names them, but that is the word of one host. The record is a second witness: with it, `apply`
clears members of a superseded cluster although they are healthy (core/members/superseded.py). Without the file, `apply`
asks the operator to stop such members first.
"""

from collections.abc import Iterable
from pathlib import Path

from etcdup.core.spec.plain_value import is_token
from etcdup.errors import EtcdupError
from etcdup.ops.files import remove_partial_files, write_file

_MODE = 0o600


def record_path(folder: Path, cluster: str) -> Path:
    """Return the path of the record, next to the journal."""
    return folder / ".etcdup" / f"{cluster}.superseded"


def read_superseded(path: Path) -> frozenset[str]:
    """Return the recorded tokens. A file that is missing or not readable has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return frozenset()
    return frozenset(filter(is_token, lines))


def record_superseded(path: Path, former: Iterable[str], current: str) -> None:
    """Add the tokens of former clusters, and remove the token of the present one, which an undo brings back."""
    before = read_superseded(path)
    after = (before | frozenset(former)) - {current}
    if after == before:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_partial_files(path.parent, path.name)
        write_file(path, "".join(f"{token}\n" for token in sorted(after)).encode(), _MODE)
    except OSError as error:
        raise EtcdupError(
            f"cannot write {path}: {error.strerror}",
            hint="make the folder writable, then run the command again",
        ) from None
