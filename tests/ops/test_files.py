"""Files on the operator's machine: atomic writes, exclusive creation, locks."""

import errno
import os
import stat
from pathlib import Path

import pytest

from etcdup.ops.files import (
    create_empty_file,
    create_file,
    lock,
    publish,
    remove_partial_files,
    sync_folder,
    temporary_file,
    write_file,
)
from tests.support.texts import Texts


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_file_replaces_the_content_and_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, mode in ((b"old", 0o600), (b"new", 0o644)):
        write_file(path, content, mode)
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, mode)
    assert names(tmp_path) == ["file"]


def test_a_write_that_fails_keeps_the_previous_file(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_file(path, b"old", 0o600)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) as caught:
        write_file(path, b"new", 0o600)
    texts(caught.value)
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["file"])


def test_content_is_on_the_disk_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_file(tmp_path / "file", b"content", 0o600)
    assert calls == ["file", "rename", "folder"]


def test_create_file_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_file(path, b"first", 0o600)
    with pytest.raises(FileExistsError):
        create_file(path, b"second", 0o600)
    with pytest.raises(FileExistsError):
        create_empty_file(path, 0o600)
    assert (path.read_bytes(), names(tmp_path)) == (b"first", ["file"])


def test_a_temporary_file_is_removed_unless_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with temporary_file(path, 0o644) as temporary:
        assert names(tmp_path) == [temporary.name]
    assert names(tmp_path) == []
    with temporary_file(path, 0o644) as temporary:
        temporary.write_bytes(b"content")
        publish(temporary, path)
    assert names(tmp_path) == ["file"]


def test_partial_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    left, kept = tmp_path / ".key.pem.abc.tmp", [tmp_path / ".other.abc.tmp", tmp_path / "key.pem"]
    for path in (left, *kept):
        path.touch()
    remove_partial_files(tmp_path, "*.pem")
    assert names(tmp_path) == sorted(path.name for path in kept)


def test_a_folder_without_fsync_is_accepted(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT and some network file systems have no fsync for folders. Other errors are raised."""
    for number in (errno.EINVAL, errno.EIO):

        def fail(_: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        if number == errno.EINVAL:
            sync_folder(tmp_path)
        else:
            with pytest.raises(OSError) as caught:
                sync_folder(tmp_path)
            texts(caught.value)


def test_a_second_descriptor_does_not_get_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = create_empty_file(path, 0o600), os.open(path, os.O_RDWR)
    assert lock(first, wait=True)
    assert not lock(second, wait=False)
    os.close(first)
    assert lock(second, wait=False)
    os.close(second)
