"""The state of the quorum: what was not observed is unknown, and is never called lost."""

from itertools import combinations_with_replacement

import pytest

from etcdup.core.members.quorum import quorum_of
from etcdup.core.verdict.quorum_state import QuorumState

# What etcdup can observe of a voter.
VOTERS = ("follows a leader", "has no leader", "is stopped", "is not observed")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_a_quorum_is_lost_only_if_the_voters_that_are_not_observed_cannot_be_one(size: int) -> None:
    for states in combinations_with_replacement(VOTERS, size):
        count = {each: states.count(each) for each in VOTERS}
        following, unseen = count["follows a leader"], count["is not observed"]
        names = tuple(f"infra{number}" for number in range(1, unseen + 1))
        state = QuorumState(size, following, answers=following > 0, unseen=names)
        at_least, at_most = following, following + unseen
        assert state.is_observed == (at_least >= quorum_of(size))
        assert state.is_lost == (at_most < quorum_of(size))
        assert [state.is_observed, state.is_unknown, state.is_lost].count(True) == 1
        assert ("accepts no writes" in str(state)) <= (state.is_lost or state.can_lose == 0)
