"""Faults during a rolling restart: apply stops or continues safely, reports why, and the next apply finishes."""

import subprocess
from collections.abc import Sequence

import pytest

from tests.lab.apply_with_faults import apply_with_disturbance
from tests.lab.load import load_on
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
DATA = "/var/lib/etcd"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


def write_spec(operator: Operator, etcd: str = "", members: Sequence[str] = ()) -> None:
    more = f"etcd: {{{etcd}}}\n" if etcd else ""
    operator.write(
        version=VERSION, install=path_install(VERSION), ssh="connect_timeout: 3s", members=members, more=more
    )


def assert_stopped_safely(operator: Operator, done: subprocess.CompletedProcess[str], *texts: str) -> None:
    """Assert that apply was partly done or refused, with these texts and a hint, and that two members are healthy."""
    assert done.returncode in (4, 5), output_of(done)
    assert "Traceback" not in done.stderr
    assert [text for text in texts if text not in done.stderr] == [], output_of(done)
    assert "hint: " in done.stderr, output_of(done)
    assert sum(member["healthy"] for member in operator.status()["members"]) >= 2


@pytest.mark.in_turn(1, 2)
def test_faults_during_a_rolling_restart_lose_no_write(operator: Operator) -> None:
    """An invalid setting of etcd, a host without network, a host that reboots."""
    write_spec(operator)
    operator.apply()
    lab = operator.lab
    with load_on(lab, operator) as load:
        write_spec(operator, "extra: {snapshot-count: banana}")
        bad = operator.run("apply", "--yes")
        assert_stopped_safely(
            operator, bad, "does not stay up", 'invalid value "banana" for ETCD_SNAPSHOT_COUNT'
        )
        write_spec(operator)
        operator.apply()

        cut_off = []

        def cut_another_off(restarted: str) -> None:
            cut_off.append(next(each for each in lab if each.name != restarted))
            cut_off[0].cut_off()

        write_spec(operator, "heartbeat_ms: 110, election_ms: 1100")
        done = apply_with_disturbance(operator, "RestartMember", cut_another_off)
        assert_stopped_safely(operator, done, cut_off[0].name)
        assert_stopped_safely(operator, operator.run("apply", "--yes"), cut_off[0].name)
        cut_off[0].reconnect()
        operator.apply()

        def reboot(restarted: str) -> None:
            lab[restarted].kill()
            lab[restarted].start()

        write_spec(operator)
        done = apply_with_disturbance(operator, "RestartMember", reboot)
        lab.wait_ssh()
        assert_stopped_safely(operator, done)
        operator.apply()
        report = load.report()
    assert report.violation is None
    assert report.lost == report.unexpected == ()
    operator.assert_nothing_to_do()


@pytest.mark.in_turn(0, 2)
def test_a_full_disk_is_safe_and_an_unmounted_disk_is_not_an_empty_one(operator: Operator) -> None:
    small = operator.lab["infra2"]
    small.small_disk(DATA, 1100)
    write_spec(operator)
    operator.apply()
    small.fill_disk(DATA)
    write_spec(operator, "heartbeat_ms: 110, election_ms: 1100")
    done = operator.run("apply", "--yes")
    if done.returncode != 0:  # etcd starts on a full disk while its preallocated log file has free space
        assert_stopped_safely(operator, done, "infra2", "disk is full")
    small.free_disk(DATA)
    operator.apply()

    small.run(f"systemctl stop etcd; umount {DATA}")
    done = operator.run("apply", "--yes")
    assert_stopped_safely(operator, done, f"infra2: {DATA} was a mount point", "mount the disk on infra2")
    assert small.run(f"ls {DATA}").stdout == "", "no member was started on the mount point"
    small.reboot()
    operator.wait_healthy()
    operator.assert_nothing_to_do()
    recover_from_full_disk(operator)


def recover_from_full_disk(operator: Operator) -> None:
    """Recover with one machine off and one disk full. An incomplete copy may be deleted, old data may not (rule 68)."""
    _, small, off = operator.lab.machines
    off.kill()
    incomplete, old = f"{DATA}/aside-cold-prod-1.part", f"{DATA}/aside-20260101T000000Z"
    small.run(
        f"systemctl stop etcd; mkdir {incomplete} {old}; fallocate -l 100M {incomplete}/db; fallocate -l 5M {old}/db;"
        f"chown -R etcd:etcd {incomplete} {old}"  # etcdup makes copies as user etcd
    )
    small.fill_disk(DATA)
    done = operator.run("recover", "--yes-recover", "prod")
    assert done.returncode == 0, output_of(done)
    assert f"remove {incomplete}" in " ".join(done.stderr.split()), output_of(done)
    assert "The quorum is back. No data was lost, and nothing was rebuilt." in done.stderr
    assert done.stdout.rstrip().endswith("cluster is degraded"), output_of(done)
    assert small.run(f"ls {DATA}").stdout.split() == [old.rpartition("/")[2], "lost+found", "member"]
    off.start()
    off.wait_ssh()
    operator.wait_healthy()
