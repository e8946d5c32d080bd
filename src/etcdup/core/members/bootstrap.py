"""The first cluster: its phase, and what must be true before it is formed (rules 1-11)."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from etcdup.core.host.clocks import host_clocks, refuse_clocks
from etcdup.core.host.drift import binaries_steps, preparation_steps, switch_steps
from etcdup.core.host.programs import missing_programs
from etcdup.core.host.requirements import refuse_host, refuse_new_member
from etcdup.core.members.fixed_values import refuse_foreign_marker
from etcdup.core.members.peer_ports import refuse_blocked_ports
from etcdup.core.members.quorum import refuse_unmounted
from etcdup.core.members.superseded import cluster_markers
from etcdup.core.members.unreachable_hosts import connect_hint, unreachable_in_file
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import SealCluster
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

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
    reasons = [*_refuse_unreachable(spec, observed)]
    reasons += refuse_clocks(host_clocks(spec, observed), CLOCK_LIMIT_S)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += _refuse_machine(spec, host, seen, observed)
            reasons += _refuse_other_members(spec, host, seen)
    return (*reasons, *refuse_blocked_ports(spec, observed), *_refuse_several_attempts(spec, observed))


def refuse_join(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> tuple[Refused, ...]:
    """Return every reason against a new member on this host, in a cluster that exists."""
    clocks = {**host_clocks(spec, observed), host.name: seen.clock_ahead_s}
    clock = (each for each in refuse_clocks(clocks, CLOCK_LIMIT_S) if each.host in ("", host.name))
    ports = refuse_blocked_ports(spec, observed, host.name)
    return (*_refuse_machine(spec, host, seen, observed), *clock, *refuse_unmounted(seen), *ports)


def refuse_prepare(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return every reason against writing to this host: no root, another cluster, foreign data (rules 6, 96)."""
    return (*refuse_foreign_marker(spec, host, seen), *refuse_host(spec, host, seen))


def _refuse_machine(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> tuple[Refused, ...]:
    steps = [*preparation_steps(spec, host, seen, ""), *switch_steps(spec, host, seen)]
    if observed.binaries:  # Otherwise it is not known how etcd will be installed.
        steps += binaries_steps(spec, host, seen, observed)
    return (
        *refuse_foreign_marker(spec, host, seen),
        *refuse_new_member(spec, host, seen),
        *missing_programs(steps, seen),
    )


def _refuse_unreachable(spec: Spec, observed: Observed) -> Iterator[Refused]:
    """Yield one reason for all hosts of cluster.yaml, because one command helps, and one for each former host."""
    if gone := unreachable_in_file(observed):
        what = "; ".join(f"{name}: {each.why}" for name, each in gone.items())
        yield Refused(what, hint=connect_hint(spec, observed), host=next(iter(gone)), rules=(6,))
    for name, former in observed.unreachable().items():
        if name in observed.leaving:
            yield _unreachable_former(spec, former)


def _unreachable_former(spec: Spec, gone: Unreachable) -> Refused:
    return Refused(
        f"{gone.host} had a member of this cluster and cannot be reached: {gone.why}",
        hint=f"bring {gone.host} back, because the first cluster may still run there. If the host is permanently lost, "
        f"run `{forget_host_command(spec, gone.host)}`: etcdup forgets it. Then `etcdup restore latest` brings the "
        "data back from a backup; `etcdup apply` forms a new cluster without data",
        host=gone.host,
        rules=(6, 62),
    )


def forget_host_command(spec: Spec, name: str) -> str:
    """Return the command after which a former host that is lost is not observed any more.

    Its certificates show the host. In `former`, they are kept, and can be revoked. A host of this name may have left
    before: then `former/NAME` exists, and mv would move the directory into it, or fail. So the new name has the time.
    """
    folder, own = spec.tls.dir.rstrip("/"), name.partition("@")[0]
    former, member = _shell_path(f"{folder}/former"), _shell_path(f"{folder}/members/{own}")
    return f"mkdir -p {former}; mv {member} {former}/{own}~$(date +%s)"


def _shell_path(path: str) -> str:
    """Return a path as a word of a shell command. The shell replaces `~/` at its start, as etcdup does."""
    home = "~/" if path.startswith("~/") else ""
    return home + shlex.quote(path.removeprefix(home))


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
