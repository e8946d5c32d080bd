"""The findings of the audit for given evidence; the parser of the inspection, on the output of a Debian 12 machine."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given

from etcdup.core.audit.audit import audit
from etcdup.core.audit.disk import fsync_findings
from etcdup.core.audit.findings import (
    Disk,
    Evidence,
    FileRights,
    HostInspection,
    LeaderChanges,
    MemberHash,
    PortProbe,
    worst_level,
)
from etcdup.core.audit.host import clock_findings, synchronisation_findings
from etcdup.core.audit.inspection import parse_inspection, parse_leaders
from etcdup.core.audit.process_settings import process_settings
from etcdup.core.audit.settings import settings_findings
from etcdup.core.certs.inventory import CertInspection, Link, LinkPort
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.ops.world.observe import observe
from tests.support.audit_evidence import SAFE_SETTINGS, gather_evidence
from tests.support.fake_world import bring_up, machines_for, spec_of, world_of
from tests.support.observation_strategies import GIB, observations
from tests.support.texts import Texts

RECORDED = """\
@arguments
=/opt/etcd/current/etcd
=--auto-tls
=--data-dir=/srv/etcd
@variables
ETCD_NAME=infra1
ETCD_DATA_DIR=/var/lib/etcd
@rights
700 etcd:etcd - /var/lib/etcd
600 etcd:etcd 5f0a /etc/etcd/pki/peer-key.pem
@swap
/dev/sda2
@disks
path /var/lib/etcd
disk ext4 48318382080 /dev/sda1 /
path /srv/log/wal
disk xfs 21474836480 /dev/sdb1 /srv/a log
@fast-commits
@units
etcd-events.service
@network
source infra2 192.168.8.66
port infra2 2379 open
port infra2 2380 124
port infra3 2380 none
synchronised no
missing ip
rtt infra2 0.052
@exposure
→ Overall exposure level for etcd.service: 1.7 OK :-)
@fsyncs
2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000533 s, 4.3 MB/s
@end
"""


def test_the_output_of_a_machine_is_parsed() -> None:
    seen = parse_inspection("infra1", RECORDED)
    assert seen.settings == {"name": "infra1", "data-dir": "/srv/etcd", "auto-tls": ""}, "arguments win"
    assert seen.rights["/var/lib/etcd"] == FileRights("/var/lib/etcd", 0o700, "etcd:etcd")
    assert seen.rights["/etc/etcd/pki/peer-key.pem"].sha256 == "5f0a"
    assert seen.swap
    assert seen.disks == (
        Disk("/var/lib/etcd", "ext4", 45 * GIB, "/dev/sda1", "/"),
        Disk("/srv/log/wal", "xfs", 20 * GIB, "/dev/sdb1", "/srv/a log"),
    )
    assert seen.other_units == ("etcd-events.service",)
    assert seen.sources == {"infra2": "192.168.8.66"}
    assert seen.round_trips_ms == {"infra2": 0.052}
    assert seen.port_probes == (
        PortProbe("infra2", 2379, answered=True),
        PortProbe("infra2", 2380, answered=False),
        PortProbe("infra3", 2380, answered=False, has_tool=False),
    )
    assert seen.synchronised is False
    assert seen.missing_programs == ("ip",)
    assert (
        parse_inspection("infra1", RECORDED.replace("synchronised no", "synchronised yes")).synchronised
        is True
    )
    assert (
        parse_inspection("infra1", RECORDED.replace("synchronised no", "synchronised unknown")).synchronised
        is None
    )
    assert seen.fsyncs_ms == pytest.approx((0.533,))
    assert (seen.exposure, seen.writes_untried) == (1.7, "")
    untimed = RECORDED.replace(
        "2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000533 s, 4.3 MB/s", "untried etcd runs"
    )
    assert (
        parse_inspection("infra1", untimed).fsyncs_ms,
        parse_inspection("infra1", untimed).writes_untried,
    ) == (
        (),
        "etcd runs",
    )
    without_df = parse_inspection("infra1", RECORDED.replace("disk ext4 48318382080 /dev/sda1 /", "disk "))
    assert [disk.path for disk in without_df.disks] == ["/srv/log/wal"]


def test_incomplete_output_is_refused(texts: Texts) -> None:
    with pytest.raises(ValueError) as caught:
        parse_inspection("infra1", RECORDED.removesuffix("@end\n"))
    texts(caught.value)


def test_flags_are_read_in_all_forms() -> None:
    argv = ["etcd", "--client-cert-auth", "-name", "a", "--auto-tls=false"]
    assert process_settings(argv, {"ETCD_NAME": "b"}) == {
        "client-cert-auth": "",
        "name": "a",
        "auto-tls": "false",
    }


def test_a_safe_member_has_no_finding() -> None:
    assert list(settings_findings(HostInspection("infra1", SAFE_SETTINGS))) == []
    assert list(settings_findings(HostInspection("infra1"))) == [], "no etcd runs"


@pytest.mark.parametrize(
    ("change", "cis"),
    [
        ({"cert-file": ""}, "2.1"),
        ({"client-cert-auth": "false"}, "2.2"),
        ({"auto-tls": ""}, "2.3"),
        ({"peer-key-file": ""}, "2.4"),
        ({"peer-client-cert-auth": "false"}, "2.5"),
        ({"peer-auto-tls": "true"}, "2.6"),
        ({"trusted-ca-file": ""}, "2.7"),
        ({"listen-client-urls": "http://127.0.0.1:2379"}, ""),
        ({"unsafe-no-fsync": "true"}, ""),
        ({"strict-reconfig-check": "false"}, ""),
    ],
)
def test_each_weakness_is_named(texts: Texts, change: dict[str, str], cis: str) -> None:
    (found,) = settings_findings(HostInspection("infra1", SAFE_SETTINGS | change))
    assert (found.level, found.cis) == ("wrong", cis)
    texts(found)


def test_modes_of_data_and_keys_are_checked(texts: Texts) -> None:
    rights = {"/d": FileRights("/d", 0o755, "root:root"), "/k": FileRights("/k", 0o644, "etcd:etcd", "aa")}
    found = list(settings_findings(HostInspection("infra1", SAFE_SETTINGS | {"data-dir": "/d"}, rights)))
    assert [each.cis for each in found] == ["1.1.11", "1.1.12", ""]
    texts(found[2])


@pytest.mark.parametrize(
    ("owner", "level"),
    [("etcd:etcd", None), ("root:root", "wrong"), ("root:etcd", "wrong"), ("kube:etcd", "advice")],
)
def test_the_owner_of_the_data_is_checked(owner: str, level: str | None) -> None:
    rights = {"/d": FileRights("/d", 0o700, owner)}
    found = list(settings_findings(HostInspection("infra1", SAFE_SETTINGS | {"data-dir": "/d"}, rights)))
    assert [(each.level, each.cis) for each in found] == ([(level, "1.1.12")] if level else [])


@pytest.mark.parametrize(("seen", "level"), [(True, []), (False, ["advice"]), (None, ["untried"])])
def test_the_synchronisation_of_a_clock_is_checked(seen: bool | None, level: list[str]) -> None:
    found = list(synchronisation_findings("infra1", HostInspection("infra1", synchronised=seen)))
    assert [each.level for each in found] == level


async def test_links_that_were_not_tried_are_reported_with_the_reason(tmp_path: Path) -> None:
    spec = spec_of()
    network = machines_for(spec)
    assert untried(Evidence(await observe(world_of(spec, network, tmp_path)))) == [
        "TLS links between hosts were not tried: no member answers."
    ]
    await bring_up(spec, network, tmp_path)
    observed = await observe(world_of(spec, network, tmp_path))
    names = list(observed.hosts)
    ways = [(one, other) for one in names for other in names if one != other]
    links = tuple(Link(*way, port=port) for way in ways for port in get_args(LinkPort))
    assert untried(Evidence(observed, links=links)) == []
    assert untried(Evidence(observed, links=links[4:])) == [
        "TLS links from infra1 to client ports were not tried: etcdup installed no etcd on these hosts.",
        "TLS links from infra1 to peer ports were not tried: their certificates are not on this machine.",
    ]


def untried(evidence: Evidence) -> list[str]:
    return [each.what for each in audit(spec_of(), evidence) if each.level == "untried"]


def silent_cluster() -> Evidence:
    """Return the evidence of a cluster that does not answer at all."""
    names = ("infra1", "infra2", "infra3")
    return Evidence(
        Observed(
            at=datetime(2026, 11, 25, tzinfo=UTC),
            hosts={name: Unreachable(name, "no route to host") for name in names},
            members={name: MemberSilent("no answer") for name in names},
            pki=PkiSeen("managed"),
        )
    )


def test_a_cluster_that_does_not_answer_gives_findings() -> None:
    found = audit(spec_of(), silent_cluster())
    assert worst_level(found) == "wrong"
    assert [each.what for each in found if each.code == "host-unreachable"] == [
        "infra1, infra2, infra3 cannot be reached: no route to host."
    ]


def test_only_members_with_the_same_compaction_are_compared(texts: Texts) -> None:
    same = (MemberHash("infra1", 1, 10), MemberHash("infra2", 2, 10), MemberHash("infra3", 2, 10))
    found = audit(spec_of(), replace(silent_cluster(), hashes=same))
    texts([each for each in found if each.code == "data-differs"])
    different = (MemberHash("infra1", 1, 10), MemberHash("infra2", 2, 11))
    found = audit(spec_of(), replace(silent_cluster(), hashes=different))
    assert "data-differs" not in {each.code for each in found}


def test_a_slow_network_is_reported_with_fitting_timeouts(texts: Texts) -> None:
    inspections = {"infra1": HostInspection("infra1", round_trips_ms={"infra2": 181.0})}
    (found,) = [
        each
        for each in audit(spec_of(), replace(silent_cluster(), inspections=inspections))
        if 87 in each.rules
    ]
    texts(found)


@pytest.mark.parametrize(("milliseconds", "level"), [(5.0, None), (12.0, "advice"), (40.0, "wrong")])
def test_a_slow_disk(milliseconds: float, level: str | None) -> None:
    found = list(
        fsync_findings("infra1", HostInspection("infra1", fsyncs_ms=(*[0.5] * 97, *[milliseconds] * 3)))
    )
    assert [each.level for each in found] == ([level] if level else [])


@given(observed=observations(spec_of()))
def test_each_observation_gives_findings_with_a_fix(observed: Observed) -> None:
    evidence = Evidence(
        observed, {name: HostInspection(name, SAFE_SETTINGS) for name in observed.reachable()}
    )
    assert [each for each in audit(spec_of(), evidence) if not (each.what and each.fix)] == []


@pytest.mark.parametrize(
    ("ahead", "who"),
    [((0, 0, 0), []), ((0, 50, 0), ["infra2"]), ((50, 50, 50), [""]), ((-9, 50, 0), ["infra1", "infra2"])],
)
async def test_the_wrong_clock_is_named(ahead: tuple[int, ...], who: list[str], tmp_path: Path) -> None:
    """If all hosts agree, the clock of the operator's machine is wrong."""
    spec = spec_of()
    seen = await observe(world_of(spec, machines_for(spec), tmp_path))
    by = dict(zip(seen.hosts, ahead, strict=True))
    hosts = {name: replace(host, clock_ahead_s=by[name]) for name, host in seen.reachable().items()}
    assert [each.host for each in clock_findings(replace(seen, hosts=hosts))] == who


COMPACTION = "etcd_debugging_mvcc_db_compaction_last"
METRICS = """\
# HELP etcd_server_leader_changes_seen_total The number of leader changes seen.
# TYPE etcd_server_leader_changes_seen_total counter
etcd_server_leader_changes_seen_total 6
process_start_time_seconds 1.76406e+09
"""


def test_many_leader_changes_are_reported() -> None:
    seen = parse_leaders("infra1", METRICS, now=1_764_060_000 + 7200)
    assert seen == LeaderChanges("infra1", 6, 7200)
    late = parse_leaders("infra1", f"{METRICS}{COMPACTION} 1.764061e+09\n", now=1_764_062_000)
    assert late.compacted_s == 1000
    never = parse_leaders("infra1", f"{METRICS}{COMPACTION} 0\n", now=1_764_060_000 + 60)
    assert never.compacted_s == 60
    assert parse_leaders("infra1", f"{METRICS}{COMPACTION} NaN\n", now=0).compacted_s is None
    count = "etcd_disk_backend_defrag_duration_seconds_count 2\n"
    assert parse_leaders("infra1", METRICS + count, now=0).defrags == 2
    without_metrics = parse_leaders("infra1", "404 page not found", now=0)
    assert without_metrics == LeaderChanges("infra1", why="its metrics do not contain it")
    assert leader_findings(seen) == ["The leader changed 6 times in the 2.0 hours since infra1 started."]
    assert leader_findings(replace(seen, seconds=86_400)) == []
    assert leader_findings(replace(seen, changes=3, seconds=60)) == []


def leader_findings(seen: LeaderChanges) -> list[str]:
    found = audit(spec_of(), replace(silent_cluster(), leaders=(seen,)))
    return [each.what for each in found if "leader changed" in each.what]


async def test_a_question_that_etcdup_cannot_ask_is_untried_and_has_its_cure(tmp_path: Path) -> None:
    evidence = await gather_evidence(spec_of(), tmp_path)
    cure = "set `AllowTcpForwarding yes` in sshd_config on infra1"
    link = Link("infra1", "infra2", "sshd on infra1 forbids forwarding", "peer", cure)
    served = CertInspection("server/infra1", "served", "infra1", 2379, None, "sshd forbids it", cure)
    found = audit(spec_of(), replace(evidence, links=(*evidence.links, link), cert_inspections=(served,)))
    about = [each for each in found if "AllowTcpForwarding" in each.fix]
    assert {(each.level, each.code) for each in about} == {
        ("untried", "links-not-tried"),
        ("untried", "port-not-tried"),
    }
