"""Rolling restarts: followers first, leader last, one at a time (rules 38-40).

A member's files and binary change right before its own restart, never on all hosts ahead of it: a setting that
etcd does not take stops one member, not three at the next power cut, and a crash cannot bring up a new version
on a host that was not its turn.
"""

from collections.abc import Iterable

from etcdup.core.host.drift import restart_reasons, settings_steps, switch_steps
from etcdup.core.observed.model import HostSeen, MemberSeen, Observed
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import RestartMember
from etcdup.core.spec.model import Spec


def restarts_due(spec: Spec, observed: Observed, token: str) -> dict[str, tuple[str, ...]]:
    """Why each running member of cluster.yaml has to be restarted; those without a reason are not in it."""
    due = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and (why := restart_reasons(spec, host, seen, token, observed.pki)):
            due[host.name] = why
    return due


def rolling_restart_steps(
    spec: Spec, observed: Observed, token: str, due: dict[str, tuple[str, ...]], *, one_way: bool = False
) -> list[Step]:
    """Each member's files, binary and restart. `one_way`: after the last of them no member can go back."""
    steps: list[Step] = []
    order = restart_order(due, observed)
    for name in order:
        seen = observed.reachable()[name]
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


def restart_order(names: Iterable[str], observed: Observed) -> list[str]:
    """Members that give no answer come first, for they serve nobody, and the leader last: so leadership moves at
    most once."""
    return sorted(names, key=lambda name: (_rank(name, observed), name))


def _install_steps(spec: Spec, observed: Observed, token: str, seen: HostSeen) -> list[Step]:
    host = spec.host(seen.host)
    return [*settings_steps(spec, host, seen, token, observed.pki), *switch_steps(spec, host, seen)]


def _rank(name: str, observed: Observed) -> int:
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen):
        return 0
    return 2 if seen.leader_id == seen.member_id else 1
