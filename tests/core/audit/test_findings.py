"""What an audit says of a healthy cluster to which one thing happened: each finding raised, and nothing beside it."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from etcdup.core.audit.audit import audit
from etcdup.core.audit.findings import Disk, Evidence, Finding, LeaderChanges, MemberHash
from etcdup.core.certs.inventory import CertFacts, CertInspection
from etcdup.core.observed.model import CertSeen, DirSeen, ListeningPort, UnitSeen
from etcdup.core.spec.model import Spec
from tests.support.audit_evidence import (
    GOOD_DISK,
    SAFE_SETTINGS,
    gather_evidence,
    with_hosts,
    with_inspection,
    with_member,
)
from tests.support.fake_world import spec_of
from tests.support.observation_strategies import GIB

SPEC = spec_of()


@pytest.fixture
async def healthy(tmp_path: Path) -> Evidence:
    """Three members of ours, of which an audit finds nothing."""
    evidence = await gather_evidence(SPEC, tmp_path)
    assert audit(SPEC, evidence) == ()
    return evidence


def single_finding(evidence: Evidence, spec: Spec = SPEC) -> Finding:
    (found,) = audit(spec, evidence)
    return found


def summary_of(found: Finding) -> tuple[str, str, str]:
    return found.level, found.host, found.what


# Clocks


def test_clocks_that_are_near_to_ours_and_far_from_each_other(healthy: Evidence) -> None:
    apart = with_hosts(healthy, infra1={"clock_ahead_s": -0.9}, infra3={"clock_ahead_s": 0.9})
    assert summary_of(single_finding(apart)) == (
        "wrong",
        "",
        "the clock of infra3 is 1.8 s ahead of infra1's",
    )
    near = with_hosts(healthy, infra1={"clock_ahead_s": -0.4}, infra3={"clock_ahead_s": 0.5})
    assert audit(SPEC, near) == ()


# Disks


@pytest.mark.parametrize(
    ("kind", "level"),
    [("tmpfs", "wrong"), ("nfs4", "advice"), ("overlay", "advice"), ("fuse.sshfs", "advice"), ("xfs", None)],
)
def test_the_kind_of_a_file_system(healthy: Evidence, kind: str, level: str | None) -> None:
    seen = with_inspection(
        healthy, "infra2", disks=(replace(GOOD_DISK, filesystem=kind, source="it", mount="/x"),)
    )
    said = f"/var/lib/etcd is on {kind} (it, mounted at /x)"
    assert list(map(summary_of, audit(SPEC, seen))) == ([(level, "infra2", said)] if level else [])


def test_a_log_with_a_disk_of_its_own_is_looked_at_too(healthy: Evidence) -> None:
    """There the fsyncs are; and where both share a disk its room is told once."""
    log = Disk("/srv/log/wal", "ext4", 300 * 1024**2, "/dev/sdb1", "/srv/log")
    assert summary_of(single_finding(with_inspection(healthy, "infra1", disks=(GOOD_DISK, log)))) == (
        "advice", "infra1", "/srv/log/wal has 300.0 MiB free",
    )  # fmt: skip
    shared = replace(log, mount=GOOD_DISK.mount)
    assert audit(SPEC, with_inspection(healthy, "infra1", disks=(GOOD_DISK, shared))) == ()
    volatile = replace(log, filesystem="tmpfs", free_bytes=GIB)
    assert single_finding(with_inspection(healthy, "infra1", disks=(GOOD_DISK, volatile))).what.startswith(
        "/srv/log/wal is on tmpfs"
    )
    slow = with_inspection(
        healthy, "infra1", disks=(GOOD_DISK, log := replace(log, free_bytes=GIB)), fsyncs_ms=(40.0,) * 100
    )
    assert summary_of(single_finding(slow)) == (
        "wrong", "infra1", "99 of 100 small writes to /srv/log/wal take up to 40.0 ms to the disk",
    )  # fmt: skip
    untimed = with_inspection(healthy, "infra1", disks=(GOOD_DISK, log), writes_untried="etcd runs")
    assert summary_of(single_finding(untimed)) == (
        "untried", "infra1", "small writes to /srv/log/wal were not timed: etcd runs",
    )  # fmt: skip


def test_without_a_closer_look_the_probe_tells_of_both_folders(healthy: Evidence) -> None:
    mute = with_hosts(
        with_inspection(healthy, "infra1", disks=()),
        infra1={
            "data": DirSeen("/var/lib/etcd", ("member",), filesystem="ext2/ext3", free_bytes=GIB),
            "wal": DirSeen("/srv/wal", ("0.wal",), filesystem="tmpfs", free_bytes=GIB),
        },
    )
    assert [each.what for each in audit(SPEC, mute)] == [
        "/srv/wal is on tmpfs", "/var/lib/etcd has 1.0 GiB free",
    ]  # fmt: skip


def test_a_database_is_judged_by_the_quota_that_runs(healthy: Evidence) -> None:
    """cluster.yaml may wish for another, or nobody set one: etcd's own is 2 GiB then."""
    full = with_member(healthy, "infra2", db_size=7 * GIB // 4)
    assert summary_of(single_finding(full)) == ("advice", "infra2", "its database has 1.8 GiB of 2.0 GiB")
    raised = full
    for name in healthy.inspections:
        raised = with_inspection(
            raised, name, settings={**SAFE_SETTINGS, "quota-backend-bytes": str(8 * GIB)}
        )
    assert audit(SPEC, raised) == ()
    wish = spec_of(more="etcd: {quota: 8GiB}\n")
    assert "1.8 GiB of 2.0 GiB" in single_finding(full, wish).what
    mute = with_inspection(full, "infra2", settings={})
    assert "1.8 GiB of 8.0 GiB" not in "".join(each.what for each in audit(wish, mute))
    endless = raised
    for name in healthy.inspections:
        endless = with_inspection(endless, name, settings={**SAFE_SETTINGS, "quota-backend-bytes": "-1"})
    assert audit(SPEC, endless) == (), "below zero etcd knows no quota"


# Hosts


def test_swap_another_etcd_and_a_unit_with_all_doors_open(healthy: Evidence) -> None:
    assert summary_of(single_finding(with_inspection(healthy, "infra2", swap=True))) == (
        "advice",
        "infra2",
        "swap is on",
    )
    other = single_finding(with_inspection(healthy, "infra2", other_units=("etcd-events.service",)))
    assert summary_of(other) == ("wrong", "infra2", "another etcd runs as well: etcd-events.service")
    assert "disable --now etcd-events.service" in other.fix
    assert summary_of(single_finding(with_inspection(healthy, "infra2", exposure=9.6))) == (
        "advice", "infra2", "systemd rates etcd.service 9.6 of 10 (10: all doors open)",
    )  # fmt: skip
    assert audit(SPEC, with_inspection(healthy, "infra2", exposure=1.9)) == ()


def test_what_a_host_lacks_to_look_with_is_told(healthy: Evidence) -> None:
    assert [
        summary_of(each)
        for each in audit(SPEC, with_inspection(healthy, "infra2", missing_programs=("ping", "ip")))
    ] == [
        ("untried", "infra2", "the round trip from infra2 was not looked at: it has no ping"),
        ("untried", "infra2", "the source address of infra2 was not looked at: it has no ip"),
    ]


def test_cloned_machines(healthy: Evidence) -> None:
    seen = healthy.observed.reachable()
    named = with_hosts(healthy, infra3={"hostname": seen["infra1"].hostname})
    assert summary_of(single_finding(named)) == ("wrong", "", "infra1 and infra3 have the same hostname")
    cloned = with_hosts(healthy, infra3={"machine_id": seen["infra1"].machine_id})
    assert summary_of(single_finding(cloned)) == ("wrong", "", "infra1 and infra3 have the same machine-id")


def test_who_holds_the_port_of_a_member_that_is_stopped(healthy: Evidence) -> None:
    stopped = UnitSeen(load="loaded", active="failed", enabled="enabled")
    taken = (ListeningPort(2379, 815, "nginx"), ListeningPort(2380))
    found = audit(SPEC, with_hosts(healthy, infra1={"unit": stopped, "listening": taken}))
    assert [summary_of(each) for each in found] == [
        ("wrong", "infra1", "etcd does not run (etcd.service is failed)"),
        ("wrong", "infra1", "port 2379 (client) on infra1 is taken by nginx (pid 815)"),
        ("wrong", "infra1", "port 2380 (peer) on infra1 is taken"),
    ]


@pytest.mark.parametrize(("source", "turned_away"), [("192.168.8.66", False), ("10.0.0.7", True)])
def test_the_address_that_peers_are_dialled_from(healthy: Evidence, source: str, turned_away: bool) -> None:
    """Rule 18: members compare a peer's certificate with it."""
    pair = CertInspection(
        "peer/infra1", "served", "infra1", 2380, facts_for("192.168.8.66", at=healthy.observed.at)
    )
    seen = replace(with_inspection(healthy, "infra1", sources={"infra2": source}), cert_inspections=(pair,))
    what = "infra1 dials its peers from 10.0.0.7, which its peer certificate lacks"
    assert [summary_of(each) for each in audit(SPEC, seen)] == (
        [("wrong", "infra1", what)] if turned_away else []
    )


def facts_for(address: str, at: datetime) -> CertFacts:
    usages, life = ("serverAuth", "clientAuth"), timedelta(days=365)
    cert = CertSeen("x", "a", "b", "peer", (), (address,), usages, at - life, at + life, "k", "k2", False)
    return CertFacts(cert, "CN=peer", "CN=ca", "1")


# Between members


def test_timeouts_that_differ_and_a_default_that_does_not(healthy: Evidence) -> None:
    same = with_inspection(
        healthy, "infra1", settings={**SAFE_SETTINGS, "heartbeat-interval": "100", "election-timeout": "1000"}
    )
    assert audit(SPEC, same) == (), "it says what the others do not need to say"
    longer = with_inspection(healthy, "infra3", settings={**SAFE_SETTINGS, "election-timeout": "5000"})
    found = single_finding(longer)
    assert (
        found.what == "members run with different election-timeout: 1000 on infra1 and infra2, 5000 on infra3"
    )
    assert (found.level, found.rules) == ("wrong", (87,))
    quota = single_finding(
        with_inspection(healthy, "infra1", settings={**SAFE_SETTINGS, "quota-backend-bytes": "8589934592"})
    )
    assert quota.what.startswith("members run with different quota-backend-bytes: 2147483648 on infra2")


def test_a_round_trip_is_judged_by_the_timeouts_that_run(healthy: Evidence) -> None:
    far = with_inspection(healthy, "infra1", round_trips_ms={"infra2": 0.2, "infra3": 203.4})
    found = single_finding(far)
    assert summary_of(found) == ("advice", "", "the slowest round trip between hosts takes 203.4 ms")
    assert found.fix == "heartbeat_ms: 210, election_ms: 2100"
    for name in far.inspections:
        far = with_inspection(
            far, name, settings={**SAFE_SETTINGS, "heartbeat-interval": "210", "election-timeout": "2100"}
        )
    assert audit(SPEC, far) == ()


def test_the_data_of_members_that_cannot_be_compared(healthy: Evidence) -> None:
    hashes = (MemberHash("infra1", 1, 10), MemberHash("infra2", 1, 10), MemberHash("infra3", 3, 12))
    found = single_finding(replace(healthy, hashes=hashes))
    what = (
        "data that was compacted at different revisions was not compared: infra1, infra2 at 10; infra3 at 12"
    )
    assert summary_of(found) == ("untried", "", what)
    mute = single_finding(
        replace(healthy, hashes=(*hashes[:2], MemberHash("infra3", why="no answer within 10 s")))
    )
    assert summary_of(mute) == ("untried", "infra3", "the hash of infra3's data: no answer within 10 s")


def test_leader_changes_that_could_not_be_asked_for(healthy: Evidence) -> None:
    why = "its metrics require a client certificate, and the PKI has none"
    leaders = (
        LeaderChanges("infra1", 2, 60),
        LeaderChanges("infra2", why=why),
        LeaderChanges("infra3", why=why),
    )
    found = single_finding(replace(healthy, leaders=leaders))
    assert summary_of(found) == (
        "untried",
        "",
        f"how often the leader changed was not asked of infra2, infra3: {why}",
    )


@pytest.mark.parametrize(
    ("alarm", "words"),
    [
        ("CORRUPT on member 1", ("`etcdup member replace` it", "alarm disarm")),
        ("NOSPACE", ("compaction REVISION", "defrag", "alarm disarm")),
        ("STRANGE", ("alarm list",)),
    ],
)
def test_each_alarm_has_its_way_out(healthy: Evidence, alarm: str, words: tuple[str, ...]) -> None:
    found = single_finding(with_member(healthy, "infra1", alarms=(alarm,)))
    assert summary_of(found) == ("wrong", "", f"alarm: {alarm}")
    assert [word for word in words if word not in found.fix] == []


def test_one_member_that_answers_has_nothing_to_be_compared_with(healthy: Evidence) -> None:
    alone = {name: seen for name, seen in healthy.observed.members.items() if name == "infra1"}
    found = audit(SPEC, replace(healthy, observed=replace(healthy.observed, members=alone), hashes=()))
    assert [each.what for each in found if 81 in each.rules] == [
        "members' data were not compared: infra1 alone answers"
    ]
