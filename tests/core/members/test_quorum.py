"""Elections in progress, members that are starting, and the quorum as text."""

from dataclasses import replace

import pytest

from etcdup.core.members.quorum import describe_quorum, describe_quorum_change, is_electing, starting_members
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, STATES, first_states
from tests.support.observed_model import ObservedModel

SPEC = spec_of(3, version=BASE)


def observed_of(members: str) -> Observed:
    """Return the observation of infra1, infra2 and infra3, with these states."""
    kinds = tuple(STATES[word] for word in members.split())
    return ObservedModel(SPEC, SPEC).observed(next(first_states(kinds)))


def with_leaders(observed: Observed, leaders: str) -> Observed:
    """Return the observation with the leader that each member reports: `3` is infra3, `0` is no leader."""
    ids = [0, *(member.member_id for member in next(iter(observed.answering().values())).members)]
    answers = {
        name: replace(member, leader_id=ids[int(leader)])
        for (name, member), leader in zip(observed.members.items(), leaders.split(), strict=True)
        if isinstance(member, MemberSeen)
    }
    return replace(observed, members={**observed.members, **answers})


@pytest.mark.parametrize(
    ("members", "leaders", "electing"),
    [
        ("healthy healthy healthy", "1 1 1", False),
        ("healthy healthy down", "1 1 0", False),
        ("healthy healthy down", "0 0 0", True),
        ("healthy healthy down", "0 3 0", True),  # infra2 still reports the dead infra3
        ("healthy healthy down", "3 3 0", False),  # both still report the dead infra3: no election has begun
        ("healthy healthy healthy", "1 1 0", False),  # infra1 leads, and infra3 has no connection to it
        ("healthy down down", "0 0 0", False),  # one of three cannot elect a leader
    ],
)
def test_an_election_in_progress_is_recognised(members: str, leaders: str, electing: bool) -> None:
    assert is_electing(with_leaders(observed_of(members), leaders)) == electing


@pytest.mark.parametrize(
    ("members", "unit", "names"),
    [
        ("healthy healthy down", ("activating", "start"), ("infra3",)),
        ("healthy healthy down", ("activating", "start-pre"), ("infra3",)),  # the startup fence runs
        ("healthy healthy down", ("activating", "auto-restart"), ()),  # it failed, and can fail again
        ("healthy healthy down", ("failed", "failed"), ()),
        ("healthy down down", ("activating", "start"), ()),  # without a quorum, the start does not end
    ],
)
def test_a_starting_member_is_recognised(members: str, unit: tuple[str, str], names: tuple[str, ...]) -> None:
    observed = observed_of(members)
    host = observed.reachable()["infra3"]
    starting = replace(host, unit=replace(host.unit, main_pid=0, active=unit[0], sub=unit[1]))
    assert starting_members(replace(observed, hosts={**observed.hosts, "infra3": starting})) == names


def test_the_quorum_as_text() -> None:
    assert describe_quorum(3, 2) == "3 voters, 2 healthy, quorum 2, can lose 0"
    assert describe_quorum(1, 1) == "1 voter, 1 healthy, quorum 1, can lose 0"
    assert (
        describe_quorum_change((1, 1), (2, 2)) == "1 -> 2 voters, 1 -> 2 healthy, quorum 1 -> 2, can lose 0"
    )
