"""The snapshot of an earlier revision, chosen by its number or by a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etcdup.core.backups.backups import CANARY, backup_name
from etcdup.core.backups.change_log import changes
from etcdup.errors import RefusedError
from etcdup.ops.backups.snapshot_file import open_database, read_snapshot
from etcdup.ops.restore.rewind import rewind_snapshot
from tests.support.bolt_files import History

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
# The revisions of the keys below.
CREATED, AT_NOON, DELETED, AT_ONE, LAST = range(2, 7)


def snapshot_of(folder: Path) -> Path:
    """Write a snapshot in which the times of two revisions are known."""
    history = History()
    history.put(b"/a", b"needed")
    history.put(CANARY, backup_name("prod", NOON).encode())
    history.delete(b"/a")
    history.put(CANARY, backup_name("prod", NOON + HOUR).encode())
    history.put(b"/later")
    return history.write_snapshot(folder / "snapshot.db")


def folder_in(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


async def test_each_run_writes_the_same_bytes(tmp_path: Path) -> None:
    """A restore that resumes recognizes the file by its sha256."""
    source = replace(read_snapshot(snapshot_of(tmp_path)), origin="backup x of cluster prod", cluster_id="7f")
    first, second = [
        await rewind_snapshot(source, folder_in(tmp_path, name), AT_NOON, print) for name in ("1", "2")
    ]
    assert (first.sha256, first.size) == (second.sha256, second.size)
    assert first.sha256 != source.sha256
    assert (first.revision, first.newest, first.rewound_by) == (AT_NOON, LAST, LAST - AT_NOON)
    assert (first.origin, first.cluster_id, first.members) == (source.origin, "7f", source.members)
    assert first.title == f"backup x of cluster prod at revision {AT_NOON}"
    with open_database(Path(first.path)) as bolt:
        assert [each.revision for each in changes(bolt)] == [CREATED, AT_NOON]


@pytest.mark.parametrize(
    ("at", "revision"),
    [(NOON, AT_NOON), (NOON + HOUR / 2, AT_NOON), (NOON + HOUR, AT_ONE)],
)
async def test_a_time_is_the_newest_revision_known_to_be_not_after_it(
    tmp_path: Path, at: datetime, revision: int
) -> None:
    reported: list[str] = []
    source = read_snapshot(snapshot_of(tmp_path))
    rewound = await rewind_snapshot(source, folder_in(tmp_path, "1"), at, reported.append)
    assert rewound.revision == revision
    assert len(reported) == 1 + (revision == AT_NOON), "a deletion is between the known times"


@pytest.mark.parametrize("wanted", [NOON - HOUR, NOON + HOUR + timedelta(seconds=1), LAST + 1])
async def test_a_moment_outside_of_the_file_is_refused(tmp_path: Path, wanted: int | datetime) -> None:
    """Changes until a time after the last known one are possibly in a later backup only."""
    source = read_snapshot(snapshot_of(tmp_path))
    folder = folder_in(tmp_path, "1")
    with pytest.raises(RefusedError):
        await rewind_snapshot(source, folder, wanted, print)
    assert list(folder.iterdir()) == []
