"""The PKI directory as one archive, for a backup of it, and back into a new directory.

What is unpacked comes from a store: it is bounded, has plain files only, and no name leaves the directory. The new
directory appears whole or not at all.
"""

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from etcdup.errors import PkiError, RefusedError
from etcdup.ops.files import TEMPORARY, create_empty_file, lock, sync_file, sync_folder
from etcdup.ops.pki.backup_key import BACKUP_KEY
from etcdup.ops.pki.files import FOLDER_MODE, KEY_MODE, folder_lock

# A directory with a thousand consumers has less than 8 MiB.
MOST_BYTES = 32 << 20
_MOST_FILES = 10_000
_MOST_DEPTH = 8
# Each file has a header and whole blocks. The end has two blocks, filled up to a record.
MOST_ARCHIVE_BYTES = MOST_BYTES + _MOST_FILES * 2048 + tarfile.RECORDSIZE


class BadArchive(PkiError):
    """The archive is not one of a PKI directory."""


def pack_pki(root: Path) -> bytes:
    """Return the files of the directory as a tar archive. Raises PkiError."""
    packed = io.BytesIO()
    with folder_lock(root), tarfile.open(fileobj=packed, mode="w") as tar:
        files = {name: path.read_bytes() for name, path in _files_below(root)}
        _check_bounds({name: len(content) for name, content in files.items()})
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), KEY_MODE
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Return the files that a new directory needs. A link to a file is packed as its content."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.endswith(TEMPORARY):
            yield path.relative_to(root).as_posix(), path


def read_pki_archive(content: bytes) -> Mapping[str, bytes]:
    """Return the content of each file in an archive. Raises BadArchive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            entries = tar.getmembers()
            for entry in entries:
                if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.sparse is not None:
                    raise BadArchive(
                        f"the archive has an entry that is not a plain file: {entry.name!r:.100}"
                    )
            _check_bounds({entry.name: entry.size for entry in entries})
            if len({entry.name for entry in entries}) != len(entries):
                raise BadArchive("the archive has a name twice")
            files = {entry.name: _read_entry(tar, entry) for entry in entries}
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError):
        raise BadArchive("the archive is damaged") from None
    if BACKUP_KEY not in files:
        raise BadArchive(f"the archive has no {BACKUP_KEY}, so it is not a PKI directory")
    return files


def _read_entry(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(entry)
    content = opened.read() if opened else b""
    if len(content) != entry.size:
        raise BadArchive("the archive is damaged")
    return content


def _check_bounds(sizes: Mapping[str, int]) -> None:
    if len(sizes) > _MOST_FILES or sum(sizes.values()) > MOST_BYTES:
        raise BadArchive(
            f"the PKI directory has more than {_MOST_FILES} files or {MOST_BYTES >> 20} MiB",
            hint="move other files out of the directory",
        )
    for name in sizes:
        if not _is_inside(name):
            raise BadArchive(f"the name of a file in the PKI directory is not allowed: {name!r:.100}")


def _is_inside(name: str) -> bool:
    """Return whether the name is a normal path below the directory."""
    path = PurePosixPath(name)
    return (
        name == path.as_posix()
        and name.isprintable()
        and not path.is_absolute()
        and 0 < len(path.parts) <= _MOST_DEPTH
        and ".." not in path.parts
        and all(len(part.encode()) <= 255 for part in path.parts)
    )


def unpack_pki(files: Mapping[str, bytes], root: Path) -> None:
    """Write a new PKI directory, with modes 0700 and 0600. Raises RefusedError if there is one.

    A run that was killed leaves a directory with another name. The next run removes it.
    """
    refuse_existing(root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _only_run(root.parent):
            for left in root.parent.glob(f".{root.name}.*{TEMPORARY}"):
                shutil.rmtree(left)
            part = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}.", suffix=TEMPORARY))
            _write_files(files, part)
            refuse_existing(root)
            part.replace(root)
            sync_folder(root.parent)
    except OSError as error:
        raise PkiError(f"cannot write {root}: {error.strerror}") from None


def refuse_existing(root: Path) -> None:
    """Raise RefusedError if there is a PKI directory already."""
    if root.is_symlink() or (root.exists() and not (root.is_dir() and not any(root.iterdir()))):
        raise RefusedError(
            f"{root} exists already, and is not an empty directory",
            hint=f"if it is not the PKI directory that you need, rename it: `mv {root} {root}.old`",
        )


def _write_files(files: Mapping[str, bytes], part: Path) -> None:
    folders = {part}
    for name, content in files.items():
        path = part / name
        for folder in reversed(path.relative_to(part).parents[:-1]):
            (part / folder).mkdir(mode=FOLDER_MODE, exist_ok=True)
            folders.add(part / folder)
        with os.fdopen(create_empty_file(path, KEY_MODE), "wb") as file:
            file.write(content)
        sync_file(path)
    for folder in folders:
        sync_folder(folder)


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Lock the folder, so that no other run removes what this one writes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not lock(descriptor, wait=False):
            raise RefusedError(f"another etcdup writes a PKI directory in {folder}")
        yield
    finally:
        os.close(descriptor)
