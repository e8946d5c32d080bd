"""When an election is on, which is worth waiting for, and when nobody could be elected; and the quorum in words."""

from dataclasses import replace

import pytest

from etcdup.core.members.quorum import describe_quorum, describe_quorum_change, is_electing, starting_members
from etcdup.core.observed.model import MemberSeen, Observed
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import ObservedModel

SPEC = spec_of(3, version=BASE)


def observed_of(members: str, follow: str) -> Observed:
    """`members` as in first_states; the character of each member in `follow` is whom it takes for the leader, 0 for
    nobody."""
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple(members))))
    ids = [0, *(member.member_id for member in next(iter(observed.answering().values())).members)]
    there = {
        name: replace(member, leader_id=ids[int(leader)])
        for (name, member), leader in zip(observed.members.items(), follow, strict=True)
        if isinstance(member, MemberSeen)
    }
    return replace(observed, members={**observed.members, **there})


@pytest.mark.parametrize(
    ("members", "follow", "electing"),
    [
        ("HHH", "111", False),
        ("HHD", "110", False),
        ("HHD", "000", True),
        ("HHD", "030", True),  # one has not noticed yet that infra3 is dead
        ("HHD", "330", False),  # nobody has: what a write through them does is another question
        ("HHH", "110", False),  # a leader leads; infra3 does not hear it
        ("HDD", "000", False),  # one of three elects nobody
    ],
)
def test_an_election_is_on(members: str, follow: str, electing: bool) -> None:
    assert is_electing(observed_of(members, follow)) == electing


@pytest.mark.parametrize(
    ("members", "unit", "names"),
    [
        ("HHD", ("activating", "start"), ("infra3",)),
        ("HHD", ("activating", "start-pre"), ("infra3",)),  # the fence asks the others
        ("HHD", ("activating", "auto-restart"), ()),  # it failed, and may again
        ("HHD", ("failed", "failed"), ()),
        ("HDD", ("activating", "start"), ()),  # without a quorum it starts for ever
    ],
)
def test_a_member_that_others_wait_for(members: str, unit: tuple[str, str], names: tuple[str, ...]) -> None:
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple(members))))
    host = observed.reachable()["infra3"]
    starting = replace(host, unit=replace(host.unit, main_pid=0, active=unit[0], sub=unit[1]))
    assert starting_members(replace(observed, hosts={**observed.hosts, "infra3": starting})) == names


def test_the_quorum_in_words() -> None:
    assert describe_quorum(3, 2) == "3 voters, 2 healthy, quorum 2, can lose 0"
    assert describe_quorum(1, 1) == "1 voter, 1 healthy, quorum 1, can lose 0"
    assert (
        describe_quorum_change((1, 1), (2, 2)) == "1 -> 2 voters, 1 -> 2 healthy, quorum 1 -> 2, can lose 0"
    )
