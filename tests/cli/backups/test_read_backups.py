"""`maintain space`, `backup log` and `backup compact` on a snapshot file, without a cluster."""

import json
from pathlib import Path

import pytest

from etcdup.ops.backups.snapshot_file import open_database, verify_snapshot
from tests.cli.conftest import CLUSTER, Etcdup
from tests.support.bolt_files import History
from tests.support.texts import Texts


@pytest.fixture
def up(tmp_path: Path) -> Etcdup:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    history = History()
    for number in range(10):
        history.put(b"/app/%d" % number, bytes(1000))
    history.compact(6)
    history.delete(b"/app/3", b"/app/4")
    history.write_snapshot(tmp_path / "snapshot.db")
    return Etcdup(tmp_path)


def test_the_use_of_a_file_is_shown(up: Etcdup) -> None:
    done = up("maintain", "space", "snapshot.db", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["keys"], facts["old"], facts["compact_revision"]) == (8, 4, 6)
    assert facts["prefixes"][0]["prefix"] == "/app/"
    assert "/app/" in up("maintain", "space", "snapshot.db").stdout
    filtered = json.loads(up("maintain", "space", "snapshot.db", "--prefix", "/other", "--json").stdout)
    assert (filtered["keys"], filtered["prefixes"]) == (8, [])
    assert up("maintain", "space", "snapshot.db", "--live").returncode == 2
    missing = up("maintain", "space")
    assert (missing.returncode, "--live" in missing.stderr) == (1, True), missing.stderr


def test_changes_are_listed_and_a_compacted_range_is_refused(texts: Texts, up: Etcdup) -> None:
    done = up("backup", "log", "snapshot.db", "--json")
    assert done.returncode == 0, done.stderr
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["revision"], each["change"]) for each in facts] == [
        *((number, "created") for number in range(7, 12)),
        (12, "deleted"),
        (12, "deleted"),
    ]
    shown = up("backup", "log", "snapshot.db", "--prefix", "/app/4", "--from", "8")
    assert "deleted" in shown.stdout
    assert "/app/3" not in shown.stdout
    refused = up("backup", "log", "snapshot.db", "--from", "5")
    texts(refused)
    assert up("backup", "log", "snapshot.db", "--to", "6").returncode == 4
    assert up("backup", "log", "snapshot.db", "--from", "yesterday").returncode == 2


def test_a_file_is_written_as_of_a_revision(texts: Texts, up: Etcdup) -> None:
    done = up("backup", "compact", "snapshot.db", "--out", "then.db", "--revision", "11")
    assert done.returncode == 0, done.stderr
    path = up.folder / "then.db"
    verify_snapshot(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with open_database(path) as bolt:
        assert len(list(bolt.items(b"key"))) == 10
    again = up("backup", "compact", "snapshot.db", "--out", "then.db")
    assert again.returncode == 4
    early = up("backup", "compact", "snapshot.db", "--out", "early.db", "--revision", "5")
    texts(early)
    assert sorted(each.name for each in up.folder.glob("*.db*")) == ["snapshot.db", "then.db"]


@pytest.mark.parametrize("verb", [("maintain", "space"), ("backup", "log")])
def test_a_damaged_file_is_refused(up: Etcdup, verb: tuple[str, str]) -> None:
    path = up.folder / "snapshot.db"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    done = up(*verb, "snapshot.db")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr


def test_a_restore_to_a_moment_needs_one_name_and_one_moment(texts: Texts, up: Etcdup) -> None:
    for arguments in (
        ("latest", "--revision", "7"),
        ("latest", "--at", "2026-11-22T12:00:00Z"),
        ("snapshot.db", "--revision", "7", "--at", "2026-11-22T12:00:00Z"),
        ("snapshot.db", "--at", "noon"),
        ("--undo", "--revision", "7"),
    ):
        done = up("restore", *arguments)
        assert done.returncode == 2, (arguments, done.stderr)
    for moment in (("--revision", "5"), ("--at", "2026-11-22T12:00:00Z")):
        done = up("restore", "snapshot.db", *moment, "--yes-restore", "prod")
        texts(done)
