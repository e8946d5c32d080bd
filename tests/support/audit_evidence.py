"""Evidence of a healthy cluster for `check`, and functions that change it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from etcdup.core.audit.findings import Disk, Evidence, HostInspection, LeaderChanges, MemberHash
from etcdup.core.certs.inventory import Link, LinkPort
from etcdup.core.observed.member import MemberSeen
from etcdup.core.spec.model import Spec
from etcdup.ops.world.observe import observe
from tests.support.fake_world import bring_up, machines_for, world_of
from tests.support.observation_strategies import GIB

GOOD_DISK = Disk("/var/lib/etcd", "ext4", 100 * GIB, "/dev/sda1", "/")
SAFE_SETTINGS = {
    "cert-file": "/c", "key-file": "/k", "peer-cert-file": "/pc", "peer-key-file": "/pk",
    "trusted-ca-file": "/ca", "peer-trusted-ca-file": "/ca", "client-cert-auth": "true",
    "peer-client-cert-auth": "true", "peer-cert-allowed-cn": "peer",
    "listen-client-urls": "https://192.168.8.66:2379,https://127.0.0.1:2379",
}  # fmt: skip


async def gather_evidence(spec: Spec, folder: Path) -> Evidence:
    """Return the evidence of a healthy cluster that etcdup set up."""
    network = machines_for(spec)
    await bring_up(spec, network, folder)
    observed = await observe(world_of(spec, network, folder))
    names = list(observed.hosts)
    pairs = [(one, other) for one in names for other in names if one != other]
    return Evidence(
        observed,
        inspections={
            name: HostInspection(name, SAFE_SETTINGS, disks=(GOOD_DISK,), synchronised=True) for name in names
        },
        links=tuple(Link(*pair, port=port) for pair in pairs for port in get_args(LinkPort)),
        hashes=tuple(MemberHash(name, 1, 10) for name in names),
        leaders=tuple(LeaderChanges(name, 1, 3600) for name in names),
    )


def with_inspection(evidence: Evidence, name: str, **change: object) -> Evidence:
    """Return the evidence with changes in the inspection of one host."""
    changed = replace(evidence.inspections[name], **change)  # type: ignore[arg-type]
    return replace(evidence, inspections={**evidence.inspections, name: changed})


def with_hosts(evidence: Evidence, **changed: Mapping[str, object]) -> Evidence:
    """Return the evidence with changes in the observation of hosts, for example `infra1={"hostname": "x"}`."""
    seen = evidence.observed.reachable()
    new = {name: replace(seen[name], **change) for name, change in changed.items()}  # type: ignore[arg-type]
    return replace(evidence, observed=replace(evidence.observed, hosts={**evidence.observed.hosts, **new}))


def with_member(evidence: Evidence, name: str, **change: object) -> Evidence:
    """Return the evidence with changes in the status of one member."""
    seen = evidence.observed.members[name]
    assert isinstance(seen, MemberSeen)
    members = {**evidence.observed.members, name: replace(seen, **change)}  # type: ignore[arg-type]
    return replace(evidence, observed=replace(evidence.observed, members=members))
