"""judge(spec, observed) -> Verdict: what is wrong with a cluster, for each verb that shows or changes it.

`status`, `health`, `plan`, `apply` and `check` show these causes, each with what follows from it and the command that
helps. First come causes on this machine and in its file, then those that forbid a change of any host, then the hosts,
then their members. What follows from an earlier cause is an effect of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from etcdup.core.etcd.alarms import CORRUPT, NOSPACE
from etcdup.core.members.bootstrap import ClusterPhase, cluster_phase
from etcdup.core.members.exchanged_data import misplaced_members, refuse_exchanged_data
from etcdup.core.members.limits import AUTH, Limit, limits
from etcdup.core.members.quorum import quorum_of
from etcdup.core.members.space import fits_cluster_file
from etcdup.core.members.superseded import (
    refuse_mixed_clusters,
    refuse_superseded,
    refuse_two_clusters,
    superseded_hosts,
    without_superseded,
)
from etcdup.core.observed.model import Observed
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.cause import Cause, causes_of
from etcdup.core.verdict.changed_file import file_causes
from etcdup.core.verdict.formation import formation_causes
from etcdup.core.verdict.member_causes import (
    answer_causes,
    certificate_causes,
    clock_causes,
    host_causes,
)
from etcdup.core.verdict.quorum_state import QuorumState, quorum_state
from etcdup.core.verdict.unreachable import unreachable_causes
from etcdup.core.verdict.work import (
    differing_files,
    lock_causes,
    waiting_causes,
    work_causes,
)

# A member does not answer before it follows a leader, so these follow from a lost quorum (rule 1).
_FOLLOWS_FROM_LOST_QUORUM = ("member-silent", "etcd-starting", "no-leader")
_SAID_BY_QUORUM = ("no-leader",)
_UNASKED = "quorum unknown: etcdup cannot connect to a member. The cluster can still serve other clients"
# With these, etcdup connects to no member, and members can serve other clients. So it does not know the quorum.
_ASKS_NO_MEMBER = (
    "pki-of-other-cluster",
    "pki-outdated",
    "host-unreachable",
    "clock-differs",
    "certificate-not-valid",
)


@dataclass(frozen=True)
class Verdict:
    """The quorum, and the causes in the order in which the operator handles them.

    `explained` are the hosts for which a cause, or an effect of one, says why their members do not answer. `is_fresh`:
    no host has a member yet.
    """

    quorum: QuorumState
    causes: tuple[Cause, ...] = ()
    explained: frozenset[str] = frozenset()
    is_fresh: bool = False

    @property
    def is_known(self) -> bool:
        """Return whether etcdup observed if there is a quorum: it asked members, or it knows that none runs."""
        return not self.quorum.is_unknown and not _is_unasked(self.causes[:1], self.quorum)

    @property
    def wrong(self) -> tuple[Cause, ...]:
        return tuple(each for each in self.causes if each.level == "wrong")


def judge(spec: Spec, observed: Observed, *, with_files: bool = True) -> Verdict:
    """Return the verdict about this observation.

    `with_files` adds files on hosts that differ from cluster.yaml, and settings that wait for a restart. A plan has
    steps for them.
    """
    quorum = quorum_state(spec, observed)
    phase = cluster_phase(spec, observed, "")
    found = [*file_causes(spec, observed), *_conflict_causes(spec, observed)]
    hosts = unreachable_causes(spec, observed, quorum)
    if found:
        found += hosts
    else:
        hosts += _superseded_causes(spec, observed)
        hosts += clock_causes(spec, observed)
        hosts += certificate_causes(spec, observed)
        hosts += _other_data_causes(spec, observed)
        hosts += host_causes(spec, observed, formed=phase.name == "formed")
        hosts += answer_causes(observed)
        limited = [*_limit_causes(spec, observed)]
        found = [*limited, *hosts] if quorum.is_observed else [*hosts, *limited]
        found += _unfinished_causes(spec, observed, phase, with_files=with_files)
    found += [*waiting_causes(observed), *lock_causes(observed)]
    causes = _folded(found, quorum)
    is_fresh = phase.name == "fresh" and _all_seen(spec, observed)
    if phase.name == "formed" or quorum.is_unknown or _is_unasked(causes[:1], quorum):
        causes = _with_quorum(causes, quorum)
    return Verdict(quorum, causes, frozenset(name for each in found for name in each.hosts), is_fresh)


def _all_seen(spec: Spec, observed: Observed) -> bool:
    return all(host.name in observed.reachable() for host in spec.hosts)


def _unfinished_causes(
    spec: Spec, observed: Observed, phase: ClusterPhase, *, with_files: bool
) -> Iterator[Cause]:
    if phase.name != "formed":
        yield from formation_causes(spec, observed, phase) if _all_seen(spec, observed) else ()
        return
    begun = [*work_causes(spec, observed)]
    yield from begun
    # Files and processes differ while a change is not finished.
    if with_files and not begun:
        yield from differing_files(spec, observed, phase.token)


def _conflict_causes(spec: Spec, observed: Observed) -> list[Cause]:
    names = tuple(observed.reachable())
    old = superseded_hosts(spec, observed)
    rest = without_superseded(old, observed)
    if unfinished := causes_of(refuse_unfinished_restore(spec, observed), "restore-unfinished", names):
        return unfinished
    return causes_of(refuse_two_clusters(spec, rest) or refuse_mixed_clusters(rest), "clusters-mixed", names)


def _superseded_causes(spec: Spec, observed: Observed) -> list[Cause]:
    """Return the cause for hosts that `apply` clears: a restore or recovery replaced their cluster."""
    old = superseded_hosts(spec, observed)
    reasons = [reason for reason in refuse_superseded(spec, observed) if reason.host in old]
    danger = (
        "such members can form the old cluster again and accept writes. The startup fence keeps them stopped"
    )
    return [
        replace(cause, by_apply=True, effects=(danger,)) for cause in causes_of(reasons, "host-superseded")
    ]


def _other_data_causes(spec: Spec, observed: Observed) -> list[Cause]:
    """Return the causes for members that run with the data of another host."""
    names = tuple(each.host for each in misplaced_members(spec, observed))
    return causes_of(refuse_exchanged_data(spec, observed), "data-of-other-host", names)


def _limit_causes(spec: Spec, observed: Observed) -> Iterator[Cause]:
    for each in limits(spec, observed):
        yield _access_cause(each) if each.kind == AUTH else _alarm_cause(each, spec, observed)


def _access_cause(limit: Limit) -> Cause:
    effects = ("etcdup cannot change members or take backups",)
    return Cause(
        f"{limit.what}: {limit.why}", limit.hint, effects=effects, rules=(118,), code="access-denied"
    )


def _alarm_cause(limit: Limit, spec: Spec, observed: Observed) -> Cause:
    effects: tuple[str, ...] = ("the cluster refuses writes until the alarm is disarmed",)
    if limit.kind == CORRUPT:
        effects += ("reads continue. Those through a member with wrong data return wrong values",)
    what = f"{limit.what}: {limit.why}"
    disarms = (limit.kind == NOSPACE and fits_cluster_file(spec, observed)) or (
        limit.kind == CORRUPT and bool(observed.repaired)
    )
    return Cause(what, limit.hint, effects=effects, rules=(70, 82), by_apply=disarms, code="alarm-raised")


def _folded(found: Sequence[Cause], quorum: QuorumState) -> tuple[Cause, ...]:
    """Return the causes. One that follows from an earlier one is an effect of that one."""
    kept: list[Cause] = []
    for each in found:
        earlier = next((at for at, cause in enumerate(kept) if _follows(each, cause, quorum)), None)
        if earlier is None:
            kept.append(each)
        elif each.code not in _SAID_BY_QUORUM:
            kept[earlier] = replace(kept[earlier], effects=(*kept[earlier].effects, each.what))
    return tuple(kept)


def _follows(later: Cause, earlier: Cause, quorum: QuorumState) -> bool:
    if later.code in _FOLLOWS_FROM_LOST_QUORUM and earlier.level == "wrong" and not quorum.is_observed:
        return True
    if later.code == "certificate-not-valid":
        return earlier.code == "clock-differs"
    if later.level != "wrong" and later.code != "members-differ-from-file":
        return False
    return bool(later.hosts) and set(later.hosts) <= set(earlier.hosts)


def _is_unasked(first: Sequence[Cause], quorum: QuorumState) -> bool:
    """Return whether the first cause is the reason why etcdup asked no member, and a quorum may run."""
    can_be_one = quorum.may_serve >= quorum_of(quorum.voters)
    return not quorum.answers and can_be_one and any(each.code in _ASKS_NO_MEMBER for each in first)


def _with_quorum(causes: tuple[Cause, ...], quorum: QuorumState) -> tuple[Cause, ...]:
    """Return the causes, with the state of the quorum as the last effect of the first fault."""
    at = next((at for at, each in enumerate(causes) if each.level == "wrong"), None)
    if at is None:
        return causes
    is_any_reached = len(quorum.unseen) < quorum.voters
    said = str(quorum)
    if _is_unasked(causes[at : at + 1], quorum) and not (quorum.is_unknown and is_any_reached):
        said = _UNASKED
    first = replace(causes[at], effects=(*causes[at].effects, said))
    return (*causes[:at], first, *causes[at + 1 :])
