"""The changes of the PKI directory, in `generation.json` (core/certs/generation.py)."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from etcdup.ops.files import remove_partial_files, write_file
from etcdup.ops.pki.files import CERT_MODE
from etcdup.ops.pki.x509 import UnusableFile, read_if_exists


class Generation:
    """The names of all changes. Call `advance` under the lock of the PKI folder, before the files of a change."""

    def __init__(self, root: Path) -> None:
        self._path = root / "generation.json"

    def changes(self) -> tuple[str, ...]:
        """Return the names, the last change at the end. A directory of an earlier etcdup has none."""
        content = read_if_exists(self._path)
        if content is None:
            return ()
        try:
            return tuple(map(str, json.loads(content)["changes"]))
        except (ValueError, KeyError, TypeError):
            hint = "restore the directory from the same backup, or from the copy that was used last"
            raise UnusableFile(self._path, "is damaged", hint=hint) from None

    def advance(self, superseded: Iterable[str] = ()) -> None:
        """Add a new change, after changes of other copies that it supersedes."""
        remove_partial_files(self._path.parent, self._path.name)
        write_file(self._path, with_new_change((*self.changes(), *superseded)), CERT_MODE)


def with_new_change(changes: Iterable[str] = ()) -> bytes:
    """Return the content of the file after a new change. Each earlier change is in it once."""
    names = dict.fromkeys((*changes, secrets.token_hex(8)))
    return (json.dumps({"generation": len(names), "changes": list(names)}, indent=1) + "\n").encode()
