"""The plan of `restore --undo`: the data that a restore moved aside goes back, and what was restored aside in turn.

First every host's mark says `undo`, so that neither apply nor a restore takes a half-undone cluster for a whole one;
then all members are stopped, the folders change places, and the old members start together.
"""

from collections.abc import Iterator

from etcdup.core.host.drift import settings_steps
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import HostSeen, Observed
from etcdup.core.observed.state import is_inactive
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import ForgetRestore, MarkUndo, StartRestored, StopMembers, UndoData
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec


def plan_undo(spec: Spec, observed: Observed, suffix: str, *, resumed: bool = False) -> Plan | Refusal:
    """`suffix` is `aside-TIME`. `resumed`: this run or one before it has begun, so that hosts may be undone already."""
    if reasons := _refuse_undo(spec, observed, resumed=resumed):
        return Refusal(spec.name, reasons)
    token = next((_token(seen) for seen in _own_hosts(spec, observed).values()), "")
    return Plan(spec.name, tuple(_steps(spec, observed, suffix)), _notes(spec, observed), token)


def can_undo(spec: Spec, observed: Observed) -> bool:
    """Whether there is a restore to undo, as the first look says: the hosts do not say so any more at the end."""
    return not _refuse_undo(spec, observed, resumed=False)


def is_undo_begun(spec: Spec, observed: Observed) -> bool:
    return any(_stage(seen) == "undo" for seen in _own_hosts(spec, observed).values())


def is_undo_unstarted(spec: Spec, observed: Observed) -> bool:
    """Whether an undo was cut after its last mark: all hosts have their old data, of one cluster, and not all run."""
    marks = [seen.marker for seen in _own_hosts(spec, observed).values() if seen.marker]
    undone = [mark for mark in marks if mark.restored and mark.restored.stage == "undone"]
    return (
        len(undone) == spec.size
        and len({mark.token for mark in undone}) == 1
        and any(is_inactive(seen) for seen in observed.reachable().values())
    )


def _steps(spec: Spec, observed: Observed, suffix: str) -> Iterator[Step]:
    seen = _own_hosts(spec, observed)
    if quiet := _is_untouched(spec, observed):
        for name, host in seen.items():
            if _stage(host):
                yield ForgetRestore(host=name, reason="it was never put in place")
    else:
        yield from _undo_steps(spec, observed, suffix)
    for name, host in seen.items():
        if not quiet:
            yield from settings_steps(spec, spec.host(name), host, _token(host), observed.pki)
    waiting = any(_stage(host) for host in seen.values())
    if (waiting and not quiet) or not all(host.unit.is_running for host in seen.values()):
        reason = "all have their old data"
        yield StartRestored(
            hosts=tuple(seen), reason=reason, rules=(1, 2, 11), quorum="all members serve again"
        )


def _is_untouched(spec: Spec, observed: Observed) -> bool:
    """Whether the cluster runs as before beside what was staged. A mark is written last: one host may have restored
    data in place already, and a cluster of one would run on it."""
    stages = {_stage(host) for host in _own_hosts(spec, observed).values()}
    return stages <= {"", "staged"} and len(healthy(observed)) == spec.size > 1


def _undo_steps(spec: Spec, observed: Observed, suffix: str) -> Iterator[Step]:
    seen = _own_hosts(spec, observed)
    for name, host in seen.items():
        if _stage(host) not in ("", "undo"):
            yield MarkUndo(host=name, reason="from here on only this undo goes on", rules=(57,))
    waiting = [name for name, host in seen.items() if _stage(host)]
    if waiting and (running := tuple(name for name, host in seen.items() if not is_inactive(host))):
        reason = "no member of the restored cluster may meet one of the old"
        yield StopMembers(hosts=running, reason=reason, rules=(57,), quorum="no member serves from here on")
    for name in waiting:
        yield UndoData(
            host=name, aside=suffix, reason="its old data is there; nothing is deleted", rules=(56,)
        )


def _refuse_undo(spec: Spec, observed: Observed, *, resumed: bool) -> tuple[Refused, ...]:
    gone = [
        Refused(f"{name} cannot be reached: {why.why}", hint=why.hint, host=name, rules=(57, 62))
        for name, why in observed.unreachable().items()
    ]
    if gone:
        return tuple(gone)
    seen = _own_hosts(spec, observed)
    if not resumed and is_undo_unstarted(spec, observed):
        return ()
    restored = [name for name, host in seen.items() if _stage(host)]
    if not restored and not resumed:
        return (
            Refused(
                f"no host of cluster {spec.name} says that it was restored: there is nothing to undo",
                hint="if members are stopped, `etcdup apply` starts them",
            ),
        )
    stages = {_stage(host) for host in seen.values()}
    if "" in stages and stages & {"placed", "done"}:
        joined = [name for name, host in seen.items() if not _stage(host)]
        return tuple(_no_way_back(name) for name in joined)
    begun = resumed or is_undo_begun(spec, observed) or stages <= {"", "staged"}
    others = [host.name for host in spec.hosts if not begun and not _can_undo_host(seen.get(host.name))]
    return tuple(_no_way_back(name) for name in others)


def _no_way_back(name: str) -> Refused:
    return Refused(
        f"{name} has no data of before the restore to go back to",
        hint="an undo is for the hosts that the restore was done on, and that were members before it; with other hosts "
        "in cluster.yaml, restore a backup instead",
        host=name,
        rules=(56,),
    )


def _can_undo_host(seen: HostSeen | None) -> bool:
    """An abandoned restore may not have come to this host at all: its data was never touched."""
    if seen is None or seen.marker is None:
        return False
    restored = seen.marker.restored
    return bool(restored.former) if restored and _stage(seen) not in ("", "staged") else True


def _own_hosts(spec: Spec, observed: Observed) -> dict[str, HostSeen]:
    reached = observed.reachable()
    return {
        host.name: seen
        for host in spec.hosts
        if (seen := reached.get(host.name)) and seen.marker and seen.marker.cluster == spec.name
    }


def _stage(seen: HostSeen) -> str:
    mark = seen.marker
    over = ("undone", "joined")
    return mark.restored.stage if mark and mark.restored and mark.restored.stage not in over else ""


def _token(seen: HostSeen) -> str:
    """The cluster's that counts again."""
    mark = seen.marker
    assert mark is not None, "only hosts that bear our mark are asked"
    return mark.restored.former[-1] if mark.restored and _stage(seen) and mark.restored.former else mark.token


def _notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    stages = {_stage(seen) for seen in _own_hosts(spec, observed).values()}
    if stages & {"placed", "done"}:
        return ("everything written since the restore is not in the old data; what was restored stays aside",)
    return ()
