"""Defragmentation: which members are due, in which order, and what forbids it (rules 73 to 75)."""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from etcdup.core.backups.backups import defragmenting
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.member_list import member_list, member_list_differences
from etcdup.core.members.quorum import healthy, refuse_corrupt_alarm, unhealthy, voter_count
from etcdup.core.members.space import LITTLE_FREE, is_fragmented, quota_of, reclaimable
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DefragmentMember, DefragmentOffline
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.restore.unfinished import refuse_closed_restore
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import Version

MIB = 1024**2
# Members differ by a few entries all the time. A member that is further behind is not in sync.
LAG_LIMIT = 1000
# A defragmentation writes the used pages to a new file. The rest is for the log and for writes meanwhile.
DISK_SHARE = 1.2
# Before these versions, a kill during a defragmentation can leave a member with another revision (etcd#14733).
_FIRST_SAFE: Mapping[tuple[int, int], Version] = MappingProxyType(
    {(3, 4): Version(3, 4, 18), (3, 5): Version(3, 5, 6)}
)


def members_due(spec: Spec, observed: Observed, over: int) -> tuple[str, ...]:
    """Return the members whose defragmentation frees much: more than `over` bytes, or space near the quota."""
    return tuple(
        name
        for name, seen in sorted(healthy(observed).items())
        if is_fragmented(seen, quota_of(spec, observed, name), over)
    )


def plan_defrag(
    spec: Spec, observed: Observed, names: Collection[str], *, every: bool = False
) -> Plan | Refusal:
    """Return the defragmentations that are left, or the reasons against them. The leader is last.

    Members that would free less than LITTLE_FREE are left out, unless `every`.
    """
    members = healthy(observed)
    due = [name for name in names if name in members and (every or reclaimable(members[name]) >= LITTLE_FREE)]
    steps = tuple(
        defrag_step(name, members[name], reclaimable(members[name])) for name in defrag_order(observed, due)
    )
    if reasons := refuse_any_defrag(spec, observed) or tuple(
        reason for step in steps for reason in reasons_of_member(step.host, observed)
    ):
        return Refusal(spec.name, reasons)
    return Plan(spec.name, steps, tuple(defrag_notes(observed)) if steps else ())


def refuse_defrag(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the defragmentation of one member if the cluster does well without it for minutes, and nothing disturbs."""
    return refuse_any_defrag(spec, observed) or tuple(reasons_of_member(name, observed))


def refuse_any_defrag(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return the reasons against the defragmentation of any member."""
    return (
        refuse_without_access(spec, observed)
        or refuse_corrupt_alarm(observed)
        or refuse_closed_restore(spec, observed)
        or tuple(_reasons_of_cluster(spec, observed))
    )


def _reasons_of_cluster(spec: Spec, observed: Observed) -> Iterator[Refused]:
    if not observed.answering():
        yield Refused("no member answers", hint="run `etcdup status` to see why")
        return
    busy = defragmenting(observed)
    # A member that is being defragmented does not answer.
    if weak := [name for name in unhealthy(observed) if name not in busy]:
        yield Refused(
            f"{', '.join(weak)} {'is' if len(weak) == 1 else 'are'} not healthy. Clients of a member that is being "
            "defragmented need the other members",
            hint="run `etcdup status` to see why, and run `etcdup apply` to repair it",
            host=weak[0],
            rules=(75,),
        )
    for name, lag in _lagging(observed).items():
        yield Refused(
            f"{name} is {lag} entries behind the leader",
            hint="wait until the member is in sync, then run the same command again",
            host=name,
            rules=(75,),
        )
    if busy:
        yield Refused(
            f"{', '.join(busy)} is already being defragmented",
            hint="wait until it has ended, then run the same command again. The member continues it without the "
            "program that requested it",
            host=busy[0],
            rules=(74, 75),
        )
    for name, each in sorted(observed.activity.items()):
        if each.sends_snapshot:
            yield Refused(
                f"{name} sends its database to a member that is far behind",
                hint="wait until `etcdup status` shows that all members are in sync, then run the same command again",
                host=name,
                rules=(75,),
            )
    yield from _unfinished_changes(spec, observed)


def _unfinished_changes(spec: Spec, observed: Observed) -> Iterator[Refused]:
    apply = "run `etcdup apply` first, which finishes it"
    versions = sorted({seen.version.series for seen in observed.answering().values()})
    if len(versions) > 1:
        shown = " and ".join(f"{major}.{minor}" for major, minor in versions)
        yield Refused(f"members run two minor versions, {shown}", hint=apply, rules=(75,))
    if any(seen.downgrade_to for seen in observed.answering().values()):
        yield Refused("a downgrade is enabled", hint=apply, rules=(75,))
    if any(member.is_learner for member in member_list(observed)) or member_list_differences(spec, observed):
        yield Refused("a change of the members is not finished", hint=apply, rules=(75,))


def reasons_of_member(name: str, observed: Observed) -> Iterator[Refused]:
    """Yield the reasons against the defragmentation of this member, in addition to those of `refuse_any_defrag`."""
    host, seen = observed.reachable().get(name), healthy(observed).get(name)
    if host is None or seen is None:
        why = "is not reachable" if host is None else "is not healthy"
        hint = f"run `etcdup status` to see the state of {name}"
        yield Refused(f"{name} {why}", hint=hint, host=name, rules=(62, 75))
        return
    if name not in observed.activity:
        yield Refused(
            f"{name}: its metrics cannot be read, so it is not known whether another program reads a snapshot",
            hint=f"run `etcdup check`, which reports why. If etcdup did not set up {name}, first set "
            "`listen-metrics-urls` of its etcd to `http://127.0.0.1:2381`",
            host=name,
            rules=(75, 85),
        )
    needed = int(seen.db_in_use * DISK_SHARE)
    if host.data.free_bytes < needed:
        yield Refused(
            f"{name}: {host.data.path} has {show_size(host.data.free_bytes)} of free space, and the new file needs "
            f"{show_size(needed)}",
            hint=f"free disk space on {name}, then run the same command again",
            host=name,
            rules=(77,),
        )
    first = _FIRST_SAFE.get(seen.version.series)
    if first is not None and seen.version < first:
        yield Refused(
            f"{name} runs etcd {seen.version}, whose data can become inconsistent if it stops during a defragmentation",
            hint=f"set `version` in cluster.yaml to {first} or later, then run `etcdup apply`",
            host=name,
            rules=(75,),
        )


def _lagging(observed: Observed) -> dict[str, int]:
    members = healthy(observed)
    newest = max((seen.raft_index for seen in members.values()), default=0)
    lags = {name: newest - seen.applied_index for name, seen in members.items()}
    return {name: lag for name, lag in lags.items() if lag > LAG_LIMIT}


def _is_leader(seen: MemberSeen) -> bool:
    return seen.leader_id == seen.member_id


def defrag_order(observed: Observed, names: Collection[str]) -> list[str]:
    """Return the members, those that free most first. The leader is last."""
    seen = observed.answering()
    return sorted(names, key=lambda name: (_is_leader(seen[name]), -reclaimable(seen[name]), name))


def defrag_step(name: str, seen: MemberSeen, freed: int) -> DefragmentMember:
    """Return the step that frees this number of bytes."""
    return DefragmentMember(
        host=name, in_use=seen.db_in_use, reason=_reason(seen, freed, "takes"), rules=(73, 74, 75)
    )  # fmt: skip


def offline_step(name: str, seen: MemberSeen | None = None) -> DefragmentOffline:
    """Return the step for a member that is stopped for its defragmentation. Without `seen`, it is stopped already."""
    if seen is None:
        reason = "it was stopped, so it is not known yet how much can be freed"
        return DefragmentOffline(host=name, in_use=0, reason=reason, rules=(79,))
    reason = _reason(seen, reclaimable(seen), "etcd is stopped for")
    return DefragmentOffline(host=name, in_use=seen.db_in_use, reason=reason, rules=(38, 39, 79))


def _reason(seen: MemberSeen, freed: int, takes: str) -> str:
    free = f"{show_size(freed)} of {show_size(seen.db_size)} can be freed"
    return f"{free}; {takes} about {expected_s(seen.db_size - freed):.0f} s"


def expected_s(in_use: int) -> float:
    """Return the expected time: about 15 ms for each MiB (rule 73), and at least a second."""
    return max(1.0, 0.015 * in_use / MIB)


def defrag_notes(observed: Observed) -> Iterator[str]:
    """Yield what clients notice of the defragmentations."""
    yield "the clients of a member wait while it is being defragmented; the other members serve their clients"
    if voter_count(observed) == 1:
        yield "the cluster has one voter: no client is served while it is being defragmented"
