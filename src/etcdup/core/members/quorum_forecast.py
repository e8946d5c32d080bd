"""What each step of a plan does to voters, quorum and tolerance: predicted step by step, for people to read."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import describe_quorum_change, healthy
from etcdup.core.observed.model import Observed
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.steps import (
    AddLearner,
    FormCluster,
    PromoteMember,
    RemoveMember,
    RestartMember,
    StartMember,
    UpdatePeerUrl,
)

_CHANGES_QUORUM = (
    FormCluster,
    AddLearner,
    PromoteMember,
    RemoveMember,
    StartMember,
    RestartMember,
    UpdatePeerUrl,
)


@dataclass
class _Forecast:
    """Who has a vote and who is healthy, by name, after the steps so far."""

    voting: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)

    @property
    def figures(self) -> tuple[int, int]:
        """Voters, and how many of them are healthy."""
        return len(self.voting), len(self.alive & self.voting)

    def apply(self, step: HostStep) -> None:
        match step:
            case PromoteMember(host=host):
                self.voting.add(host)
                self.alive.add(host)
            case RemoveMember(host=host):
                self.voting.discard(host)
                self.alive.discard(host)
            case StartMember(host=host) | RestartMember(host=host):
                self.alive.add(host)


def with_quorum_effects(steps: Iterable[Step], observed: Observed) -> list[Step]:
    """The steps, each that matters to the quorum with what it does to it."""
    entries = member_list(observed)
    now = _Forecast({name_of(each) for each in entries if not each.is_learner}, set(healthy(observed)))
    return [_with_quorum_effect(step, now) for step in steps]


def _with_quorum_effect(step: Step, now: _Forecast) -> Step:
    if not isinstance(step, _CHANGES_QUORUM) or not isinstance(step, HostStep) or not now.voting:
        return step
    before, meanwhile = now.figures, _meanwhile(step, now)
    now.apply(step)
    return replace(step, quorum=meanwhile or describe_quorum_change(before, now.figures))


def _meanwhile(step: HostStep, now: _Forecast) -> str:
    """A healthy member that is restarted is away for a moment, and nothing is different afterwards."""
    if not isinstance(step, RestartMember | UpdatePeerUrl) or step.host not in now.alive:
        return ""
    voting, alive = now.figures
    return f"{describe_quorum_change((voting, alive), (voting, alive - 1))} while it restarts"
