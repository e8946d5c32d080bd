"""Whether all that could speak for a cluster is known to be stopped (rule 57)."""

from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_inactive
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec


def still_running(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Hosts on which a member of the old cluster runs or is about to. A restored one may run only where it is
    placed, and is none of these."""
    return tuple(
        name
        for name, seen in observed.reachable().items()
        if not is_inactive(seen) and (mark := seen.marker) is not None
        and mark.cluster == spec.name and not (mark.restored and mark.restored.stage == "placed")
    )  # fmt: skip


def refuse_data_change(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Data is exchanged only when every host was reached and seen to be stopped: unreachable is not down."""
    if gone := sorted(observed.unreachable()):
        return (Refused(f"{', '.join(gone)} cannot be reached and may still run", rules=(57, 62)),)
    if moving := still_running(spec, observed):
        return (Refused(f"etcd still runs on {', '.join(moving)}", hint="stop it there first", rules=(57,)),)
    return ()


def refuse_unfinished_restore(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Members of the old and of the new cluster may both be there: only the restore itself knows the order."""
    names = [
        name
        for name, seen in observed.reachable().items()
        if seen.marker is not None and seen.marker.cluster == spec.name and seen.marker.is_being_restored
    ]
    if not names:
        return ()
    return (
        Refused(
            f"a restore of cluster {spec.name} was begun and is not finished: {', '.join(names)}",
            hint="run `etcdup restore` with the same snapshot again: it goes on from where it was; `etcdup restore "
            "--undo` puts the old data back instead",
            rules=(57,),
        ),
    )
