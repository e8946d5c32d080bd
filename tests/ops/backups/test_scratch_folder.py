"""What a killed run left in its scratch folder the next one removes; what has an owner, or is not ours, it does not."""

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
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start_holder(place: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Another run, and its folder."""
    environment = os.environ | {"TMPDIR": str(place)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER_SCRIPT], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_goes_with_the_block(place: Path) -> None:
    with scratch_folder("drill") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "plain.db").write_text("secret")
        assert remove_left_behind() == (), "its owner lives"
    assert list(place.iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next(place: Path) -> None:
    process, folder = start_holder(place)
    with scratch_folder("drill"):
        assert (folder / "plain.db").exists(), "another run is still at it"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "plain.db").exists()
    with scratch_folder("drill"):
        assert not folder.exists()
    assert list(place.iterdir()) == []


def test_what_is_not_known_to_be_ours_stays(place: Path) -> None:
    """Without our mark, open to others, or only linked to."""
    unmarked, opened, elsewhere = place / f"{PREFIX}a", place / f"{PREFIX}b", place / "elsewhere"
    for folder in (unmarked, opened, elsewhere):
        folder.mkdir(mode=0o700)
        (folder / "file").touch()
    for folder in (opened, elsewhere):
        (folder / OWNER_FILE).touch()
    opened.chmod(0o755)
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    assert remove_left_behind() == ()
    assert all((folder / "file").exists() for folder in (unmarked, opened, elsewhere))
