"""The quorum, as each verb describes it."""

from dataclasses import dataclass

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.cause import all_named


@dataclass(frozen=True)
class QuorumState:
    """How many voters there are, and how many follow a leader. `answers`: at least one member responds.

    `unseen` are the voters whose hosts cannot be reached and that do not respond: they may be down, or follow a leader
    (rule 62). `leaderless` are the voters that respond and report no leader. `may_serve` is the number of voters that
    do not respond and may serve other clients: their etcd runs, or their hosts cannot be reached.
    """

    voters: int
    following: int
    answers: bool
    unseen: tuple[str, ...] = ()
    leaderless: tuple[str, ...] = ()
    may_serve: int = 0

    @property
    def can_lose(self) -> int:
        """Return how many more voters can fail before the quorum is lost. Below 0, no quorum is observed."""
        return self.following - quorum_of(self.voters)

    @property
    def is_observed(self) -> bool:
        """Return whether a quorum was observed."""
        return self.can_lose >= 0

    @property
    def is_unknown(self) -> bool:
        """Return whether voters that cannot be observed can be a quorum, alone or with those that follow a leader."""
        return not self.is_observed and self.can_lose + len(self.unseen) >= 0

    @property
    def is_lost(self) -> bool:
        return not self.is_observed and not self.is_unknown

    @property
    def followers(self) -> str:
        verb = "follows" if self.following == 1 else "follow"
        voters = "voter" if self.voters == 1 else "voters"
        return f"{self.following} of {self.voters} {voters} {verb} a leader"

    def __str__(self) -> str:
        if self.is_unknown:
            return self._unknown
        if not self.answers:
            return "no member responds"
        if self.is_lost:
            return f"no quorum: {self.followers}, {quorum_of(self.voters)} are needed. The cluster accepts no writes"
        if self.can_lose == 0:
            return f"{self.followers}. If one more fails, the cluster accepts no writes"
        return f"{self.followers}: the cluster has a quorum"

    @property
    def _unknown(self) -> str:
        gone = all_named(self.unseen)
        facts = [f"{gone} cannot be reached"]
        if self.leaderless:
            facts.insert(0, f"{all_named(self.leaderless)} {_have(self.leaderless)} no leader")
        if self.following:
            facts.insert(0, self.followers)
        together = " together with the voters that follow a leader" if self.following else ""
        return (
            f"quorum unknown: {', '.join(facts)}. {gone} can still be a quorum{together}, and then the cluster accepts "
            "writes"
        )


def _have(names: tuple[str, ...]) -> str:
    return "has" if len(names) == 1 else "have"


def quorum_state(spec: Spec, observed: Observed) -> QuorumState:
    """Return the state of the quorum. If no member reports a list, the voters are those of cluster.yaml."""
    voting = {name_of(each) for each in member_list(observed) if not each.is_learner}
    names = sorted(voting or {host.name for host in spec.hosts})
    answering, reached = observed.answering(), observed.reachable()
    silent = [name for name in names if name not in answering]
    return QuorumState(
        voters=voter_count(observed) or spec.size,
        following=len(healthy(observed)),
        answers=bool(answering),
        unseen=tuple(name for name in silent if name not in reached),
        leaderless=tuple(name for name in names if name in answering and not answering[name].leader_id),
        may_serve=sum(name not in reached or reached[name].unit.is_running for name in silent),
    )
