"""`fix-space`: whether space can be freed without deleting keys, and in which steps (rules 70, 73 to 77)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil

from etcdup.core.etcd.alarms import NOSPACE
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.maintain.causes import used_by
from etcdup.core.maintain.compaction import Compaction, measure_compaction, revision_until
from etcdup.core.maintain.defrag import (
    defrag_notes,
    defrag_order,
    defrag_step,
    reasons_of_member,
    refuse_any_defrag,
)
from etcdup.core.maintain.space import Space, measure_space
from etcdup.core.members.member_list import voter_names
from etcdup.core.members.quorum import healthy
from etcdup.core.members.space import (
    MUCH_IN_USE,
    NEARLY_FULL,
    fits_cluster_file,
    is_out_of_space,
    quota_of,
    running_quota,
)
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import CompactHistory, DisarmSpaceAlarm
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

# With less free space than this share of the quota, the alarm would be back soon.
MOST_AFTER = 0.9
# Fewer bytes of history are not worth a compaction, after which old watches must begin again.
LEAST_OLD = 1024**2
# A defragmentation that frees a smaller share of the file is not worth its interruption.
_LEAST_SHARE = 0.05
_PAGE, _FILL, _LEAST_ROWS = 4096, 0.9, 2
_MIB, _GIB = 1024**2, 1024**3
# etcd recommends no larger quota.
LARGEST_QUOTA = 8 * _GIB
_FULL = (70, 77)


@dataclass(frozen=True)
class Measured:
    """The use of a snapshot, and what two compactions would leave: one that keeps the recent history, and one of all.

    `keeps_history`: the operator chose how much history is kept, so no more is compacted.
    """

    space: Space
    recent: Compaction
    whole: Compaction
    keeps_history: bool = False


def measure(bolt: Bolt, file_bytes: int, until: datetime | None, *, keeps_history: bool) -> Measured:
    """Return the use of a snapshot. The recent history is what is newer than `until`; None is no history.

    Raise ValueError if the file is damaged.
    """
    space = measure_space(bolt, file_bytes)
    recent = whole = Compaction(space.revision, space.whole.keys, space.whole.bytes)
    if until is not None and space.whole.old_bytes >= LEAST_OLD:
        recent = measure_compaction(bolt, revision_until(bolt, until))
    return Measured(space, recent, whole, keeps_history)


def is_short_of_space(spec: Spec, observed: Observed) -> bool:
    """Return whether NOSPACE is active, or a database is near its quota."""
    return is_out_of_space(observed) or any(
        seen.db_size > NEARLY_FULL * quota_of(spec, observed, name)
        for name, seen in observed.answering().items()
    )


def size_after(space: Space, left: Compaction) -> int:
    """Return the expected size of a database after a compaction and a defragmentation.

    A defragmentation writes the rows that are left to new pages. bbolt fills 90 % of a page, and puts at least two rows
    on it, even if they continue on more pages (node.go). So the file can also become larger than the pages in use.
    """
    if not left.rows:
        return space.other_bytes
    row = left.bytes / left.rows
    together = max(_LEAST_ROWS, int(_FILL * _PAGE / row))
    return space.other_bytes + left.rows * ceil(together * row / _PAGE) * _PAGE // together


def choose_compaction(spec: Spec, observed: Observed, measured: Measured) -> Compaction:
    """Return the compaction that keeps most history and frees enough, or else the one that frees most."""
    space = measured.space
    options = [Compaction(0, space.whole.keys + space.whole.old, space.whole.total)]
    offered = (measured.recent,) if measured.keeps_history else (measured.recent, measured.whole)
    options += [each for each in offered if space.whole.total - each.bytes >= LEAST_OLD]
    smallest = min((quota for _, quota in _quotas(spec, observed)), default=0)
    enough = (each for each in options if size_after(space, each) <= MUCH_IN_USE * smallest)
    return next(enough, min(options, key=lambda each: size_after(space, each)))


def members_to_shrink(spec: Spec, observed: Observed, measured: Measured) -> tuple[str, ...]:
    """Return the members that are near their quota, and that a defragmentation makes smaller."""
    after = size_after(measured.space, choose_compaction(spec, observed, measured))
    seen = observed.answering()
    return tuple(
        name
        for name, quota in _quotas(spec, observed)
        if seen[name].db_size > MUCH_IN_USE * quota
        and seen[name].db_size - after >= _LEAST_SHARE * seen[name].db_size
    )


def plan_fix_space(
    spec: Spec, observed: Observed, measured: Measured, chosen: Collection[str]
) -> Plan | Refusal:
    """Return the steps that are left: compact, defragment the chosen members, and disarm.

    Refuse if not every member would be below its quota after them.
    """
    left = choose_compaction(spec, observed, measured)
    after = size_after(measured.space, left)
    names = [name for name in members_to_shrink(spec, observed, measured) if name in chosen]
    reasons = refuse_any_defrag(spec, observed) or (
        *_refuse_unknown_quota(observed),
        *_refuse_too_much_data(spec, observed, measured, after),
        *(reason for name in names for reason in reasons_of_member(name, observed)),
    )
    if reasons:
        return Refusal(spec.name, reasons)
    steps = tuple(_steps(observed, measured, left, names, after))
    return Plan(spec.name, steps, tuple(_notes(observed, measured, left, names, after)) if steps else ())


def refuse_without_effect(spec: Spec, observed: Observed, measured: Measured) -> tuple[Refused, ...]:
    """Return the reason if a database is near its quota, and no step frees space."""
    after = size_after(measured.space, choose_compaction(spec, observed, measured))
    return _too_much_data(spec, observed, measured, after, MUCH_IN_USE)


def _quotas(spec: Spec, observed: Observed) -> list[tuple[str, int]]:
    return [(name, quota_of(spec, observed, name)) for name in sorted(healthy(observed))]


def _refuse_unknown_quota(observed: Observed) -> Iterator[Refused]:
    """Refuse at the beginning what would be refused at the end: the alarm is disarmed only below known quotas."""
    unknown = [name for name in voter_names(observed) if running_quota(observed, name) is None]
    if unknown and is_out_of_space(observed):
        yield Refused(
            f"the quota of {', '.join(unknown)} is unknown",
            hint="run `etcdup apply`, which writes the quota into the settings of etcd",
            host=unknown[0],
            rules=_FULL,
        )


def _refuse_too_much_data(
    spec: Spec, observed: Observed, measured: Measured, after: int
) -> tuple[Refused, ...]:
    reasons = _too_much_data(spec, observed, measured, after, MOST_AFTER)
    shorter = size_after(measured.space, measured.whole)
    if not measured.keeps_history or _too_much_data(spec, observed, measured, shorter, MOST_AFTER):
        return reasons
    why = f"Without the history that you keep, about {show_size(shorter)} are left"
    hint = "pass a shorter `--keep-history`, or leave the option out"
    return tuple(replace(each, message=f"{each.message}. {why}", hint=hint) for each in reasons)


def _too_much_data(
    spec: Spec, observed: Observed, measured: Measured, after: int, share: float
) -> tuple[Refused, ...]:
    """Return a refusal for the member with the smallest quota, if the data needs more than this share of it."""
    name, quota = min(_quotas(spec, observed), key=lambda each: each[1], default=("", after))
    if after <= share * quota:
        return ()
    return (
        Refused(
            f"the data needs about {show_size(after)} of the quota of {show_size(quota)} of {name}, so a compaction "
            f"and a defragmentation do not free enough: {used_by(measured.space)}",
            hint=_quota_hint(spec, observed, after, quota),
            host=name,
            rules=_FULL,
        ),
    )


def _quota_hint(spec: Spec, observed: Observed, after: int, quota: int) -> str:
    delete = (
        "take a backup, delete what is not needed with the program that wrote it, for example kubectl, and run the "
        "same command again. etcdup deletes no key of yours"
    )
    if spec.etcd.quota > quota and fits_cluster_file(spec, observed):
        new = show_size(spec.etcd.quota)
        return f"run `etcdup apply`: it restarts one member after the other with the quota of {new}"
    larger = larger_quota(after, max(quota, spec.etcd.quota))
    if not larger:
        return f"{delete}. A quota above {show_size(LARGEST_QUOTA)} is not recommended"
    return (
        f"set `quota: {larger}` below `etcd:` in cluster.yaml and run `etcdup apply`, which restarts one member after "
        f"the other and disarms the alarm. Or {delete}"
    )


def larger_quota(size: int, quota: int) -> str:
    """Return a quota of which this size is not much, as a value of cluster.yaml. Return '' above the largest one."""
    while size > MUCH_IN_USE * quota:
        quota *= 2
    if quota > LARGEST_QUOTA:
        quota = LARGEST_QUOTA if size <= NEARLY_FULL * LARGEST_QUOTA else 0
    if quota % _GIB == 0:
        return f"{quota // _GIB}GiB" if quota else ""
    return f"{-(-quota // _MIB)}MiB"


def _steps(
    observed: Observed, measured: Measured, left: Compaction, names: list[str], after: int
) -> Iterator[Step]:
    space = measured.space
    if left.revision:
        freed = show_size(space.whole.total - left.bytes)
        why = f"{freed} of {show_size(space.used_bytes)} in use are history"
        yield CompactHistory(revision=left.revision, reason=why, rules=(70, 76))
    seen = observed.answering()
    for name in defrag_order(observed, names):
        yield defrag_step(name, seen[name], seen[name].db_size - after)
    if is_out_of_space(observed):
        why = f"{NOSPACE} is active, and each database is below its quota by then"
        yield DisarmSpaceAlarm(reason=why, rules=(70,))


def _notes(
    observed: Observed, measured: Measured, left: Compaction, names: list[str], after: int
) -> Iterator[str]:
    space = measured.space
    if names:
        yield f"each defragmented database has about {show_size(after)} afterwards"
        yield from defrag_notes(observed)
    if left.revision:
        kept = space.revision - left.revision
        yield f"the newest {kept} revisions are kept" if kept else "no old revision is kept"
        yield "clients that watch or read an older revision must read the present keys again; no key is deleted"
