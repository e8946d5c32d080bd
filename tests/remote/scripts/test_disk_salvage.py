"""The scripts of a salvage with a real sh: the end of a log, its copy completed, and the rest of a copy removed."""

import base64
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from etcdup.core.etcd.wal import CRC, ENTRY, STATE, LastEntry, commit_record, encode_record
from etcdup.core.host.member_user import remove_argv
from etcdup.core.observed.directory import DirSeen
from etcdup.core.recovery.disk_salvage import END_COPY_SERVER, append_command, salvage_path
from etcdup.core.recovery.disk_space import DISK_SPACE_SCRIPT, parse_disk_space
from etcdup.errors import EtcdupError
from etcdup.ops.recovery.disk_salvage import read_log_end
from etcdup.remote.local import LocalHost
from tests.support.layouts import local_layout
from tests.support.texts import Texts

ENTRY_7 = b"\x10\x02\x18\x07"


@pytest.fixture
def host() -> LocalHost:
    return LocalHost("infra1", own_folder=True)


def write_log(folder: Path) -> bytes:
    """Write a log of two files, the second begun right after the last entry. Return the content of the second."""
    folder.mkdir(parents=True)
    head, crc = encode_record(CRC, b"", 0)
    entry, crc = encode_record(ENTRY, ENTRY_7, crc)
    (folder / "0000-00.wal").write_bytes(head + entry)
    begun, crc = encode_record(CRC, b"", crc)
    begun += encode_record(STATE, b"\x08\x02\x10\x05\x18\x06", crc)[0]
    (folder / "0001-08.wal").write_bytes(begun + b"\0" * 5000)
    (folder / "0.tmp").write_bytes(b"room taken ahead")
    return begun


async def test_the_last_entry_may_be_in_the_file_before_and_is_committed(
    host: LocalHost, tmp_path: Path
) -> None:
    folder = tmp_path / "a log/wal"
    begun = write_log(folder)
    path, end, last = await read_log_end(host, str(folder), user="")
    assert (path, end.size, end.commit, last) == (f"{folder}/0001-08.wal", len(begun), 6, LastEntry(2, 7))
    command = append_command("", path, end.size, base64.b64encode(commit_record(end, last)).decode())
    (await host.run(command.argv)).check()
    path, end, last = await read_log_end(host, str(folder), user="")
    assert (end.vote, end.commit, last) == (5, 7, LastEntry(2, 7))
    assert (folder / "0001-08.wal").read_bytes().startswith(begun)


@pytest.mark.parametrize("spoilt", ["nothing there", "no log", "no entry"])
async def test_a_log_that_cannot_be_read_is_an_error(
    texts: Texts, host: LocalHost, tmp_path: Path, spoilt: str
) -> None:
    folder = tmp_path / "wal"
    if spoilt != "nothing there":
        write_log(folder)
        (folder / "0000-00.wal").unlink()
    if spoilt == "no log":
        (folder / "0001-08.wal").write_bytes(b"\0" * 5000)
    with pytest.raises(EtcdupError) as caught:
        await read_log_end(host, str(folder), user="")
    texts(caught.value)


def test_an_etcd_on_an_old_copy_is_ended_and_no_other(tmp_path: Path) -> None:
    versions, copy = tmp_path / "opt/etcd", tmp_path / "etcd.salvage"
    versions.mkdir(parents=True)
    shutil.copy("/bin/sh", versions / "etcd")
    for folder in (copy, Path(f"{copy}.part")):
        (folder / "member").mkdir(parents=True)

    def start(program: Path, folder: Path) -> subprocess.Popen[bytes]:
        argv = [
            str(program),
            "-c",
            "read -r line",
            "etcd",
            "--force-new-cluster",
            f"--data-dir={folder}",
            "--name=x",
        ]
        return subprocess.Popen(argv, stdin=subprocess.PIPE)

    left = start(versions / "etcd", copy)
    others = [start(versions / "etcd", tmp_path / "etcd"), start(Path("/bin/sh"), copy)]
    end = ("sh", "-c", END_COPY_SERVER, "end-etcd", str(versions), str(copy))
    try:
        # A process that was not waited for has ended for the script, but still exists for this test.
        for argv in (end, remove_argv(local_layout(tmp_path), str(copy), ".part")):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
        assert left.wait(10) == -signal.SIGKILL
        assert [each.poll() for each in others] == [None, None]
        assert [each for each in tmp_path.iterdir() if "salvage" in each.name] == []
    finally:
        for each in (left, *others):
            each.kill()
            each.communicate()


@pytest.mark.parametrize("mount", [False, True])
def test_an_old_copy_can_be_deleted_on_a_full_disk_and_old_data_cannot(tmp_path: Path, mount: bool) -> None:
    data = tmp_path / "etcd"
    copy = salvage_path(DirSeen(str(data), (), mount=mount))
    kept = f"{data}/aside-20260101T000000Z" if mount else f"{data}.aside-20260101T000000Z"
    for folder in (str(data), copy, f"{copy}.part", kept):
        Path(folder, "member").mkdir(parents=True)
    argv = ["sh", "-c", DISK_SPACE_SCRIPT, "disk-space", str(data), str(tmp_path / "opt")]
    room = parse_disk_space(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert (set(room.spare), set(room.kept)) == ({copy, f"{copy}.part"}, {kept})
