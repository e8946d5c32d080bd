"""The next run removes the scratch folder of a killed run. It removes no folder of a running process or of others."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from etcdup.ops.backups.scratch_folder import OWNER_FILE, PREFIX, remove_left_behind, scratch_folder

HOLDER_SCRIPT = """
import sys, time
from etcdup.ops.backups.scratch_folder import scratch_folder
with scratch_folder("restore") as folder:
    (folder / "plain.db").write_text("secret")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start_holder(temporary: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Start another run, and return its process and its folder."""
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER_SCRIPT], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_scratch_folder_is_removed_at_the_end_of_the_block(temporary: Path) -> None:
    with scratch_folder("drill") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "plain.db").write_text("secret")
        assert remove_left_behind() == (), "its owner is running"
    assert list(temporary.iterdir()) == []


def test_the_next_run_removes_the_folder_of_a_killed_run(temporary: Path) -> None:
    process, folder = start_holder(temporary)
    with scratch_folder("drill"):
        assert (folder / "plain.db").exists(), "the other run is still running"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "plain.db").exists()
    with scratch_folder("drill"):
        assert not folder.exists()
    assert list(temporary.iterdir()) == []


def test_folders_of_other_programs_are_not_removed(temporary: Path) -> None:
    """A folder without the owner file, one with another mode, and a link are not removed."""
    unmarked, opened, elsewhere = temporary / f"{PREFIX}a", temporary / f"{PREFIX}b", temporary / "elsewhere"
    for folder in (unmarked, opened, elsewhere):
        folder.mkdir(mode=0o700)
        (folder / "file").touch()
    for folder in (opened, elsewhere):
        (folder / OWNER_FILE).touch()
    opened.chmod(0o755)
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    assert remove_left_behind() == ()
    assert all((folder / "file").exists() for folder in (unmarked, opened, elsewhere))
