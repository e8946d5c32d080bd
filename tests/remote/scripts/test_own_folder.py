"""The script that checks the directory of the log, with a real sh: it takes no directory with other files."""

import subprocess
from pathlib import Path

import pytest

from etcdup.core.host.install_commands import ONLY_LOG


@pytest.mark.parametrize("other", ["books", ".hidden", "wallet"])
def test_a_directory_with_other_files_is_not_changed(tmp_path: Path, other: str) -> None:
    for name in ("wal", "wal.aside-1", "wal.tmp", "lost+found", other):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o755)
    argv = ["sh", "-c", ONLY_LOG, "only-log", str(tmp_path), "wal"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{tmp_path} must contain only etcd's write-ahead log, but contains {tmp_path}/{other}\n"
    )
    assert tmp_path.stat().st_mode & 0o777 == 0o755
