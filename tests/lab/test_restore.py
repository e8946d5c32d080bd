"""A snapshot becomes the cluster again: on its own hosts under a watcher, on three others, on five and on three."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.apply_with_faults import apply_cut
from tests.lab.operator import HEALTHY, Operator, said
from tests.lab.test_bootstrap import by_path
from tests.lab.test_membership import nth, want
from tests.lab.watcher_process import PREFIX, Watching, watching
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

OTHERS = ("3.5.33", "3.7.1")
SURE = ("--yes-restore", "prod")
GREETING = f"{PREFIX}greeting"
DISK = "/var/lib/etcd-log"
WAL = f"{DISK}/wal"
ON_ITS_OWN_DISK = f"etcd: {{wal_dir: {WAL}}}\n"
# Where it is killed, one after the other: each time the same restore goes on.
CUTS = ("StageRestore", "StopMembers", "PlaceData", "start")


def test_the_same_hosts_three_others_five_and_three(operator: Operator) -> None:
    """The log on a disk of its own; killed again and again; undone; and all machines lose their power at the end."""
    six_machines(operator)
    for machine in operator.lab.machines[:3]:
        machine.small_disk(DISK, 2000)
    want(operator, nth(operator, 1, 2, 3), ON_ITS_OWN_DISK)
    operator.apply()
    with watching(operator, nth(operator, 1, 2, 3)) as watcher:
        watcher.put("greeting", "kept")
        path = snapshot(operator)
        watcher.put("greeting", "lost")
        watcher.put("late", "written")
        before = revision(operator)
        for step in CUTS:
            apply_cut(operator, step, words=("restore", str(path)), sure=SURE)
        middle = operator.run("apply", "--yes")
        assert middle.returncode == 4, said(middle)
        assert "was begun and is not finished" in middle.stderr, said(middle)
        done = restore(operator, str(path))
        assert "kube-apiserver" in done.stderr, said(done)
        first = revision(operator)
        assert first > before
        assert_told_of_the_restore(operator, watcher, before)
    for machine in operator.lab.machines[:3]:
        assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
        assert machine.run(f"ls {WAL}.aside-*/*.wal").stdout
        modes = machine.run(f"stat -c '%U:%G %a' /var/lib/etcd /var/lib/etcd/member {WAL}").stdout
        assert modes.splitlines() == ["etcd:etcd 700"] * 3
    undo(operator)
    clone(operator, str(path), ON_ITS_OWN_DISK)

    want(operator, nth(operator, 1, 2, 3, 4, 5), ON_ITS_OWN_DISK)
    restore(operator, str(path))
    assert revision(operator) > first
    assert len(operator.status()["members"]) == 5
    want(operator, nth(operator, 1, 4, 5), ON_ITS_OWN_DISK)
    restore(operator, str(path), "--again")
    assert revision(operator) > first
    for machine in operator.lab.machines[1:3]:
        assert_retired_again(machine.run("ls -d /var/lib/etcd.aside-*").stdout)
        assert_retired_again(machine.run(f"ls -d {WAL}.aside-*").stdout)
        assert machine.run("pgrep -x etcd", check=False).stdout == ""
    operator.lab.each(lambda machine: machine.kill())
    operator.lab.each(lambda machine: machine.start())
    operator.lab.wait_ssh()
    operator.wait_healthy()
    assert operator.ctl("get", GREETING, "--print-value-only").strip() == "kept"


@pytest.mark.parametrize("version", OTHERS)
def test_of_another_version(operator: Operator, version: str) -> None:
    """A backup by its name in the store: to the same hosts, to three others, to five and to three."""
    if reason := why_not(version):
        pytest.skip(reason)
    six_machines(operator)
    of_version(operator, version, 1, 2, 3)
    operator.apply()
    with watching(operator, nth(operator, 1, 2, 3)) as watcher:
        watcher.put("greeting", "kept")
        taken = operator.run("backup", "now", "--json")
        assert taken.returncode == 0, said(taken)
        assert json.loads(taken.stdout)["member"] != operator.status()["leader"], "a leader has enough to do"
        watcher.put("greeting", "lost")
        before = revision(operator)
        restore(operator, "latest")
        assert_told_of_the_restore(operator, watcher, before)
    clone(operator, "latest")
    of_version(operator, version, 1, 2, 3, 4, 5)
    restore(operator, "latest", "--again")
    assert len(operator.status()["members"]) == 5
    of_version(operator, version, 1, 4, 5)
    restore(operator, "latest", "--again")
    assert len(operator.status()["members"]) == 3


def six_machines(operator: Operator) -> None:
    for _ in range(3):
        operator.lab.add_machine()
    operator.lab.wait_ssh()


def of_version(operator: Operator, version: str, *numbers: int) -> None:
    operator.write(version=version, install=by_path(version), members=nth(operator, *numbers))


def assert_told_of_the_restore(operator: Operator, watcher: Watching, before: int) -> None:
    """A watcher that goes on from what it knew is told to begin anew, rather than miss something (rule 58)."""
    gone = operator.run("ctl", "--", "get", GREETING, f"--rev={before}")
    assert "required revision has been compacted" in gone.stderr, said(gone)
    watcher.wait_for({GREETING: "kept"})
    assert watcher.lists == 2
    watcher.put("after", "the-restore")
    watcher.assert_right()


def undo(operator: Operator) -> None:
    """What was written after the snapshot is there again. Killed with the first host's data back, it goes on."""
    apply_cut(operator, "UndoData", words=("restore", "--undo"), sure=SURE)
    done = operator.run("restore", "--undo", *SURE)
    assert done.returncode == 0, said(done)
    assert "a watcher that goes on waits for ever" in done.stderr, said(done)
    assert done.stdout.rstrip().endswith(HEALTHY), said(done)
    assert operator.ctl("get", GREETING, "--print-value-only").strip() == "lost"
    assert operator.ctl("get", f"{PREFIX}late", "--print-value-only").strip() == "written"
    assert operator.ctl("get", f"{PREFIX}after") == ""
    assert "nothing to do" in operator.apply()


def clone(operator: Operator, snapshot: str, more: str = "") -> None:
    """Onto the three other machines, beside the cluster that runs; these are as new afterwards."""
    (folder := operator.folder / "copy").mkdir()
    copy = Operator(operator.lab, folder)
    version = operator.status()["members"][0]["version"]
    store = f"backup: {{to: {operator.folder / 'backups'}}}\n"
    copy.write(version=version, install=by_path(version), members=nth(operator, 4, 5, 6), more=more + store)
    copy.file.write_text(copy.file.read_text().replace("name: prod", "name: copy", 1))
    done = copy.run("restore", snapshot, "--from-cluster", "prod", "--yes-restore", "copy")
    assert done.returncode == 0, said(done)
    copy.ctl("put", "whose", "copy")
    assert copy.ctl("get", GREETING, "--print-value-only").strip() == "kept"
    assert operator.ctl("get", "whose") == ""
    assert "nothing to do" in operator.apply()
    for machine in operator.lab.machines[3:]:
        machine.reset()
    operator.lab.wait_ssh()


def assert_retired_again(listed: str) -> None:
    """The data of three clusters in turn lies beside: nothing was deleted."""
    assert len(listed.split()) == 3, listed


def restore(operator: Operator, snapshot: str, *more: str) -> subprocess.CompletedProcess[str]:
    done = operator.run("restore", snapshot, *SURE, *more)
    assert done.returncode == 0, said(done)
    assert done.stdout.rstrip().endswith(HEALTHY), said(done)
    assert operator.ctl("get", GREETING, "--print-value-only").strip() == "kept"
    assert "nothing to do" in operator.apply()
    return done


def revision(operator: Operator) -> int:
    answer = json.loads(operator.ctl("get", GREETING, "--write-out=json"))
    return int(answer["header"]["revision"])


def snapshot(operator: Operator) -> Path:
    """By etcdctl on a member's host, from that member alone (rule 53)."""
    machine = operator.lab.machines[0]
    pki = "/etc/etcd/pki"
    machine.run(
        f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.pem --cert={pki}/server.pem "
        f"--key={pki}/server-key.pem snapshot save /root/snapshot.db"
    )
    path = operator.folder / "snapshot.db"
    path.write_bytes((machine.root / "root/snapshot.db").read_bytes())
    return path
