"""An audit of a healthy cluster with one fault: exactly the finding of this fault is reported."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from etcdup.core.audit.audit import audit
from etcdup.core.audit.findings import Disk, Evidence, Finding, LeaderChanges, MemberHash, MemberLog
from etcdup.core.certs.inventory import CertFacts, CertInspection
from etcdup.core.observed.directory import DirSeen
from etcdup.core.observed.host import ListeningPort
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.pki import CertSeen
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import parse_version
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
from tests.support.texts import Texts

SPEC = spec_of()


@pytest.fixture
async def healthy(tmp_path: Path) -> Evidence:
    """Return the evidence of three members that etcdup set up, without a finding."""
    evidence = await gather_evidence(SPEC, tmp_path)
    assert audit(SPEC, evidence) == ()
    return evidence


def single_finding(evidence: Evidence, spec: Spec = SPEC) -> Finding:
    (found,) = audit(spec, evidence)
    return found


def summary_of(found: Finding) -> tuple[str, str, str]:
    return found.level, found.host, found.what


# Clocks


def test_clocks_near_this_machine_can_differ_from_each_other(healthy: Evidence) -> None:
    apart = with_hosts(healthy, infra1={"clock_ahead_s": -0.9}, infra3={"clock_ahead_s": 0.9})
    assert summary_of(single_finding(apart)) == (
        "wrong",
        "",
        "The clock of infra3 is 1.8 s ahead of the clock of infra1.",
    )
    near = with_hosts(healthy, infra1={"clock_ahead_s": -0.4}, infra3={"clock_ahead_s": 0.5})
    assert audit(SPEC, near) == ()


# Disks


@pytest.mark.parametrize(
    ("kind", "level"),
    [("tmpfs", "wrong"), ("nfs4", "advice"), ("overlay", "advice"), ("fuse.sshfs", "advice"), ("xfs", None)],
)
def test_the_type_of_a_file_system_is_checked(healthy: Evidence, kind: str, level: str | None) -> None:
    seen = with_inspection(
        healthy, "infra2", disks=(replace(GOOD_DISK, filesystem=kind, source="it", mount="/x"),)
    )
    what = f"/var/lib/etcd is on {kind} (it, mounted at /x)."
    assert list(map(summary_of, audit(SPEC, seen))) == ([(level, "infra2", what)] if level else [])


def test_the_own_disk_of_a_log_is_checked(texts: Texts, healthy: Evidence) -> None:
    """etcd flushes its writes on that disk. If data and log share a disk, its free space is reported once."""
    log = Disk("/srv/log/wal", "ext4", 300 * 1024**2, "/dev/sdb1", "/srv/log")
    assert summary_of(single_finding(with_inspection(healthy, "infra1", disks=(GOOD_DISK, log)))) == (
        "advice", "infra1", "/srv/log/wal has 300.0 MiB of free space.",
    )  # fmt: skip
    shared = replace(log, mount=GOOD_DISK.mount)
    assert audit(SPEC, with_inspection(healthy, "infra1", disks=(GOOD_DISK, shared))) == ()
    volatile = replace(log, filesystem="tmpfs", free_bytes=GIB)
    texts(single_finding(with_inspection(healthy, "infra1", disks=(GOOD_DISK, volatile))))
    slow = with_inspection(
        healthy, "infra1", disks=(GOOD_DISK, log := replace(log, free_bytes=GIB)), fsyncs_ms=(40.0,) * 100
    )
    assert summary_of(single_finding(slow)) == (
        "wrong", "infra1", "Small writes to /srv/log/wal take 40.0 ms to reach the disk (99th percentile).",
    )  # fmt: skip
    untimed = with_inspection(healthy, "infra1", disks=(GOOD_DISK, log), writes_untried="etcd runs")
    assert summary_of(single_finding(untimed)) == (
        "untried", "infra1", "Small writes to /srv/log/wal were not timed: etcd runs.",
    )  # fmt: skip


def test_without_disks_of_the_inspection_those_of_the_probe_count(healthy: Evidence) -> None:
    probed = with_hosts(
        with_inspection(healthy, "infra1", disks=()),
        infra1={
            "data": DirSeen("/var/lib/etcd", ("member",), filesystem="ext2/ext3", free_bytes=GIB),
            "wal": DirSeen("/srv/wal", ("0.wal",), filesystem="tmpfs", free_bytes=GIB, has_wal=True),
        },
    )
    assert [each.what for each in audit(SPEC, probed)] == [
        "/srv/wal is on tmpfs.", "/var/lib/etcd has 1.0 GiB of free space.",
    ]  # fmt: skip


def test_a_database_is_compared_with_the_quota_of_its_process(texts: Texts, healthy: Evidence) -> None:
    """cluster.yaml can have another quota. If no quota is set, the default of etcd is 2 GiB."""
    full = with_member(healthy, "infra2", db_size=7 * GIB // 4, db_in_use=5 * GIB // 4)
    assert summary_of(single_finding(full)) == (
        "advice",
        "infra2",
        "The database of infra2 uses 1.8 GiB of its quota of 2.0 GiB.",
    )
    raised = full
    for name in healthy.inspections:
        raised = with_inspection(
            raised, name, settings={**SAFE_SETTINGS, "quota-backend-bytes": str(8 * GIB)}
        )
    assert audit(SPEC, raised) == ()
    wish = spec_of(more="etcd: {quota: 8GiB}\n")
    (found,) = (each for each in audit(wish, full) if each.code == "database-nearly-full")
    texts(found)
    unknown = with_inspection(full, "infra2", settings={})
    texts([each for each in audit(wish, unknown) if each.code == "database-nearly-full"])
    endless = raised
    for name in healthy.inspections:
        endless = with_inspection(endless, name, settings={**SAFE_SETTINGS, "quota-backend-bytes": "-1"})
    assert audit(SPEC, endless) == (), "below zero, etcd has no quota"


# Hosts


def test_swap_a_second_etcd_and_an_unhardened_unit_are_reported(texts: Texts, healthy: Evidence) -> None:
    assert summary_of(single_finding(with_inspection(healthy, "infra2", swap=True))) == (
        "advice",
        "infra2",
        "Swap is on.",
    )
    other = single_finding(with_inspection(healthy, "infra2", other_units=("etcd-events.service",)))
    assert summary_of(other) == ("wrong", "infra2", "A second etcd runs on this host: etcd-events.service.")
    texts(other)
    assert summary_of(single_finding(with_inspection(healthy, "infra2", exposure=9.6))) == (
        "advice", "infra2", "systemd rates etcd.service 9.6 of 10 (0 is safest, 10 is not hardened).",
    )  # fmt: skip
    assert audit(SPEC, with_inspection(healthy, "infra2", exposure=1.9)) == ()


def test_missing_programs_are_reported(healthy: Evidence) -> None:
    assert [
        summary_of(each)
        for each in audit(SPEC, with_inspection(healthy, "infra2", missing_programs=("ping", "ip")))
    ] == [
        ("untried", "infra2", "The round-trip time from infra2 was not measured: the host has no ping."),
        ("untried", "infra2", "The source address of infra2 was not measured: the host has no ip."),
    ]


def test_cloned_machines_are_reported(healthy: Evidence) -> None:
    seen = healthy.observed.reachable()
    named = with_hosts(healthy, infra3={"hostname": seen["infra1"].hostname})
    assert summary_of(single_finding(named)) == ("wrong", "", "infra1 and infra3 have the same host name.")
    cloned = with_hosts(healthy, infra3={"machine_id": seen["infra1"].machine_id})
    assert summary_of(single_finding(cloned)) == ("wrong", "", "infra1 and infra3 have the same machine ID.")


def test_the_program_on_the_port_of_a_stopped_member_is_named(texts: Texts, healthy: Evidence) -> None:
    stopped = UnitSeen(load="loaded", active="failed", enabled="enabled")
    taken = (ListeningPort(2379, 815, "nginx"), ListeningPort(2380))
    seen = with_hosts(healthy, infra1={"unit": stopped, "listening": taken})
    silent = {**seen.observed.members, "infra1": MemberSilent("etcd does not run")}
    (found,) = audit(SPEC, replace(seen, observed=replace(seen.observed, members=silent)))
    assert summary_of(found) == (
        "wrong", "infra1", "infra1: port 2379 (client) is in use by nginx (pid 815).",
    )  # fmt: skip
    texts(found)


@pytest.mark.parametrize(
    "unit",
    [
        UnitSeen(load="loaded", enabled="enabled", queued=True, waits_for=("network-online.target",)),
        UnitSeen(load="loaded", enabled="enabled", active="activating", sub="auto-restart", restarts=6),
    ],
)
def test_a_member_that_systemd_starts_is_reported_with_the_observed_reason(
    healthy: Evidence, unit: UnitSeen
) -> None:
    found = with_hosts(healthy, infra1={"unit": unit})
    silent = {**found.observed.members, "infra1": MemberSilent("etcd is not there yet: a reason")}
    found = replace(found, observed=replace(found.observed, members=silent))
    assert ("wrong", "infra1", "infra1: etcd is not there yet: a reason.") in map(
        summary_of, audit(SPEC, found)
    )


@pytest.mark.parametrize(("source", "rejected"), [("192.168.8.66", False), ("10.0.0.7", True)])
def test_the_source_address_must_be_in_the_peer_certificate(
    healthy: Evidence, source: str, rejected: bool
) -> None:
    """Rule 18: a member compares the certificate of a peer with the source address of the connection."""
    pair = CertInspection(
        "peer/infra1", "served", "infra1", 2380, facts_for("192.168.8.66", at=healthy.observed.at)
    )
    seen = replace(with_inspection(healthy, "infra1", sources={"infra2": source}), cert_inspections=(pair,))
    what = "infra1 connects to its peers from 10.0.0.7, which is not in its peer certificate."
    assert [summary_of(each) for each in audit(SPEC, seen)] == (
        [("wrong", "infra1", what)] if rejected else []
    )


def facts_for(address: str, at: datetime) -> CertFacts:
    usages, life = ("serverAuth", "clientAuth"), timedelta(days=365)
    cert = CertSeen("x", "a", "b", "peer", (), (address,), usages, at - life, at + life, "k", "k2", False)
    return CertFacts(cert, "CN=peer", "CN=ca", "1")


# Between members


def test_settings_that_differ_between_members_are_reported(texts: Texts, healthy: Evidence) -> None:
    same = with_inspection(
        healthy, "infra1", settings={**SAFE_SETTINGS, "heartbeat-interval": "100", "election-timeout": "1000"}
    )
    assert audit(SPEC, same) == (), "a default that is set is equal to one that is not set"
    longer = with_inspection(healthy, "infra3", settings={**SAFE_SETTINGS, "election-timeout": "5000"})
    found = single_finding(longer)
    assert (
        found.what
        == "The members run with different values of election-timeout: 1000 on infra1 and infra2, 5000 on infra3."
    )
    assert (found.level, found.rules) == ("wrong", (87,))
    quota = single_finding(
        with_inspection(healthy, "infra1", settings={**SAFE_SETTINGS, "quota-backend-bytes": "8589934592"})
    )
    texts(quota)


def test_a_round_trip_time_is_compared_with_the_running_timeouts(texts: Texts, healthy: Evidence) -> None:
    far = with_inspection(healthy, "infra1", round_trips_ms={"infra2": 0.2, "infra3": 203.4})
    found = single_finding(far)
    assert summary_of(found) == ("advice", "", "The largest round-trip time between two hosts is 203.4 ms.")
    texts(found)
    for name in far.inspections:
        far = with_inspection(
            far, name, settings={**SAFE_SETTINGS, "heartbeat-interval": "210", "election-timeout": "2100"}
        )
    assert audit(SPEC, far) == ()


def test_data_that_cannot_be_compared_is_reported(healthy: Evidence) -> None:
    hashes = (MemberHash("infra1", 1, 10), MemberHash("infra2", 1, 10), MemberHash("infra3", 3, 12))
    found = single_finding(replace(healthy, hashes=hashes))
    what = (
        "The data was not compared, because the members were compacted at different revisions: "
        "infra1, infra2 at 10; infra3 at 12."
    )
    assert summary_of(found) == ("untried", "", what)
    unread = single_finding(
        replace(healthy, hashes=(*hashes[:2], MemberHash("infra3", why="no answer within 10 s")))
    )
    assert summary_of(unread) == (
        "untried",
        "infra3",
        "The hash of the data of infra3 could not be read: no answer within 10 s.",
    )


def test_leader_changes_that_could_not_be_read_are_reported(healthy: Evidence) -> None:
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
        f"The number of leader changes was not read from infra2, infra3: {why}.",
    )


def test_members_that_3_7_could_not_start_are_reported(texts: Texts, healthy: Evidence) -> None:
    logs = (MemberLog("infra1", reads_v2=True), MemberLog("infra2"), MemberLog("infra3", reads_v2=True))
    found = single_finding(replace(healthy, logs=logs))
    assert (found.level, found.code, found.host, found.rules) == (
        "advice",
        "log-prevents-upgrade",
        "",
        (111,),
    )
    texts(found)


def test_a_log_that_could_not_be_read_is_reported(healthy: Evidence) -> None:
    found = single_finding(replace(healthy, logs=(MemberLog("infra2", why="it is not a log"),)))
    assert (found.level, found.code, found.host) == ("untried", "log-not-read", "infra2")


@pytest.mark.parametrize(
    "alarm",
    [
        "CORRUPT on member 1",
        "NOSPACE",
        "STRANGE",
    ],
)
def test_each_alarm_has_its_fix(texts: Texts, healthy: Evidence, alarm: str) -> None:
    """A database that has reached its quota is larger than the quota of cluster.yaml, too."""
    full = with_member(healthy, "infra1", alarms=(alarm,), db_size=SPEC.etcd.quota, db_quota=SPEC.etcd.quota)
    (found,) = (each for each in audit(SPEC, full) if each.code == "alarm-raised")
    assert (found.level, found.host) == ("wrong", "")
    texts(found)


def test_an_alarm_of_a_removed_member_is_reported(healthy: Evidence) -> None:
    full = with_member(healthy, "infra1", alarms=("NOSPACE on member 1f",))
    codes = [each.code for each in audit(SPEC, full)]
    assert codes.count("alarm-of-unknown-member") == 1
    own = next(iter(healthy.observed.answering().values())).member_id
    own_alarm = with_member(healthy, "infra1", alarms=(f"NOSPACE on member {own:x}",))
    assert "alarm-of-unknown-member" not in [each.code for each in audit(SPEC, own_alarm)]


@pytest.mark.parametrize(
    ("size", "in_use", "code"),
    [
        (GIB, GIB // 2, "database-fragmented"),
        (GIB, 3 * GIB // 4, ""),
        (300 * 1024**2, 150 * 1024**2, ""),
        (7 * GIB // 4, GIB, "database-nearly-full"),
        (3 * GIB // 2, 3 * GIB // 2, "database-in-use-high"),
    ],
)
def test_the_space_of_a_database(healthy: Evidence, size: int, in_use: int, code: str) -> None:
    """The quota of these members is the default of etcd, 2 GiB."""
    seen = with_member(healthy, "infra2", db_size=size, db_in_use=in_use)
    found = [(each.level, each.host, each.code) for each in audit(SPEC, seen)]
    assert found == ([("advice", "infra2", code)] if code else [])


@pytest.mark.parametrize(
    ("days_ago", "grown", "reported"),
    [(6, 40, True), (6, 1, False), (6, -40, False), (0.5, 40, False), (8, 40, False), (1, 40, True)],
)
def test_a_database_that_reaches_its_quota_soon(
    healthy: Evidence, days_ago: float, grown: int, reported: bool
) -> None:
    """By 40 MiB a day, 500 MiB reach 1 GiB in 13.1 days. Sizes of less than a day or more than a week do not count."""
    then = healthy.observed.at - timedelta(days=days_ago)
    earlier = int((500 - grown * days_ago) * 1024**2)
    seen = with_member(healthy, "infra2", db_size=500 * 1024**2, db_in_use=400 * 1024**2)
    seen = with_inspection(seen, "infra2", settings=SAFE_SETTINGS | {"quota-backend-bytes": f"{GIB}"})
    codes = [each.code for each in audit(SPEC, replace(seen, backup_sizes=((then, earlier),)))]
    assert ("database-grows" in codes) == reported


def test_the_growth_of_a_database_is_shown(texts: Texts, healthy: Evidence) -> None:
    sizes = ((healthy.observed.at - timedelta(days=2), 1000 * 1024**2),)
    seen = with_member(healthy, "infra2", db_size=1200 * 1024**2, db_in_use=1200 * 1024**2)
    texts(single_finding(replace(seen, backup_sizes=sizes)))
    full = with_member(seen, "infra2", db_size=1700 * 1024**2)
    assert "database-grows" not in [each.code for each in audit(SPEC, replace(full, backup_sizes=sizes))]
    texts(single_finding(replace(healthy, sizes_unread="s3://backups did not respond within 2 s")))


@pytest.mark.parametrize(
    ("version", "freelist", "defrags", "hours", "again"),
    [
        ("3.6.14", "", 1, 20, True),
        ("3.5.33", "map", 3, 70, True),
        ("3.6.14", "array", 1, 20, False),
        ("3.4.23", "", 1, 20, False),
        ("3.6.14", "", 1, 30, False),
        ("3.6.14", "", 0, 1, False),
    ],
)
def test_a_file_that_grows_again_after_each_defragmentation(
    texts: Texts, healthy: Evidence, version: str, freelist: str, defrags: int, hours: int, again: bool
) -> None:
    seen = with_member(healthy, "infra2", db_size=GIB, db_in_use=GIB // 2, version=parse_version(version))
    settings = SAFE_SETTINGS | ({"backend-bbolt-freelist-type": freelist} if freelist else {})
    seen = with_inspection(seen, "infra2", settings=settings)
    seen = replace(seen, leaders=(LeaderChanges("infra2", 1, hours * 3600, defrags=defrags),))
    (found,) = (each for each in audit(SPEC, seen) if each.code.startswith("database-"))
    assert found.code == ("database-fragmented-again" if again else "database-fragmented")
    texts(found)


def test_a_file_system_that_loses_writes_is_reported(healthy: Evidence) -> None:
    found = single_finding(with_inspection(healthy, "infra1", fast_commits=("/var/lib/etcd",)))
    assert (found.level, found.host, found.code) == ("wrong", "infra1", "file-system-fast-commit")


def test_a_history_without_compactions_is_reported(healthy: Evidence) -> None:
    """The limit is two times the eight hours of `auto_compaction`, and a margin. An idle cluster has no history."""
    busy = with_member(healthy, "infra2", revision=50_000)
    late = tuple(replace(each, compacted_s=18 * 3600.0) for each in healthy.leaders)
    found = single_finding(replace(busy, leaders=late))
    assert (found.level, found.code) == ("wrong", "compaction-missing")
    assert audit(SPEC, replace(healthy, leaders=late)) == ()
    soon = tuple(replace(each, compacted_s=16 * 3600.0) for each in healthy.leaders)
    assert audit(SPEC, replace(busy, leaders=soon)) == ()
    off = spec_of(more="etcd: {auto_compaction: 0}\n")
    assert "compaction-missing" not in [each.code for each in audit(off, replace(busy, leaders=late))]


def test_an_alarm_does_not_claim_a_quorum_that_is_lost(texts: Texts, healthy: Evidence) -> None:
    full = with_member(healthy, "infra1", alarms=("NOSPACE",))
    lost = with_member(with_member(full, "infra2", leader_id=0), "infra3", leader_id=0)
    texts([each.why for case in (full, lost) for each in audit(SPEC, case) if each.code == "alarm-raised"])


def test_the_data_of_a_single_answering_member_is_not_compared(healthy: Evidence) -> None:
    alone = {name: seen for name, seen in healthy.observed.members.items() if name == "infra1"}
    found = audit(SPEC, replace(healthy, observed=replace(healthy.observed, members=alone), hashes=()))
    assert [each.what for each in found if 81 in each.rules] == [
        "The data of the members was not compared: only infra1 answers."
    ]
