"""The first cluster: in which phase the world is, and what must be true before it is formed (rules 1-11)."""

from dataclasses import dataclass
from typing import Literal

from etcdup.core.members.quorum import refuse_unmounted
from etcdup.core.observed.model import HostSeen, Observed, Unreachable
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import (
    SealCluster,
)
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

MIB = 1024**2
# etcd preallocates 64 MiB WAL segments, two at the start; the binaries take about 70 MiB unpacked.
DATA_SPACE = 256 * MIB
BINARIES_SPACE = 128 * MIB
# TLS survives an hour (certificates are backdated, rule 94); leases, logs and humans do not.
CLOCK_LIMIT_S = 30.0


@dataclass(frozen=True)
class ClusterPhase:
    """`fresh`: nothing is there. `forming`: an earlier apply began with `token`. `formed`: the cluster exists."""

    name: Literal["fresh", "forming", "formed"]
    token: str


def cluster_phase(spec: Spec, observed: Observed, fresh_token: str) -> ClusterPhase:
    """What the hosts' marks and the members' answers say; `fresh_token` is used where nothing has begun."""
    marks = [
        seen.marker
        for seen in observed.reachable().values()
        if seen.marker is not None and seen.marker.cluster == spec.name
    ]
    # Answering members alone do not make it formed: with two of three started, the third, still empty, has
    # yet to be started as part of the same bootstrap. Only members of a cluster that exists are replaced.
    if formed := [mark.token for mark in marks if mark.formed or mark.replaces]:
        return ClusterPhase("formed", max(sorted(formed), key=formed.count))
    tokens = sorted(mark.token for mark in marks)
    return ClusterPhase("forming" if marks else "fresh", tokens[0] if tokens else fresh_token)


def refuse_form(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Every reason against forming this cluster now. All hosts are needed: it is all or nothing (rule 6)."""
    reasons = [_unreachable_host(spec, gone, observed) for gone in observed.unreachable().values()]
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons.extend(_refuse_host(spec, host, seen))
    return (*reasons, *_refuse_several_attempts(spec, observed))


def refuse_join(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Every reason against a new member on this host, in a cluster that exists."""
    return (*_refuse_machine(spec, host, seen), *refuse_unmounted(seen))


def refuse_prepare(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Reasons against writing anything to this host: what is there belongs to somebody else (rules 6, 96)."""
    return (
        *_refuse_without_root(spec, host, seen),
        *_refuse_foreign_marker(spec, host, seen),
        *_refuse_foreign_data(host, seen),
        *_refuse_wal_mount_point(host, seen),
    )


def _unreachable_host(spec: Spec, gone: Unreachable, observed: Observed) -> Refused:
    if gone.host not in observed.leaving:
        return Refused(f"{gone.host}: {gone.why}", hint=gone.hint, host=gone.host, rules=(6,))
    return Refused(
        f"{gone.host} had a member of this cluster and cannot be reached: {gone.why}",
        hint="a second cluster is not formed while the first may still run; if it is gone for good, move "
        f"{spec.tls.dir}/members/{gone.host.partition('@')[0]} away",
        host=gone.host,
        rules=(6, 62),
    )


def _refuse_host(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    return (*_refuse_machine(spec, host, seen), *_refuse_other_members(spec, host, seen))


def _refuse_machine(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    return (
        *refuse_prepare(spec, host, seen),
        *_refuse_foreign_unit(host, seen),
        *_refuse_arch(host, seen),
        *_refuse_without_systemd(spec, host, seen),
        *_refuse_clock(host, seen),
        *refuse_taken_ports(spec, host, seen),
        *_refuse_full_disk(spec, host, seen),
    )


def _refuse_without_root(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.is_root or layout_of(spec, host).supervisor == "process":
        return ()
    user = f" {spec.ssh.user}" if spec.ssh.user else ""
    return (
        Refused(
            f"the user{user} on {host.name} is not root",
            hint="set `sudo: true` below `ssh` in cluster.yaml, or log in as root",
            host=host.name,
        ),
    )


def _refuse_foreign_marker(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    mark = seen.marker
    if mark is None or (mark.cluster, mark.member) == (spec.name, host.name):
        return ()
    return (
        Refused(
            f"{host.name} already belongs to cluster {mark.cluster}, as its member {mark.member}",
            hint=f"take another host, or `etcdup destroy` cluster {mark.cluster} first",
            host=host.name,
            rules=(6,),
        ),
    )


def _refuse_foreign_data(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.marker is not None or seen.data.is_empty:
        return ()
    names = ", ".join((seen.data.entries or ())[:3])
    return (
        Refused(
            f"{seen.data.path} on {host.name} is not empty and was not made by etcdup: it holds {names}",
            hint="move it away if it is not needed, or set `etcd.data_dir` to another folder; etcdup never touches it",
            host=host.name,
            rules=(6,),
        ),
    )


def _refuse_wal_mount_point(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.wal is None or not seen.wal.mount or seen.wal.has_wal:
        return ()
    return (
        Refused(
            f"{seen.wal.path} on {host.name} is a mount point, and etcd must be able to rename that folder",
            hint=f"name a folder on that disk in `etcd.wal_dir`, like {seen.wal.path}/wal",
            host=host.name,
        ),
    )


def _refuse_foreign_unit(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    running = [*seen.other_units]
    if seen.marker is None and seen.unit.is_running:
        running.append("etcd.service")
    if not running:
        return ()
    return (
        Refused(
            f"another etcd runs on {host.name} already: {', '.join(running)}",
            hint="stop and disable it if it is not needed: `systemctl disable --now "
            + " ".join(running)
            + "`",
            host=host.name,
            rules=(96,),
        ),
    )


def _refuse_other_members(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """A bootstrap that was cut short goes on only with the members it began with: their IDs come from that list."""
    conf = seen.files.get(layout_of(spec, host).conf)
    begun = f'ETCD_INITIAL_CLUSTER="{spec.initial_cluster()}"'
    if not seen.has_member or conf is None or conf.text is None or begun in conf.text:
        return ()
    return (
        Refused(
            f"{host.name} began to form this cluster with other members or addresses than cluster.yaml now names",
            hint="bring cluster.yaml back, or `etcdup destroy` (it moves the data aside) and apply again",
            host=host.name,
            rules=(4, 5, 6),
        ),
    )


def _refuse_arch(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.arch in ("amd64", "arm64"):
        return ()
    return (
        Refused(
            f"{host.name} is a {seen.arch} machine; etcd is supported on amd64 and arm64",
            host=host.name,
            rules=(98,),
        ),
    )


def _refuse_without_systemd(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if layout_of(spec, host).supervisor == "process" or seen.systemd:
        return ()
    return (
        Refused(
            f"{host.name} does not run systemd", hint="etcdup starts etcd as a systemd unit", host=host.name
        ),
    )


def _refuse_clock(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if abs(seen.clock_ahead_s) <= CLOCK_LIMIT_S:
        return ()
    where = "ahead of" if seen.clock_ahead_s > 0 else "behind"
    return (
        Refused(
            f"the clock of {host.name} is {abs(seen.clock_ahead_s):.0f} s {where} this machine's",
            hint="set up time synchronisation (chrony or systemd-timesyncd) on both; `timedatectl` shows its state",
            host=host.name,
            rules=(94,),
        ),
    )


def refuse_taken_ports(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """A member's ports that somebody else listens on, and who that is, where the host tells."""
    if seen.unit.is_running and seen.marker is not None:
        return ()
    wanted = {
        spec.client_port(host): "client",
        spec.peer_port(host): "peer",
        spec.metrics_port(host): "metrics",
    }
    if host.root:
        return ()
    return tuple(
        Refused(
            f"port {taken.port} ({wanted[taken.port]}) on {host.name} is taken"
            + (f" by {taken.program} (pid {taken.pid})" if taken.program else ""),
            hint=f"stop what listens there, or set another {wanted[taken.port]}_port in cluster.yaml",
            host=host.name,
            rules=(95,),
        )
        for taken in seen.listening
        if taken.port in wanted
    )


def _refuse_full_disk(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    short = []
    if not seen.has_member and seen.data.free_bytes < DATA_SPACE:
        short.append((seen.data.path, seen.data.free_bytes, DATA_SPACE))
    if str(spec.version) not in seen.versions and seen.opt_free_bytes < BINARIES_SPACE:
        short.append((layout_of(spec, host).versions, seen.opt_free_bytes, BINARIES_SPACE))
    return tuple(
        Refused(
            f"no space on {host.name}: {path} has {free // MIB} MiB free, {need // MIB} MiB are needed",
            hint="free some space or give the folder a larger disk",
            host=host.name,
            rules=(77, 93),
        )
        for path, free, need in short
    )


def _refuse_several_attempts(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    tokens = {
        seen.marker.token: seen.host
        for seen in observed.reachable().values()
        if seen.marker is not None and seen.marker.cluster == spec.name
    }
    if len(tokens) < 2:
        return ()
    return (
        Refused(
            f"hosts were prepared by different attempts to form cluster {spec.name}: "
            + ", ".join(sorted(tokens.values())),
            hint="`etcdup destroy` moves the leftovers aside; then apply again",
            rules=(4, 6),
        ),
    )


def seal_step(hosts: tuple[str, ...]) -> Step:
    return SealCluster(
        hosts=hosts, reason="the cluster exists: a wiped host must never form it again", rules=(6, 7)
    )
