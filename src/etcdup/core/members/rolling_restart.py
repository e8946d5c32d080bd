"""Rolling restarts: followers first, leader last, one at a time (rules 38-40).

The files and the binary of a member change directly before its own restart, not on all hosts in advance. So a setting
that etcd rejects stops one member, not all members at the next power failure. And a crash cannot start a new version on
a host whose restart is not due yet.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from etcdup.core.host.drift import restart_reasons, settings_steps, switch_steps
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec

NO_RANKS: Mapping[str, int] = MappingProxyType({})


def restarts_due(spec: Spec, observed: Observed, token: str) -> dict[str, tuple[str, ...]]:
    """Return the reasons for a restart by member of cluster.yaml. Members without a reason are left out."""
    due = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and (why := restart_reasons(spec, host, seen, token, observed.pki)):
            due[host.name] = why
    return due


def rolling_restart_steps(
    spec: Spec,
    observed: Observed,
    token: str,
    due: dict[str, tuple[str, ...]],
    *,
    one_way: bool = False,
    ranks: Mapping[str, int] = NO_RANKS,
    before: Mapping[str, Step] = MappingProxyType({}),
) -> list[Step]:
    """Return the steps for files, binary and restart of each member.

    `one_way`: after the restart of the last member, no member can go back to the old version. `ranks` orders the
    followers. `before` has the step that comes before the files of a member.
    """
    steps: list[Step] = []
    order = restart_order(due, observed, ranks)
    for name in order:
        seen = observed.reachable()[name]
        steps += [before[name]] if name in before else []
        steps += _install_steps(spec, observed, token, seen)
        steps.append(
            RestartMember(
                host=name,
                version=str(spec.version),
                no_way_back=one_way and name == order[-1],
                reason="; ".join(due[name]),
                rules=(38, 39, 46) if one_way else (38, 39),
            )
        )
    return steps


def restart_order(names: Iterable[str], observed: Observed, ranks: Mapping[str, int] = NO_RANKS) -> list[str]:
    """Return the order of restarts: members that do not answer first, the leader last.

    So the leadership moves at most once. `ranks` orders the members in between. A member with unproved files is before
    all others.
    """
    hosts = observed.reachable()
    return sorted(
        names,
        key=lambda name: (not hosts[name].is_unproved, _rank(name, observed), ranks.get(name, 0), name),
    )


def _install_steps(spec: Spec, observed: Observed, token: str, seen: HostSeen) -> list[Step]:
    host = spec.host(seen.host)
    settings = settings_steps(spec, host, seen, token, observed.pki, proof="restart")
    return [*settings, *switch_steps(spec, host, seen)]


def _rank(name: str, observed: Observed) -> int:
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen):
        return 0
    return 2 if seen.leader_id == seen.member_id else 1
