"""The predicted effect of each step of a plan on voters, quorum and failure tolerance, as text."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import describe_quorum_change, healthy
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import GiveBackMember, TakeOverMember
from etcdup.core.plan.database_steps import DefragmentOffline
from etcdup.core.plan.member_steps import (
    AddLearner,
    DrainMember,
    FormCluster,
    PromoteMember,
    RemoveMember,
    RestartMember,
    StartMember,
    UpdatePeerUrl,
)
from etcdup.core.plan.step import HostStep, Step

_RESTARTS = (RestartMember, DefragmentOffline, TakeOverMember, GiveBackMember)
_CHANGES_QUORUM = (
    FormCluster,
    AddLearner,
    PromoteMember,
    RemoveMember,
    StartMember,
    *_RESTARTS,
    DrainMember,
    UpdatePeerUrl,
)


@dataclass
class _Forecast:
    """The names of the voters and of the healthy members, after the steps so far."""

    voting: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)

    @property
    def figures(self) -> tuple[int, int]:
        """Return the number of voters and of healthy voters."""
        return len(self.voting), len(self.alive & self.voting)

    def apply(self, step: HostStep) -> None:
        match step:
            case PromoteMember(host=host):
                self.voting.add(host)
                self.alive.add(host)
            case RemoveMember(host=host):
                self.voting.discard(host)
                self.alive.discard(host)
            case DrainMember(host=host):
                self.alive.discard(host)
            case _ if isinstance(step, (StartMember, *_RESTARTS)):
                self.alive.add(step.host)


def with_quorum_effects(steps: Iterable[Step], observed: Observed) -> list[Step]:
    """Return the steps. Each step that can change the quorum has its effect as text."""
    entries = member_list(observed)
    now = _Forecast({name_of(each) for each in entries if not each.is_learner}, set(healthy(observed)))
    return [_with_quorum_effect(step, now) for step in steps]


def _with_quorum_effect(step: Step, now: _Forecast) -> Step:
    if not isinstance(step, _CHANGES_QUORUM) or not isinstance(step, HostStep) or not now.voting:
        return step
    before, during = now.figures, _during_restart(step, now)
    now.apply(step)
    return replace(step, quorum=during or describe_quorum_change(before, now.figures))


def _during_restart(step: HostStep, now: _Forecast) -> str:
    """Return the effect while a healthy member restarts; empty for other steps. After the restart nothing differs."""
    if not isinstance(step, (*_RESTARTS, UpdatePeerUrl)) or step.host not in now.alive:
        return ""
    voting, alive = now.figures
    return f"{describe_quorum_change((voting, alive), (voting, alive - 1))} while it restarts"
