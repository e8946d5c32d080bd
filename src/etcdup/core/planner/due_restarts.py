"""The restarts that are due, and the order of restarts, moves to other addresses and changes of the member list."""

from collections.abc import Iterable
from dataclasses import dataclass

from etcdup.core.certs.connected_clients import drop_order, move_clients_steps
from etcdup.core.members.membership import MembershipChange
from etcdup.core.members.peer_ports import PEER_URLS
from etcdup.core.members.quorum import voter_count
from etcdup.core.members.rolling_restart import restarts_due, rolling_restart_steps
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import AddLearner
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec
from etcdup.core.versions.version_steps import restarts_for_hop


@dataclass(frozen=True)
class DueRestarts:
    """The reasons of the restarts that are due, by host. Each host is in one group."""

    rolling: dict[str, tuple[str, ...]]
    moving: dict[str, tuple[str, ...]]
    moving_late: dict[str, tuple[str, ...]]

    @property
    def hosts(self) -> set[str]:
        return {*self.rolling, *self.moving, *self.moving_late}


def due_restarts(
    spec: Spec, observed: Observed, token: str, change: MembershipChange, *, minor: bool
) -> DueRestarts:
    """Return the restarts. `observed` has the members that the plan starts first."""
    due = restarts_for_hop(spec, observed, token) if minor else restarts_due(spec, observed, token)
    # A member that this plan adds starts with the new settings. A learner that runs already keeps its old settings
    # after its promotion, so it needs a restart.
    added = {step.host for step in change.turns if isinstance(step, AddLearner)}
    due = {name: why for name, why in due.items() if name not in added}
    moving = {name: due.pop(name) for name in _moving_hosts(spec, observed, change, due)}
    moving_late = {step.host: due.pop(step.host) for step in change.late_moves if step.host in due}
    return DueRestarts(due, moving, moving_late)


def turns_and_moves(
    spec: Spec, observed: Observed, token: str, change: MembershipChange, restarts: DueRestarts
) -> list[Step]:
    """Return the steps that change the member list."""
    moves = _move_steps(spec, observed, token, change, restarts.moving)
    # Two voters are a quorum only together, so the restart of one of them waits until there are three, or one.
    moves_last = voter_count(observed) == 2 and bool(change.turns)
    return [
        *([*change.turns, *moves] if moves_last else [*moves, *change.turns]),
        *change.late_moves,
        *rolling_restart_steps(spec, observed, token, restarts.moving_late),
    ]


def rolling_steps(spec: Spec, observed: Observed, token: str, restarts: DueRestarts) -> list[Step]:
    ranks, before = drop_order(spec, observed), move_clients_steps(spec, observed)
    return rolling_restart_steps(spec, observed, token, restarts.rolling, ranks=ranks, before=before)


def _moving_hosts(
    spec: Spec, observed: Observed, change: MembershipChange, due: Iterable[str]
) -> tuple[str, ...]:
    """Return the voters whose process has another peer URL than cluster.yaml."""
    return tuple(
        name
        for name in due
        if name not in change.joining
        and observed.reachable()[name].unit.environment.get(PEER_URLS) != spec.peer_url(spec.host(name))
    )


def _move_steps(
    spec: Spec, observed: Observed, token: str, change: MembershipChange, due: dict[str, tuple[str, ...]]
) -> list[Step]:
    """Return the steps that give members another address: one member after the other, its peer URL and its restart.

    Between these two steps the other members may not reach it. So members that an earlier run left there come first,
    and members that run at the new address already.
    """
    urls = {step.host: step for step in change.moves}
    ranks = {name: int(name in urls) for name in due}
    return [
        *(step for step in change.moves if step.host not in due),
        *rolling_restart_steps(spec, observed, token, due, ranks=ranks, before=urls),
    ]
