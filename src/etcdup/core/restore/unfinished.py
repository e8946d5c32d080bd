"""A restore, recovery or undo that is not finished: which data the members have now, and what the operator can do."""

from collections.abc import Iterator

from etcdup.core.observed.marker import Restored
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.restore.undo import is_untouched
from etcdup.core.spec.model import Spec

_LOSES = "It loses all writes since the snapshot"
_WHICH = "`etcdup history` shows which command began it on this machine"


def refuse_unfinished_restore(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse any other change until a restore, a recovery or an undo is finished.

    Members of the old and of the restored cluster may exist at the same time, and only the restore handles that.
    """
    begun = {name: restored for name, restored in _restores(spec, observed) if restored is not None}
    if not begun:
        return ()
    if any(restored.stage == "undo" or restored.undoes for restored in begun.values()):
        what, hint = _undo(spec, observed, begun)
    elif is_untouched(spec, observed):
        what, hint = _staged(spec, begun)
    else:
        what, hint = _placed(spec, observed, begun)
    return (Refused(what, hint=hint, rules=(57,)),)


def refuse_closed_restore(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a change of the space of the databases, unless all data of an unfinished restore serves clients.

    Then no member has the old data, and the writes of clients can use up the quota before the restore is finished.
    """
    begun = [marker for seen in observed.reachable().values() if (marker := seen.marker_of(spec.name))]
    begun = [marker for marker in begun if marker.is_being_restored]
    stages = {marker.restored.stage for marker in begun if marker.restored}
    if stages == {"open"} and len({marker.token for marker in begun}) == 1:
        return ()
    return refuse_unfinished_restore(spec, observed)


def _restores(spec: Spec, observed: Observed) -> Iterator[tuple[str, Restored | None]]:
    for name, seen in observed.reachable().items():
        marker = seen.marker_of(spec.name)
        if marker is not None and marker.is_being_restored:
            yield name, marker.restored


def _undo(spec: Spec, observed: Observed, begun: dict[str, Restored]) -> tuple[str, str]:
    """Describe an undo. A started undo refuses a restore, so only the undo is named."""
    what = f"an undo of a restore of cluster {spec.name} is not finished on {', '.join(begun)}"
    if is_untouched(spec, observed):
        what += ". The members still have the data of the restore, and accept writes"
    return what, "run `etcdup restore --undo` again, which resumes the undo"


def _staged(spec: Spec, begun: dict[str, Restored]) -> tuple[str, str]:
    """Describe a restore that stopped no member. Only a restore begins while all members are healthy."""
    what = (
        f"a restore of cluster {spec.name} is not finished: its data is prepared on {', '.join(begun)}. The members "
        "still have the old data, and accept writes"
    )
    return what, (
        "to cancel the restore, run `etcdup restore --undo`: it removes the prepared data and stops no member. To "
        f"finish the restore, run `etcdup restore` again with the same snapshot and options. {_LOSES}"
    )


def _placed(spec: Spec, observed: Observed, begun: dict[str, Restored]) -> tuple[str, str]:
    """Describe a restore or recovery that may have stopped members. The marker of a stage is written after it."""
    by_stage = {
        stage: ", ".join(name for name, restored in begun.items() if restored.stage == stage)
        for stage in ("staged", "placed", "open")
    }
    texts = {
        "staged": "on {}, its data is prepared, and can be in place already",
        "placed": "on {}, its data is in place, and no client can connect",
        "open": "on {}, its data is in place, and clients can connect",
    }
    where = "; ".join(text.format(by_stage[stage]) for stage, text in texts.items() if by_stage[stage])
    what = f"a restore or recovery of cluster {spec.name} is not finished: {where}"
    again = (
        "run the interrupted command again, which resumes it: `etcdup restore` with the same snapshot and options, or "
        "`etcdup recover`"
    )
    if _has_served(spec, observed):
        undo = "Then it can be undone"
    else:
        undo = "To put the old data back instead, run `etcdup restore --undo`, which needs every host"
    return what, f"{again}. {_WHICH}. {undo}"


def _has_served(spec: Spec, observed: Observed) -> bool:
    """Return whether this restore or the previous one has served clients: its undo needs a complete restore."""
    markers = [seen.marker_of(spec.name) for seen in observed.reachable().values()]
    return any(each and each.restored and each.restored.stage in ("open", "done") for each in markers)
