"""The script that reads a file of a write-ahead log, with a real sh."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from etcdup.errors import CommandFailed
from etcdup.ops.world.log_files import read_log_file
from etcdup.remote.local import LocalHost
from tests.support.texts import Texts


@pytest.fixture
def host() -> LocalHost:
    return LocalHost("infra1", own_folder=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a log/wal"
    folder.mkdir(parents=True)
    (folder / "0-0.wal").write_bytes(b"first PUT /0/version" + b"\0" * 5000)
    (folder / "1-5.wal").write_bytes(b"second" + b"\0" * 5000)
    (folder / "0.tmp").write_bytes(b"the next file")
    return folder


@pytest.mark.parametrize(
    ("back", "texts", "name"),
    [
        (0, (), "1-5.wal"),
        (1, (), "0-0.wal"),
        (2, (), None),
        (0, ("/0/version", "/0/members/"), None),
        (1, ("/0/version", "/0/members/"), "0-0.wal"),
    ],
)
async def test_a_log_file_is_read(
    host: LocalHost, folder: Path, back: int, texts: tuple[str, ...], name: str | None
) -> None:
    found = await read_log_file(host, str(folder), back, "", only_with=texts)
    assert found == ((name, (folder / name).read_bytes()) if name else None)


@pytest.mark.parametrize("spoilt", ["no folder", "no file", "a folder as a file"])
async def test_a_log_that_is_not_there_is_an_error(host: LocalHost, folder: Path, spoilt: str) -> None:
    for name in ("0-0.wal", "1-5.wal"):
        (folder / name).unlink()
    if spoilt == "a folder as a file":
        (folder / "0-0.wal").mkdir()
    with pytest.raises(CommandFailed) as caught:
        await read_log_file(host, str(folder if spoilt != "no folder" else folder / "x"), 0, "")
    assert caught.value.status == 1


async def test_a_file_that_is_larger_than_a_log_file_is_refused(
    texts: Texts, host: LocalHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host may send anything, also a few bytes that unpack to many."""
    monkeypatch.setattr("etcdup.ops.world.log_files.MOST_BYTES", 1000)
    with pytest.raises(ValueError) as caught:
        await read_log_file(host, str(folder), 0, "")
    texts(caught.value)


@pytest.fixture
def linked() -> Iterator[Path]:
    """Return a folder that every user can read, whose log file is a link to a file of root."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "secret").write_bytes(b"of root")
        (folder / "secret").chmod(0o600)
        (folder / "0-0.wal").symlink_to("secret")
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_files_are_read_as_the_user_of_the_member(host: LocalHost, linked: Path) -> None:
    assert await read_log_file(host, str(linked), 0, "") == ("0-0.wal", b"of root")
    assert await read_log_file(host, str(linked), 0, "nobody") == ("0-0.wal", b"")
