"""The first cluster: its phase, and what must be true before it is formed (rules 1-11)."""

from dataclasses import dataclass
from typing import Literal

from etcdup.core.host.clocks import host_clocks, refuse_clocks
from etcdup.core.host.folders import refuse_closed_folders
from etcdup.core.host.path_faults import refuse_links, refuse_mounts
from etcdup.core.host.unit import WRITTEN_BY
from etcdup.core.members.fixed_values import refuse_foreign_marker
from etcdup.core.members.quorum import refuse_unmounted
from etcdup.core.members.superseded import cluster_markers
from etcdup.core.observed.model import HostSeen, Observed, Unreachable
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import SealCluster
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

MIB = 1024**2
# etcd preallocates WAL files of 64 MiB, two of them at the start. The unpacked binaries need about 70 MiB.
DATA_SPACE = 256 * MIB
BINARIES_SPACE = 128 * MIB
# TLS works with a difference of up to an hour, because certificates are backdated (rule 94). Leases and the
# timestamps of logs do not.
CLOCK_LIMIT_S = 30.0


@dataclass(frozen=True)
class ClusterPhase:
    """The phase and the token of the cluster.

    `fresh`: no host has a marker. `forming`: an earlier apply has begun, with `token`. `formed`: the cluster exists.
    """

    name: Literal["fresh", "forming", "formed"]
    token: str


def cluster_phase(spec: Spec, observed: Observed, fresh_token: str) -> ClusterPhase:
    """Return the phase that the markers on the hosts show. `fresh_token` is the token if no host has a marker."""
    markers = cluster_markers(spec, observed).values()
    # Members that answer do not make the cluster formed. If two of three have started, the third is still empty and
    # must be started in the same bootstrap. Only a member of a formed cluster is replaced.
    if formed := [marker.token for marker in markers if marker.formed or marker.replaces]:
        return ClusterPhase("formed", max(sorted(formed), key=formed.count))
    tokens = sorted(marker.token for marker in markers)
    return ClusterPhase("forming" if tokens else "fresh", tokens[0] if tokens else fresh_token)


def refuse_form(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return every reason against forming this cluster now. It is formed with all hosts or not at all (rule 6)."""
    reasons = [_unreachable_host(spec, gone, observed) for gone in observed.unreachable().values()]
    reasons += refuse_clocks(host_clocks(spec, observed), CLOCK_LIMIT_S)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons.extend(_refuse_host(spec, host, seen))
    return (*reasons, *_refuse_several_attempts(spec, observed))


def refuse_join(
    spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed | None = None
) -> tuple[Refused, ...]:
    """Return every reason against a new member on this host, in a cluster that exists.

    With `observed`, the clocks of the other hosts show whether the clock of this machine is the wrong one.
    """
    clocks = {**(host_clocks(spec, observed) if observed else {}), host.name: seen.clock_ahead_s}
    clock = (each for each in refuse_clocks(clocks, CLOCK_LIMIT_S) if each.host in ("", host.name))
    return (*_refuse_machine(spec, host, seen), *clock, *refuse_unmounted(seen))


def refuse_prepare(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return every reason against writing to this host: no root, another cluster, foreign data (rules 6, 96)."""
    return (
        *_refuse_without_root(spec, host, seen),
        *refuse_foreign_marker(spec, host, seen),
        *_refuse_foreign_data(host, seen),
        *_refuse_wal_mount_point(host, seen),
        *refuse_closed_folders(host.name, seen, layout_of(spec, host)),
        *refuse_links(seen),
    )


def _unreachable_host(spec: Spec, gone: Unreachable, observed: Observed) -> Refused:
    if gone.host not in observed.leaving:
        return Refused(f"{gone.host}: {gone.why}", hint=gone.hint, host=gone.host, rules=(6,))
    return Refused(
        f"{gone.host} had a member of this cluster and cannot be reached: {gone.why}",
        hint=f"bring {gone.host} back, because the first cluster may still run there. If the host is permanently lost, "
        f"move {spec.tls.dir}/members/{gone.host.partition('@')[0]} to another directory",
        host=gone.host,
        rules=(6, 62),
    )


def _refuse_host(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    return (*_refuse_machine(spec, host, seen), *_refuse_other_members(spec, host, seen))


def _refuse_machine(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    return (
        *refuse_prepare(spec, host, seen),
        *_refuse_foreign_unit(host, seen),
        *_refuse_foreign_unit_file(spec, host, seen),
        *_refuse_arch(host, seen),
        *_refuse_without_systemd(spec, host, seen),
        *refuse_taken_ports(spec, host, seen),
        *_refuse_without_route(seen),
        *refuse_mounts(seen),
        *_refuse_full_disk(spec, host, seen),
    )


def _refuse_without_root(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.is_root or layout_of(spec, host).supervisor == "process":
        return ()
    user = f" {spec.ssh.user}" if spec.ssh.user else ""
    return (
        Refused(
            f"{host.name}: the SSH user{user} is not root",
            hint="set `sudo: true` below `ssh` in cluster.yaml, or set `user: root` there",
            host=host.name,
        ),
    )


def _refuse_foreign_data(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.marker is not None or seen.data.is_empty:
        return ()
    names = ", ".join((seen.data.entries or ())[:3])
    return (
        Refused(
            f"{host.name}: {seen.data.path} is not empty and was not made by etcdup: it contains {names}",
            hint="move the files to another directory if you do not need them, or set `etcd.data_dir` to another "
            "directory. etcdup never changes them",
            host=host.name,
            rules=(6,),
        ),
    )


def _refuse_wal_mount_point(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.wal is None or not seen.wal.mount or seen.wal.has_wal:
        return ()
    return (
        Refused(
            f"{host.name}: {seen.wal.path} is a mount point, but etcd must be able to rename this directory",
            hint=f"set `etcd.wal_dir` to a directory on that disk, for example {seen.wal.path}/wal",
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
            f"{host.name}: another etcd runs there: {', '.join(running)}",
            hint=f"run `systemctl disable --now {' '.join(running)}` on {host.name} if you do not need it",
            host=host.name,
            rules=(96,),
        ),
    )


def _refuse_foreign_unit_file(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse to replace a unit that etcdup did not write, whether it runs or not."""
    path = layout_of(spec, host).unit
    file = seen.files.get(path)
    if seen.marker is not None or file is None or file.text is None or WRITTEN_BY in file.text:
        return ()
    return (
        Refused(
            f"{host.name}: {path} was not written by etcdup, which needs this name",
            hint=f"run `mv {path} {path}.old && systemctl daemon-reload` on {host.name} if you do not need that unit",
            host=host.name,
            rules=(96,),
        ),
    )


def _refuse_other_members(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse to resume a bootstrap with other members than it began with.

    etcd computes the IDs of the first members from the list of names and peer URLs.
    """
    conf = seen.files.get(layout_of(spec, host).conf)
    begun = f'ETCD_INITIAL_CLUSTER="{spec.initial_cluster()}"'
    if not seen.has_member or conf is None or conf.text is None or begun in conf.text:
        return ()
    return (
        Refused(
            f"{host.name}: an earlier `etcdup apply` began with other members or addresses than cluster.yaml has now",
            hint="restore the previous cluster.yaml, then run `etcdup apply` to complete the bootstrap",
            host=host.name,
            rules=(4, 5, 6),
        ),
    )


def _refuse_arch(host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if seen.arch in ("amd64", "arm64"):
        return ()
    return (
        Refused(
            f"{host.name} has the architecture {seen.arch}. etcdup runs etcd on amd64 and arm64 only",
            host=host.name,
            rules=(98,),
        ),
    )


def _refuse_without_systemd(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    if layout_of(spec, host).supervisor == "process" or seen.systemd:
        return ()
    return (
        Refused(
            f"{host.name} does not run systemd, and etcdup starts etcd as a systemd unit",
            hint="use another host, with systemd",
            host=host.name,
        ),
    )


def refuse_taken_ports(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return a refusal for each port of the member that another program uses, with the program if it is known."""
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
            f"{host.name}: port {taken.port} ({wanted[taken.port]}) is in use"
            + (f" by {taken.program} (pid {taken.pid})" if taken.program else ""),
            hint=f"stop the program that uses the port, or set another `{wanted[taken.port]}_port` in cluster.yaml",
            host=host.name,
            rules=(95,),
        )
        for taken in seen.listening
        if taken.port in wanted
    )


def _refuse_without_route(seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse a member that etcdup could start and then not reach: no health proof would be possible."""
    gone = seen.no_route
    return (Refused(f"{gone.host}: {gone.why}", hint=gone.hint, host=gone.host),) if gone else ()


def _refuse_full_disk(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    short = []
    if not seen.has_member and seen.data.free_bytes < DATA_SPACE:
        short.append((seen.data.path, seen.data.free_bytes, DATA_SPACE))
    if str(spec.version) not in seen.versions and seen.opt_free_bytes < BINARIES_SPACE:
        short.append((layout_of(spec, host).versions, seen.opt_free_bytes, BINARIES_SPACE))
    return tuple(
        Refused(
            f"{host.name}: {path} has {free // MIB} MiB of free space, and etcdup needs {need // MIB} MiB",
            hint=f"free disk space on {host.name}, or use a larger disk, then run `etcdup apply` again",
            host=host.name,
            rules=(77, 93),
        )
        for path, free, need in short
    )


def _refuse_several_attempts(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    tokens = {marker.token: name for name, marker in cluster_markers(spec, observed).items()}
    if len(tokens) < 2:
        return ()
    return (
        Refused(
            f"these hosts have markers of different attempts to form the cluster {spec.name}: "
            + ", ".join(sorted(tokens.values())),
            hint="stop etcd on these hosts and rename /etc/etcd and the data directory there, then run "
            "`etcdup apply` again",
            rules=(4, 6),
        ),
    )


def seal_step(hosts: tuple[str, ...]) -> Step:
    reason = "the cluster is formed, and a wiped host must never form it again"
    return SealCluster(hosts=hosts, reason=reason, rules=(6, 7))
