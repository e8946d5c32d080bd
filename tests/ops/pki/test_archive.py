"""The PKI directory as an archive: back to the same files, and what a hostile archive cannot do."""

import io
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.errors import PkiError, RefusedError
from etcdup.ops.pki import archive
from etcdup.ops.pki.archive import BadArchive, pack_pki, read_pki_archive, unpack_pki
from etcdup.ops.pki.backup_key import BACKUP_KEY
from tests.ops.pki.managed_pki import NOW, issue_all
from tests.ops.pki.test_kill_at_disk_change import run_killed_at_each_change
from tests.support.texts import Texts


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A PKI directory with archived files, which are links to the same content."""
    pki = issue_all(tmp_path / "old")
    pki.issue_consumer("app", NOW)
    pki.issue_consumer("app", NOW, renew=True)
    pki.rotate_ca("trust", NOW)
    (tmp_path / "old/pki/.ca.pem.x.tmp").touch()
    return tmp_path / "old/pki"


def test_a_directory_comes_back_for_the_owner_only(texts: Texts, root: Path, tmp_path: Path) -> None:
    new = tmp_path / "new/pki"
    packed = pack_pki(root)
    unpack_pki(read_pki_archive(packed), new)
    (root / ".ca.pem.x.tmp").unlink()
    assert files_below(new) == files_below(root)
    for path in (new, *new.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or path.stat().st_nlink == 1
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {entry.type for entry in tar} == {tarfile.REGTYPE}
    with pytest.raises(RefusedError) as caught:
        unpack_pki(read_pki_archive(packed), new)
    texts(caught.value)


def test_an_empty_directory_is_filled_and_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    files = read_pki_archive(pack_pki(root))
    (tmp_path / "empty").mkdir()
    unpack_pki(files, tmp_path / "empty")
    assert files_below(tmp_path / "empty").keys() == files.keys()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError):
        unpack_pki(files, tmp_path / "link")
    assert files_below(tmp_path / "elsewhere") == {}


def test_a_kill_leaves_no_part_of_the_directory(root: Path, tmp_path: Path) -> None:
    """The directory is whole or missing, and the next run completes it."""
    shutil.copytree(root, tmp_path / "runs/pki")
    folders = run_killed_at_each_change(tmp_path / "runs", "unpack")
    wanted = read_pki_archive(pack_pki(root))
    assert len(folders) > 20
    for folder in folders:
        new = folder / "pki"
        if not new.exists():
            unpack_pki(wanted, new)
        assert files_below(new) == dict(wanted)
        assert [path.name for path in folder.iterdir()] == ["pki"]


def _tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for entry, content in ((_file(BACKUP_KEY), b"key"), *entries):
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _file(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def _sparse() -> bytes:
    entry = _file("large")
    entry.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(1 << 40),
    }
    return _tar((entry, b"1\n0\n0\n" + bytes(506)))


@pytest.mark.parametrize(
    "content",
    [
        *(_tar((_file(name), b"x")) for name in (
            "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/./b", "a\nb", "a\x1bb", "a/" * 9 + "b", "x" * 300, ".",
        )),
        _tar((_file("link", tarfile.SYMTYPE, "/etc"), b"")),
        _tar((_file("link", tarfile.LNKTYPE, BACKUP_KEY), b"")),
        _tar((_file("device", tarfile.CHRTYPE), b"")),
        _tar((_file("pipe", tarfile.FIFOTYPE), b"")),
        _tar((_file("folder", tarfile.DIRTYPE), b"")),
        _tar((_file("twice"), b"1"), (_file("twice"), b"2")),
        _sparse(),
        _tar((_file("cut"), b"x" * 2000))[:2000],
        b"",
        b"no archive",
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused(content: bytes) -> None:
    with pytest.raises(BadArchive):
        read_pki_archive(content)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_damaged_archive_never_writes_outside(at: int, flip: int) -> None:
    content = bytearray(_tar((_file("members/infra1/server.pem"), b"x")))
    content[at % 2048] ^= flip
    try:
        names = list(read_pki_archive(bytes(content)))
    except BadArchive:
        return
    assert all(not name.startswith("/") and ".." not in name.split("/") for name in names)


@pytest.mark.parametrize("limit", ["MOST_BYTES", "_MOST_FILES"])
def test_an_archive_is_bounded(
    root: Path, monkeypatch: pytest.MonkeyPatch, limit: str, tmp_path: Path
) -> None:
    packed = pack_pki(root)
    monkeypatch.setattr(archive, limit, 5)
    for work in (lambda: read_pki_archive(packed), lambda: pack_pki(root)):
        refuse: Callable[[], object] = work
        with pytest.raises(PkiError):
            refuse()
