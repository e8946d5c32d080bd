"""Restores of a snapshot: on the same hosts under a watcher, on three other hosts, on five and on three."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lab.apply_with_faults import apply_and_kill
from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.lab.test_membership import machine_names, write_members
from tests.lab.watcher_process import PREFIX, WatcherProcess, running_watcher
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

OTHERS = ("3.5.33", "3.7.1")
YES = ("--yes-restore", "prod")
GREETING = f"{PREFIX}greeting"
# A key on a lease, which the watcher does not see.
CLAIM = "/service/pg/leader"
WAL_DISK = "/var/lib/etcd-log"
WAL = f"{WAL_DISK}/wal"
WAL_ON_ITS_OWN_DISK = f"etcd: {{wal_dir: {WAL}}}\n"
# etcdup is killed at each of these steps, and the same restore resumes each time.
KILL_STEPS = ("StageRestore", "StopMembers", "PlaceData", "RevokeLeases", "OpenClients", "start")


@pytest.mark.in_turn(2, 3)
def test_a_restore_is_killed_resumed_and_undone_under_a_watcher(operator: Operator) -> None:
    restore_and_undo(operator, KILL_STEPS[2:3])


@pytest.mark.full
def test_a_snapshot_is_restored_to_the_same_hosts_others_five_and_three(operator: Operator) -> None:
    """The restore is also killed at each kind of step. At the end all machines lose power."""
    add_three_machines(operator)
    path, first = restore_and_undo(operator, KILL_STEPS)
    restore_as_clone(operator, str(path), WAL_ON_ITS_OWN_DISK)

    write_members(operator, machine_names(operator, 1, 2, 3, 4, 5), WAL_ON_ITS_OWN_DISK)
    restore(operator, str(path))
    assert read_revision(operator) > first
    assert len(operator.status()["members"]) == 5
    write_members(operator, machine_names(operator, 1, 4, 5), WAL_ON_ITS_OWN_DISK)
    restore(operator, str(path), "--again", revokes=True)
    assert read_revision(operator) > first
    for machine in operator.lab.machines[1:3]:
        assert_four_archives(machine.run("ls -d /var/lib/etcd.aside-*").stdout)
        assert_four_archives(machine.run(f"ls -d {WAL}.aside-*").stdout)
        assert machine.run("pgrep -x etcd", check=False).stdout == ""
    operator.lab.each(lambda machine: machine.kill())
    operator.lab.each(lambda machine: machine.start())
    operator.lab.wait_ssh()
    operator.wait_healthy()
    assert operator.ctl("get", GREETING, "--print-value-only").strip() == "kept"


def restore_and_undo(operator: Operator, kill_steps: Sequence[str]) -> tuple[Path, int]:
    """Restore a cluster whose log has its own disk, and undo it. Return the snapshot and the restored revision."""
    for machine in operator.lab.machines[:3]:
        machine.small_disk(WAL_DISK, 2000)
    write_members(operator, machine_names(operator, 1, 2, 3), WAL_ON_ITS_OWN_DISK)
    operator.apply()
    with running_watcher(operator, machine_names(operator, 1, 2, 3)) as watcher:
        watcher.put("greeting", "kept")
        lease = operator.ctl("lease", "grant", "3600").split()[1]
        operator.ctl("put", f"--lease={lease}", CLAIM, "of that time")
        path = save_snapshot(operator)
        watcher.put("greeting", "lost")
        watcher.put("late", "written")
        before = read_revision(operator)
        for step in kill_steps:
            apply_and_kill(operator, step, command=("restore", str(path)), confirm=YES)
        middle = operator.run("apply", "--yes")
        assert middle.returncode == 4, output_of(middle)
        assert "is not finished" in middle.stderr, output_of(middle)
        done = restore(operator, str(path))
        assert "kube-apiserver" in done.stderr, output_of(done)
        assert operator.ctl("get", CLAIM) == ""
        assert operator.ctl("lease", "list").split() == ["found", "0", "leases"]
        first = read_revision(operator)
        assert first > before
        assert_watcher_notices_restore(operator, watcher, before)
        for machine in operator.lab.machines[:3]:
            assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
            assert machine.run(f"ls {WAL}.aside-*/*.wal").stdout
            modes = machine.run(f"stat -c '%U:%G %a' /var/lib/etcd /var/lib/etcd/member {WAL}").stdout
            assert modes.splitlines() == ["etcd:etcd 700"] * 3
        undo_restore(operator)
        watcher.wait_for({GREETING: "lost"})
        assert watcher.lists == 3, "the watch ended with an error, so the watcher has read all keys again"
    return path, first


@pytest.mark.full
@pytest.mark.parametrize("version", OTHERS)
def test_a_backup_of_another_version_is_restored(operator: Operator, version: str) -> None:
    """A backup is restored by its name: to the same hosts, to three others, to five and to three."""
    if reason := why_not(version):
        pytest.skip(reason)
    add_three_machines(operator)
    write_version(operator, version, 1, 2, 3)
    operator.apply()
    with running_watcher(operator, machine_names(operator, 1, 2, 3)) as watcher:
        watcher.put("greeting", "kept")
        taken = operator.run("backup", "now", "--json")
        assert taken.returncode == 0, output_of(taken)
        assert json.loads(taken.stdout)["member"] != operator.status()["leader"], "not from the leader"
        watcher.put("greeting", "lost")
        before = read_revision(operator)
        restore(operator, "latest")
        assert_watcher_notices_restore(operator, watcher, before)
    restore_as_clone(operator, "latest")
    write_version(operator, version, 1, 2, 3, 4, 5)
    restore(operator, "latest", "--again")
    assert len(operator.status()["members"]) == 5
    write_version(operator, version, 1, 4, 5)
    restore(operator, "latest", "--again", revokes=True)
    assert len(operator.status()["members"]) == 3


def add_three_machines(operator: Operator) -> None:
    for _ in range(3):
        operator.lab.add_machine()
    operator.lab.wait_ssh()


def write_version(operator: Operator, version: str, *numbers: int) -> None:
    operator.write(version=version, install=path_install(version), members=machine_names(operator, *numbers))


def assert_watcher_notices_restore(operator: Operator, watcher: WatcherProcess, before: int) -> None:
    """Assert that a watcher gets the error "compacted" and lists again, so that it misses nothing (rule 58)."""
    compacted = operator.run("ctl", "--", "get", GREETING, f"--rev={before}")
    assert "required revision has been compacted" in compacted.stderr, output_of(compacted)
    watcher.wait_for({GREETING: "kept"})
    assert watcher.lists == 2
    watcher.put("after", "the-restore")
    watcher.assert_consistent()


def undo_restore(operator: Operator) -> None:
    """Undo the restore, with a kill after the first host. Keys that were written after the snapshot are back."""
    before = read_revision(operator)
    apply_and_kill(operator, "PlaceData", command=("restore", "--undo"), confirm=YES)
    done = operator.run("restore", "--undo", *YES)
    assert done.returncode == 0, output_of(done)
    assert read_revision(operator) > before
    assert operator.ctl("get", CLAIM) == ""
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    assert operator.ctl("get", GREETING, "--print-value-only").strip() == "lost"
    assert operator.ctl("get", f"{PREFIX}late", "--print-value-only").strip() == "written"
    assert operator.ctl("get", f"{PREFIX}after") == ""
    operator.assert_nothing_to_do()


def restore_as_clone(operator: Operator, snapshot: str, more: str = "") -> None:
    """Restore the snapshot as another cluster on the three other machines, and reset these machines."""
    (folder := operator.folder / "copy").mkdir()
    copy = Operator(operator.lab, folder)
    version = operator.status()["members"][0]["version"]
    store = f"backup: {{to: {operator.folder / 'backups'}}}\n"
    copy.write(
        version=version,
        install=path_install(version),
        members=machine_names(operator, 4, 5, 6),
        more=more + store,
    )
    copy.file.write_text(copy.file.read_text().replace("name: prod", "name: copy", 1))
    done = copy.run("restore", snapshot, "--from-cluster", "prod", "--unsigned", "--yes-restore", "copy")
    assert done.returncode == 0, output_of(done)
    copy.ctl("put", "whose", "copy")
    assert copy.ctl("get", GREETING, "--print-value-only").strip() == "kept"
    assert operator.ctl("get", "whose") == ""
    operator.assert_nothing_to_do()
    for machine in operator.lab.machines[3:]:
        machine.reset()
    operator.lab.wait_ssh()


def assert_four_archives(listed: str) -> None:
    """Assert that the data of four clusters is archived, so nothing was deleted."""
    assert len(listed.split()) == 4, listed


def restore(
    operator: Operator, snapshot: str, *more: str, revokes: bool = False
) -> subprocess.CompletedProcess[str]:
    """Restore, and return the result. Without some of the hosts, the next apply revokes their certificates."""
    done = operator.run("restore", snapshot, *YES, *more)
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    assert operator.ctl("get", GREETING, "--print-value-only").strip() == "kept"
    if revokes:
        assert "revoked" in operator.apply()
    operator.assert_nothing_to_do()
    return done


def read_revision(operator: Operator) -> int:
    answer = json.loads(operator.ctl("get", GREETING, "--write-out=json"))
    return int(answer["header"]["revision"])


def save_snapshot(operator: Operator) -> Path:
    """Save a snapshot of one member with etcdctl on its host (rule 53), and return the file."""
    machine = operator.lab.machines[0]
    pki = "/etc/etcd/pki"
    machine.run(
        f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.pem --cert={pki}/server.pem "
        f"--key={pki}/server-key.pem snapshot save /root/snapshot.db"
    )
    path = operator.folder / "snapshot.db"
    path.write_bytes((machine.root / "root/snapshot.db").read_bytes())
    return path
