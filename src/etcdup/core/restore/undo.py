"""The plan of `restore --undo` if the restored data has never served a client: put the archived data back.

Otherwise the archived data is restored with higher revisions (core/recovery/undo_by_restore.py). An undo of this kind
that an earlier version of etcdup began is completed here too.

First the marker of every host is set to `undo`, so that neither apply nor a restore works on a cluster that is only
partly undone. Then all members are stopped, the directories are exchanged, and the old members start together.
"""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.revocation import restored_notes
from etcdup.core.host.drift import settings_steps
from etcdup.core.members.quorum import healthy
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_inactive
from etcdup.core.plan.host_steps import RetireMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import ForgetRestore, MarkUndo, StartRestored, StopMembers, UndoData
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec


def plan_undo(spec: Spec, observed: Observed, suffix: str, *, resumed: bool = False) -> Plan | Refusal:
    """Return the steps that undo the last restore, or the reasons against it.

    `suffix` is `aside-TIME`. `resumed` means that this run or an earlier run has started the undo, so some hosts may be
    undone already.
    """
    if reasons := refuse_stale_pki(spec, observed) or _refuse_undo(spec, observed, resumed=resumed):
        return Refusal(spec.name, reasons)
    token = next((_token(seen) for seen in _own_hosts(spec, observed).values()), "")
    planned = Plan(spec.name, tuple(_steps(spec, observed, suffix)), _notes(spec, observed), token)
    return only_on_ready_hosts(planned, spec, observed)


def can_undo(spec: Spec, observed: Observed) -> bool:
    """Return whether there is a restore to undo. Call it on the first observation.

    The markers no longer show it when the undo is complete.
    """
    return not _refuse_undo(spec, observed, resumed=False)


def is_undo_begun(spec: Spec, observed: Observed) -> bool:
    """Return whether a host has the marker of an undo."""
    return any(_stage(seen) == "undo" for seen in _own_hosts(spec, observed).values())


def is_undo_unstarted(spec: Spec, observed: Observed) -> bool:
    """Return whether an undo was interrupted between its last marker and the proof of all members.

    Then all hosts have their old data, of one cluster. At least one member is stopped, or started without the fence.
    """
    markers = [seen.marker for seen in _own_hosts(spec, observed).values() if seen.marker]
    undone = [marker for marker in markers if marker.restored and marker.restored.stage == "undone"]
    return (
        len(undone) == spec.size
        and len({marker.token for marker in undone}) == 1
        and any(not seen.unit.is_running or seen.fence_disabled for seen in observed.reachable().values())
    )


def _steps(spec: Spec, observed: Observed, suffix: str) -> Iterator[Step]:
    seen = _own_hosts(spec, observed)
    if untouched := is_untouched(spec, observed):
        for name, host in seen.items():
            if _stage(host):
                yield ForgetRestore(host=name, reason="the restored data was staged and never used")
    else:
        yield from _undo_steps(spec, observed, suffix)
    for name, host in seen.items():
        if not untouched:
            yield from settings_steps(spec, spec.host(name), host, _token(host), observed.pki)
    for name in _prepared_elsewhere(spec, observed):
        reason = "the restore prepared it as a new host, and cluster.yaml does not name it any more"
        yield RetireMember(host=name, suffix=suffix, reason=reason, rules=(57,))
    waiting = any(_stage(host) for host in seen.values())
    unproved = any(host.fence_disabled or not host.unit.is_running for host in seen.values())
    if (waiting and not untouched) or unproved:
        reason = "all hosts have their old data again"
        yield StartRestored(
            hosts=tuple(seen), reason=reason, rules=(1, 2, 11), quorum="all members serve clients again"
        )


def is_untouched(spec: Spec, observed: Observed) -> bool:
    """Return whether the old cluster still runs, and the restored data is staged at most.

    The marker is written last, so a host with the marker `staged` may already have the restored data in place. With
    one host, a healthy member could run on that data: such a cluster never counts as untouched.
    """
    stages = {_stage(host) for host in _own_hosts(spec, observed).values()}
    return stages <= {"", "staged"} and len(healthy(observed)) == spec.size > 1


def _undo_steps(spec: Spec, observed: Observed, suffix: str) -> Iterator[Step]:
    seen = _own_hosts(spec, observed)
    for name, host in seen.items():
        if _stage(host) not in ("", "undo"):
            yield MarkUndo(
                host=name, reason="until the undo is complete, apply and restore are refused", rules=(57,)
            )
    waiting = [name for name, host in seen.items() if _stage(host)]
    if waiting and (running := tuple(name for name, host in seen.items() if not is_inactive(host))):
        reason = "members of the restored cluster must not run together with members of the old cluster"
        yield StopMembers(
            hosts=running, reason=reason, rules=(57,), quorum="no member serves clients after this step"
        )
    for name in waiting:
        yield UndoData(
            host=name,
            aside=suffix,
            reason="the old data is put back; the restored data is renamed, not deleted",
            rules=(56,),
        )


def refuse_unreachable(observed: Observed) -> tuple[Refused, ...]:
    """Refuse an undo while a host cannot be reached."""
    return tuple(
        Refused(
            f"{name} cannot be reached: {why.why}",
            hint=why.hint
            or f"make {name} reachable, then run the same command again: an undo needs every host",
            host=name,
            rules=(57, 62),
        )
        for name, why in observed.unreachable().items()
    )


def _refuse_undo(spec: Spec, observed: Observed, *, resumed: bool) -> tuple[Refused, ...]:
    if gone := refuse_unreachable(observed):
        return gone
    seen = _own_hosts(spec, observed)
    if not resumed and is_undo_unstarted(spec, observed):
        return ()
    restored = [name for name, host in seen.items() if _stage(host)]
    if not restored and not resumed and not _prepared_elsewhere(spec, observed):
        return (
            Refused(
                f"no host of cluster {spec.name} has the marker of a restore: there is nothing to undo",
                hint="if members are stopped, run `etcdup apply` to start them",
            ),
        )
    stages = {_stage(host) for host in seen.values()}
    if "" in stages and stages & {"placed", "done"}:
        joined = [name for name, host in seen.items() if not _stage(host)]
        return tuple(refuse_host_without_archive(name) for name in joined)
    if resumed or is_undo_begun(spec, observed) or is_untouched(spec, observed):
        return ()
    # Before data is exchanged, a host of cluster.yaml may have no marker yet.
    names = seen if stages <= {"", "staged"} else [host.name for host in spec.hosts]
    return tuple(_refuse_without_old_data(name) for name in names if not _can_undo_host(seen.get(name)))


def _refuse_without_old_data(name: str) -> Refused:
    """Return the refusal of an undo for a host that is new in a restore that is not complete."""
    return replace(
        refuse_host_without_archive(name),
        hint="write the hosts from before the restore into cluster.yaml, and run `etcdup restore --undo` again. Or "
        "finish the restore: run the interrupted command again, `etcdup restore` with the same snapshot and options, "
        "or `etcdup recover`",
    )


def refuse_host_without_archive(name: str) -> Refused:
    """Return the refusal of an undo for a host that has no data from before the restore."""
    return Refused(
        f"{name} has no data from before the restore, so the restore cannot be undone",
        hint="restore a backup instead (`etcdup backup list`, `etcdup restore`). For an undo, cluster.yaml must name "
        "the hosts that were restored, and each of them must have been a member before the restore",
        host=name,
        rules=(56,),
    )


def _can_undo_host(seen: HostSeen | None) -> bool:
    """Return whether the host has old data, or is not part of the restore. A host that is new in it has none."""
    if seen is None or seen.marker is None:
        return False
    restored = seen.marker.restored
    return bool(restored.former) if restored and _stage(seen) else True


def _own_hosts(spec: Spec, observed: Observed) -> dict[str, HostSeen]:
    reached = observed.reachable()
    return {
        host.name: seen
        for host in spec.hosts
        if (seen := reached.get(host.name)) and seen.marker_of(spec.name)
    }


def _prepared_elsewhere(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the hosts outside cluster.yaml that an unfinished restore prepared, and that had no member before it."""
    own = {host.name for host in spec.hosts}
    markers = {name: seen.marker_of(spec.name) for name, seen in observed.reachable().items()}
    return tuple(
        name
        for name, marker in markers.items()
        if name not in own
        and marker is not None
        and marker.restored is not None
        and marker.is_being_restored
        and not marker.restored.former
    )


def _stage(seen: HostSeen) -> str:
    """Return the stage of the restore on this host; empty if there is nothing left to undo."""
    marker = seen.marker
    over = ("undone", "joined")
    return marker.restored.stage if marker and marker.restored and marker.restored.stage not in over else ""


def _token(seen: HostSeen) -> str:
    """Return the token of the cluster that the undo brings back."""
    marker = seen.marker
    assert marker is not None, "the caller passes only hosts with this cluster's marker"
    restored = marker.restored
    return restored.former[-1] if restored and _stage(seen) and restored.former else marker.token


def _notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    stages = {_stage(seen) for seen in _own_hosts(spec, observed).values()}
    later = (
        "the old data does not contain what was written after the restore; the restored data stays on each host, "
        "renamed to NAME.aside-TIME"
    )
    return (*((later,) if stages & {"placed", "done"} else ()), *restored_notes(spec, observed))
