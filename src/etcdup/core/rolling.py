"""The order of restarts: followers first, leader last, one at a time (rules 38-41)."""

from collections.abc import Mapping

from etcdup.core.observed import MemberSeen, Observed
from etcdup.core.quorum import describe_stop, healthy, voters
from etcdup.core.steps import RestartMember, Step


def restarts(reasons: Mapping[str, tuple[str, ...]], observed: Observed) -> list[Step]:
    """One RestartMember for each member that has a reason, in an order that moves leadership at most once."""
    leaving = sorted(reasons, key=lambda name: (_rank(name, observed), name))
    quorum = describe_stop(voters(observed), len(healthy(observed)))
    return [
        RestartMember(host=name, reason="; ".join(reasons[name]), rules=(38, 39), quorum=quorum)
        for name in leaving
    ]


def _rank(name: str, observed: Observed) -> int:
    """Members that give no answer come first (they serve nobody), the leader last."""
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen):
        return 0
    return 2 if seen.leader_id == seen.member_id else 1
