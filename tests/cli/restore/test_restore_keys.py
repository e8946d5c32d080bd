"""`etcdup restore-keys` on real members: next to clients that write, killed, and run again."""

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.etcd.rows import is_deletion, read_change, read_revision, read_value, rows
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.ops.pki.open import open_pki
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Credentials, Etcd
from tests.cli.backups.test_backup import take_now
from tests.cli.conftest import Etcdup, demo_folder, demo_spec, run_and_answer, running_demo, wait_until
from tests.cli.restore.test_restore import run_etcdctl, save_snapshot, version_of
from tests.support.cases import one_in_turn
from tests.support.keyboard import CTRL_C

COUNT = 600
PREFIX = "/app/"
OLD, NEW = b"old", b"new"
S = 10.0

pytestmark = pytest.mark.apart


@pytest.fixture(params=one_in_turn("3.7.1", "3.6.14", "3.4.23", "3.5.33"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of three members of this version."""
    with running_demo(tmp_path, str(request.param)) as etcdup:
        yield etcdup


def key(number: int) -> bytes:
    return f"{PREFIX}{number:03}".encode()


def client_of(etcdup: Etcdup) -> Etcd:
    spec = demo_spec(etcdup)
    credentials = Credentials(*open_pki(spec, demo_folder(etcdup)).credentials())
    host = spec.hosts[-1]
    return Etcd(host.name, f"{host.address}:{spec.client_port(host)}", host.address, credentials)


async def put_old(etcdup: Etcdup) -> None:
    client = client_of(etcdup)
    for number in range(COUNT):
        await client.put(key(number), b"%s %d" % (OLD, number), timeout_s=S)
    await client.close()


@contextmanager
def busy_clients(etcdup: Etcdup) -> Iterator[list[int]]:
    """Write and delete random keys of the prefix until the end of the block. Yield the number of each change."""
    ended, changes = threading.Event(), list[int]()

    async def write(seed: int, client: Etcd) -> None:
        chosen = random.Random(seed)
        while not ended.is_set():
            number = chosen.randrange(COUNT)
            try:
                if chosen.random() < 0.3:
                    await client.delete(key(number), timeout_s=S)
                else:
                    await client.put(key(number), b"%s %d" % (NEW, len(changes)), timeout_s=S)
            except EtcdRpcError:
                continue
            changes.append(number)

    async def work() -> None:
        client = client_of(etcdup)
        await asyncio.gather(*(write(seed, client) for seed in range(4)))
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        wait_until(lambda: len(changes) > 200, "no client writes")
        yield changes
    finally:
        ended.set()
        thread.join()


def changes_of(snapshot: Path, after: int) -> dict[bytes, list[tuple[int, bytes | None]]]:
    """Return the history of each key: the revision of each change, and the value, None for a deletion."""
    found: dict[bytes, list[tuple[int, bytes | None]]] = {}
    with open_database(snapshot) as bolt:
        for row, page, at, end in rows(bolt):
            change = read_change(page, at, end)
            value = None if is_deletion(row) else bytes(read_value(page[at:end]))
            if change.key.startswith(PREFIX.encode()) and read_revision(row)[0] > after:
                found.setdefault(bytes(change.key), []).append((read_revision(row)[0], value))
    return found


def assert_only_shown_values_are_overwritten(snapshot: Path, at: int, report: dict[str, Any]) -> None:
    """Each old value that was written follows directly on the revision that was shown, or on no value as shown."""
    shown = {each["key"].encode(): each["present_revision"] for each in report["keys"]["first"]}
    not_written = {each["key"].encode() for each in report["not_written"]}
    written = 0
    for name, history in changes_of(snapshot, at).items():
        for number, (_, value) in enumerate(history):
            if value is None or not value.startswith(OLD):
                continue
            written += 1
            assert name not in not_written, name
            before = history[number - 1] if number else (None, None)
            assert (before[0] if before[1] is not None else None) == shown[name], (name, history)
    assert written == report["written"]
    assert len(shown) == report["written"] + len(not_written)


def test_nothing_newer_is_overwritten_without_being_reported(up: Etcdup) -> None:
    asyncio.run(put_old(up))
    name = take_now(up)
    backups = json.loads(up("backup", "list", "--json").stdout)["backups"]
    at = next(each["revision"] for each in backups if each["name"] == name)
    run_etcdctl(up, "del", "--prefix", PREFIX)
    words = ("restore-keys", "--prefix", PREFIX, "--revision", str(at))
    with busy_clients(up):
        done = up(*words, "--yes", "--json")
    assert done.returncode in (0, 5), done.stderr
    report = json.loads(done.stdout)
    assert report["outcome"] == ("partly applied" if report["not_written"] else "done")
    assert report["keys"]["not_deleted"] == 0
    snapshot = save_snapshot(up, version_of(up))
    assert_only_shown_values_are_overwritten(snapshot, at + 1, report)
    print(f"{report['written']} written, {len(report['not_written'])} conflicts")

    again = up(*words, "--yes")
    assert again.returncode == 0, again.stderr
    assert run_etcdctl(up, "get", "--prefix", PREFIX, "--print-value-only").split("\n")[:-1] == [
        f"old {number}" for number in range(COUNT)
    ]
    assert json.loads(up(*words, "--yes", "--json").stdout)["outcome"] == "nothing to do"


def test_a_killed_run_is_finished_and_a_dry_run_writes_nothing(up: Etcdup) -> None:
    asyncio.run(put_old(up))
    name = take_now(up)
    run_etcdctl(up, "put", "/app/new", "kept")
    run_etcdctl(up, "del", "/app/1", "/app/9")
    words = ("restore-keys", "--prefix", PREFIX, "--backup", name)
    dry = up(*words, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "/app/100" in dry.stdout
    assert "old" not in dry.stdout, "no value is shown"
    assert up(*words).returncode == 2
    assert up(*words, "--json").returncode == 3
    for answer in ("n", CTRL_C):
        assert run_and_answer(up, answer, *words) == 130
    assert run_etcdctl(up, "get", "/app/100") == ""
    up.kill_at("RestoreKeys", *words, "--yes")
    done = up(*words, "--yes")
    assert done.returncode == 0, done.stderr
    left = run_etcdctl(up, "get", "--prefix", PREFIX, "--print-value-only").split("\n")[:-1]
    assert left == [*(f"old {number}" for number in range(COUNT)), "kept"]
    copied = up(*words, "--to-prefix", "/copy/", "--yes")
    assert copied.returncode == 0, copied.stderr
    assert run_etcdctl(up, "get", "/copy/007", "--print-value-only") == "old 7\n"
    assert up("restore-keys", "--prefix", PREFIX).returncode == 2
    assert up("restore-keys", "--prefix", "etcdup/", "--backup", name).returncode == 2
    missing = up("restore-keys", "--prefix", "/typo/", "--backup", name)
    assert (missing.returncode, "/typo/" in missing.stderr) == (4, True)
    early = up("restore-keys", "--prefix", PREFIX, "--revision", "99999999")
    assert early.returncode == 4
    assert up("plan", "--exit-code").returncode == 0
