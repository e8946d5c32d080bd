"""A snapshot on the operator's machine, read whole before anything is done with it.

Its own checksum is what tells damage: etcd's `snapshot status` does not look at it (rule 54). Whose data it is would
be known from a manifest beside it: `read_snapshot` is the place to read one.
"""

import hashlib
import mmap
import struct
from pathlib import Path

from etcdup.core.bolt import Bolt, open_bolt
from etcdup.core.restoration import SnapshotFile
from etcdup.errors import RefusedError

_HASH_BYTES = 32
_PAGE_BYTES = 512
_CHUNK = 1 << 20
_REVISION_BYTES = 17


def read_snapshot(path: Path) -> SnapshotFile:
    """Raises RefusedError where the file is damaged, cut short, or no snapshot."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size <= _HASH_BYTES or size % _PAGE_BYTES != _HASH_BYTES:
                raise _damaged(path, f"its {size} bytes are not whole pages and a checksum")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return _read(path, mapped, size)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path, mapped: mmap.mmap, size: int) -> SnapshotFile:
    digest = hashlib.sha256()
    end = size - _HASH_BYTES
    for start in range(0, end, _CHUNK):
        digest.update(mapped[start : min(start + _CHUNK, end)])
    ending = mapped[end:]
    if digest.digest() != ending:
        raise _damaged(path, "it does not have the checksum that it ends with")
    digest.update(ending)
    with memoryview(mapped) as whole, whole[:end] as data:
        try:
            revision, made_by = _contents(open_bolt(data))
        except (ValueError, struct.error, IndexError) as error:
            why = str(error)
            raise _damaged(path, f"its database cannot be read: {why}") from None
    return SnapshotFile(str(path.absolute()), digest.hexdigest(), size, revision, made_by)


def _contents(bolt: Bolt) -> tuple[int, str]:
    last = bolt.last_key(b"key") or b""
    revision = struct.unpack_from(">q", last)[0] if len(last) >= _REVISION_BYTES else 1
    made_by = bolt.value(b"cluster", b"clusterVersion") or b""
    return revision, made_by.decode("ascii", "replace")


def _damaged(path: Path, why: str) -> RefusedError:
    return RefusedError(
        f"{path} is not a whole snapshot: {why}",
        hint="take another one; a plain copy of a member's `db` file is no snapshot, `etcdctl snapshot save` makes one",
    )
