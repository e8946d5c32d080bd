"""`etcdup restore` on real members of each version: an earlier revision, and a snapshot of a full database."""

import asyncio
import json
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.backups.backups import backup_time
from etcdup.core.restore.client_notes import can_bump
from etcdup.core.restore.restore import BUMP
from etcdup.core.spec.version import parse_version
from etcdup.remote.etcd.grpc_client import Etcd
from tests.cli.backups.test_backup import take_now
from tests.cli.conftest import Etcdup, demo_folder, running_demo
from tests.cli.maintain.test_fix_space import S, call
from tests.cli.restore.test_restore import run_etcdctl, save_snapshot, version_of
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries
from tests.support.kubernetes_lease import renewal

LEASE = b"/registry/leases/kube-node-lease/node-1"
WRITES = 30
SMALL, LARGER = "quota: 16MiB", "quota: 1GiB"

pytestmark = pytest.mark.apart


@pytest.fixture(params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of one member of this version, with a small quota."""
    with running_demo(tmp_path, str(request.param), members=1, edit=partial(with_quota, SMALL)) as etcdup:
        yield etcdup


def set_quota(etcdup: Etcdup, line: str) -> None:
    file = Path(etcdup.extra["ETCDUP_FILE"])
    file.write_text(with_quota(line, file.read_text()))


def with_quota(line: str, text: str) -> str:
    text = text.replace(f"{SMALL}, ", "")
    assert "etcd: {" in text
    return text.replace("etcd: {", f"etcd: {{{line}, ")


def fill(etcdup: Etcdup) -> None:
    """Write until etcd raises the alarm NOSPACE."""
    put = f"{etcd_binaries(version_of(etcdup))}/etcdctl put"
    script = (
        f"{etcdup('export', 'env').stdout}\n"
        "for number in $(seq 32); do\n"
        f"  head -c 1000000 /dev/zero | tr '\\0' x | {put} /large/$number || exit 0\n"
        "done\nexit 1\n"
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, "the database is not full"
    assert "NOSPACE" in json.loads(etcdup("status", "--json").stdout)["alarms"][0]


def test_deleted_keys_are_found_in_the_log_and_restored_from_before(up: Etcdup) -> None:
    up("ctl", "--", "put", "/team/a", "needed")
    first = take_now(up)
    up("ctl", "--", "del", "--prefix", "/team/")
    up("ctl", "--", "put", "/later", "1")
    name = take_now(up)
    log = up("backup", "log", "latest", "--prefix", "/team/", "--json")
    assert log.returncode == 0, log.stderr
    created, deleted = (json.loads(line) for line in log.stdout.splitlines())
    assert (created["change"], deleted["change"], deleted["key"]) == ("created", "deleted", "/team/a")
    assert deleted["after"].startswith(str(backup_time(first, "demo")).replace(" ", "T")[:19])
    assert deleted["after"] <= deleted["before"]
    space = json.loads(up("maintain", "space", "--json").stdout)
    live = json.loads(up("maintain", "space", "--live", "--json").stdout)
    assert (space["source"], live["source"]) == (f"backup {name}", "snapshot of infra1")
    assert live["keys"] >= space["keys"] > 0

    before = deleted["revision"] - 1
    done = up("restore", name, "--revision", str(before), "--yes-restore", "demo", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["outcome"], told["verb"]) == ("done", f"restore {name} --revision {before}")
    assert up("ctl", "--", "get", "/team/a", "--print-value-only").stdout == "needed\n"
    assert up("ctl", "--", "get", "/later").stdout == ""
    revision = json.loads(up("ctl", "--", "get", "/team/a", "-w", "json").stdout)["header"]["revision"]
    # The revisions are raised from those of the whole backup, and a few keys of etcdup are written.
    first_revision = space["revision"] if can_bump(parse_version(version_of(up))) else before
    times, written = divmod(revision - first_revision, BUMP)
    assert (times >= 1, written < 10) == (first_revision != before, True), (revision, first_revision)
    again = up("restore", name, "--revision", str(before), "--yes-restore", "demo", "--json")
    assert again.returncode == 4, again.stderr
    undone = up("restore", "--undo", "--yes-restore", "demo")
    assert undone.returncode == 0, undone.stderr
    assert up("ctl", "--", "get", "/later", "--print-value-only").stdout == "1\n"
    at = deleted["after"]
    done = up("restore", name, "--at", at, "--yes-restore", "demo")
    assert done.returncode == 0, done.stderr
    assert up("ctl", "--", "get", "/team/a", "--print-value-only").stdout == "needed\n"


@pytest.mark.in_turn(1, 2)
def test_everything_is_deleted_and_the_second_before_is_restored(up: Etcdup) -> None:
    """Clients renew a lease of Kubernetes, so the times of revisions are known to the second."""
    renewed: dict[int, datetime] = {}

    async def write(client: Etcd) -> None:
        for number in range(WRITES):
            at = datetime.now(UTC).replace(microsecond=0)
            await client.put(b"/data/%d" % (number % 7), b"%d" % number, timeout_s=S)
            await client.put(LEASE, renewal(at), timeout_s=S)
            renewed[await client.revision(timeout_s=S)] = at
            await asyncio.sleep(0.1)

    call(up, "infra1", write)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    assert up("ctl", "--", "del", "--prefix", "").returncode == 0
    assert run_etcdctl(up, "get", "--prefix", "") == ""
    revision = max(each for each, time in renewed.items() if time <= at)
    assert at - renewed[revision] <= timedelta(seconds=1)
    live = data_of(up, f"--rev={revision}")
    name = take_now(up)
    done = up("restore", name, "--at", at.isoformat(), "--yes-restore", "demo")
    assert done.returncode == 0, done.stderr
    assert f"revision {revision} of" in done.stderr
    assert data_of(up) == live != {}


def data_of(etcdup: Etcdup, *options: str) -> dict[str, str]:
    """Return the keys and the values, without those of etcdup. Both are in base64."""
    found = json.loads(run_etcdctl(etcdup, "get", "--prefix", "", "-w", "json", *options))["kvs"]
    return {each["key"]: each["value"] for each in found if not b64decode(each["key"]).startswith(b"etcdup/")}


def test_a_snapshot_of_a_full_cluster_is_restored_with_a_larger_quota(up: Etcdup) -> None:
    """The file has the alarm NOSPACE and is larger than the quota. The member runs until the quota is raised."""
    up("ctl", "--", "put", "/a", "kept")
    fill(up)
    path = save_snapshot(up, version_of(up))
    assert "alarm:NOSPACE" in run_etcdctl(up, "alarm", "list")
    assert set_aside_files(up) == []
    refused = up("restore", str(path), "--yes-restore", "demo")
    assert refused.returncode == 4, refused.stderr
    assert "NOSPACE" in refused.stderr
    assert "quota: 1GiB" in refused.stderr
    assert set_aside_files(up) == []
    set_quota(up, LARGER)
    up.kill_at("DisarmSpaceAlarm", "restore", str(path), "--yes-restore", "demo")
    done = up("restore", str(path), "--yes-restore", "demo")
    assert done.returncode == 0, done.stderr
    assert run_etcdctl(up, "alarm", "list") == ""
    assert run_etcdctl(up, "get", "/a", "--print-value-only") == "kept\n"
    run_etcdctl(up, "put", "/b", "new")
    assert up("plan", "--exit-code").returncode == 0


def set_aside_files(etcdup: Etcdup) -> list[Path]:
    return list(demo_folder(etcdup).glob("infra*/var/lib/etcd.*"))
