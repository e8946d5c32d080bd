"""Quorum arithmetic and the guards built on it: each answers why not, or None.

Healthy members are counted, not started ones: etcd itself counts a dead member as started (rules 27, 34).
"""

from etcdup.core.observed import MemberSeen, Observed
from etcdup.core.spec import Spec
from etcdup.core.steps import Refused


def quorum_of(voters: int) -> int:
    """How many voters must live for the cluster to accept writes."""
    return voters // 2 + 1


def voters(observed: Observed) -> int:
    """Voters by the newest member list that was seen; 0 where no member answered."""
    lists = sorted(observed.answering().values(), key=lambda seen: seen.raft_term)
    return sum(not member.is_learner for member in lists[-1].members) if lists else 0


def healthy(observed: Observed) -> dict[str, MemberSeen]:
    """Voting members that answer, follow a leader, report no error, and agree with each other on the cluster."""
    answering = observed.answering()
    clusters = {seen.cluster_id for seen in answering.values()}
    if len(clusters) > 1:
        return {}
    return {
        name: seen
        for name, seen in answering.items()
        if seen.leader_id and not seen.errors and not seen.is_learner
    }


def describe(voting: int, alive: int) -> str:
    """`3 voters, 3 healthy, quorum 2, can lose 1`."""
    spare = max(alive - quorum_of(voting), 0)
    return f"{voting} voters, {alive} healthy, quorum {quorum_of(voting)}, can lose {spare}"


def describe_stop(voting: int, alive: int) -> str:
    """What stopping one healthy member does, while it lasts."""
    return f"{describe(voting, alive)}; {describe(voting, alive - 1)} while it restarts"


def may_start(name: str, spec: Spec, observed: Observed) -> Refused | None:
    """A stopped member may be started when its data is there: starting takes nothing away."""
    host = observed.reachable().get(name)
    if host is None:
        return Refused(f"{name} cannot be reached", host=name)
    if not host.has_member:
        return _lost_data(name, host.data.path)
    if host.marker is None or (host.marker.cluster, host.marker.member) != (spec.name, name):
        return Refused(
            f"the data in {host.data.path} on {name} is not marked as this member's", host=name, rules=(6,)
        )
    return None


def may_restart(name: str, observed: Observed) -> Refused | None:
    """A running member may be restarted when the others keep a quorum without it (rules 34, 38)."""
    host = observed.reachable().get(name)
    if host is None:
        return Refused(f"{name} cannot be reached", host=name)
    if not host.has_member:
        return _lost_data(name, host.data.path)
    voting, alive = voters(observed), healthy(observed)
    if name in alive and voting == 1:
        return None
    left = len(alive) - (name in alive)
    if left < quorum_of(max(voting, 1)) and (alive or voting == 0):
        return Refused(
            f"stopping {name} would lose the quorum: {left} of {voting} members would be healthy, "
            f"{quorum_of(max(voting, 1))} are needed",
            hint="bring the other members back first; `etcdup status` says what is wrong with each",
            host=name,
            rules=(34, 38),
        )
    return may_trust_alarms(observed)


def may_trust_alarms(observed: Observed) -> Refused | None:
    """A CORRUPT alarm stops every change: one member's data differs and it is not known whose (rule 82)."""
    alarms = {alarm for seen in observed.answering().values() for alarm in seen.alarms}
    if any("CORRUPT" in alarm for alarm in alarms):
        return Refused(
            "the cluster has a CORRUPT alarm: the data of one member differs from the others'",
            hint="find the member with `etcdup ctl -- endpoint hashkv`, replace it, then disarm the alarm",
            rules=(82,),
        )
    return None


def _lost_data(name: str, data_dir: str) -> Refused:
    return Refused(
        f"{data_dir} on {name} holds no member, but this cluster was formed with {name} in it",
        hint="if the disk is not mounted, mount it; a member whose data is lost must be replaced, "
        "never started empty under its old ID",
        host=name,
        rules=(32, 89),
    )
