"""The scripts of the cold copy with a real sh: a directory and a mount point, interrupted and begun again."""

import subprocess
from pathlib import Path

import pytest

from etcdup.core.observed.directory import DirSeen
from etcdup.core.restore.data_copy import SIZE_SCRIPT, copy_data_commands, copy_path
from tests.support.layouts import local_layout

FILES = {"member/wal/0.wal": b"log" * 1000, "member/snap/db": b"\0" * 300_000, "wal-of-its-own.wal": b"log"}


@pytest.fixture(params=[False, True], ids=["folder", "mount"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> DirSeen:
    folder = tmp_path / "etcd"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "member").chmod(0o700)
    folder.chmod(0o700)
    if request.param:
        (folder / "aside-20260101T000000Z").mkdir()
        (folder / "aside-20260101T000000Z/old").write_bytes(b"\0" * 3_000_000)
    return DirSeen(str(folder), names(folder), mount=request.param)


def names(folder: Path) -> tuple[str, ...]:
    return tuple(each.name for each in folder.iterdir())


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measure(*paths: str) -> int:
    return int(run("sh", "-c", SIZE_SCRIPT, "size", *paths))


def copy(data: DirSeen, copied: str) -> None:
    for command in copy_data_commands(local_layout(Path(data.path)), data, copied, ""):
        run(*command.argv)


def test_a_copy_is_complete_or_absent(data: DirSeen) -> None:
    copied = copy_path(data, "prod-1")
    source = f"{data.path}/member" if data.mount else data.path
    size = measure(source, copied)
    assert 303 - 10 <= size < 1000, "archived data is not copied"
    # An interrupted run left it, and no data has this name.
    Path(f"{copied}.part/member").mkdir(parents=True)
    Path(f"{copied}.part/member/half").write_bytes(b"half")
    copy(data, copied)
    found = {
        str(path.relative_to(copied)): path.read_bytes() for path in Path(copied).rglob("*") if path.is_file()
    }
    assert found == FILES
    assert Path(copied).stat().st_mode & 0o777 == 0o700
    assert Path(copied, "member").stat().st_mode & 0o777 == 0o700
    assert not Path(f"{copied}.part").exists()
    assert measure(source, copied) == 0

    Path(data.path, "member/wal/0.wal").write_bytes(b"restored since")
    copy(data, copied)
    assert Path(copied, "member/wal/0.wal").read_bytes() == FILES["member/wal/0.wal"]
    here = DirSeen(data.path, tuple(set(names(Path(data.path))) - {"member", "wal-of-its-own.wal"}))
    assert here.is_empty


def test_without_data_there_is_no_copy(tmp_path: Path) -> None:
    assert measure(str(tmp_path / "none"), str(tmp_path / "none.cold")) == 0
