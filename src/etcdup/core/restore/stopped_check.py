"""Checks that every member of a cluster is known to be stopped before its data is exchanged (rule 57)."""

from collections.abc import Collection

from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_inactive
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec


def still_running(spec: Spec, observed: Observed, token: str = "") -> tuple[str, ...]:
    """Return the hosts where a member of the old cluster runs, or systemd is about to start one.

    A host whose restored data is in place runs a restored member, so it is not included. With `token`, only the restore
    with this token counts: another one may have ended on the host before its marker recorded that.
    """
    return tuple(
        name
        for name, seen in observed.reachable().items()
        if not is_inactive(seen)
        and (marker := seen.marker_of(spec.name))
        and not (
            marker.restored and marker.restored.stage in ("placed", "open") and token in ("", marker.token)
        )
    )


def refuse_data_change(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to exchange data unless every host was reached and etcd was seen to be stopped on it.

    An unreachable host is not necessarily down.
    """
    if gone := sorted(observed.unreachable()):
        return (
            Refused(
                f"{', '.join(gone)} cannot be reached and may still run etcd",
                hint=f"make {', '.join(gone)} reachable, then run the same command again",
                rules=(57, 62),
            ),
        )
    if running := still_running(spec, observed):
        return (
            Refused(
                f"etcd still runs on {', '.join(running)}",
                hint=f"stop etcd on {', '.join(running)}, then run the same command again",
                rules=(57,),
            ),
        )
    return ()


def refuse_foreign_hosts(names: Collection[str], spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to stop or start members on hosts that cannot be observed, or that have no marker of this cluster."""
    reached = observed.reachable()
    return tuple(
        Refused(
            f"{name} cannot be changed: it "
            + ("cannot be reached" if name not in reached else f"has no marker of cluster {spec.name}"),
            hint=f"run `etcdup status` to see the state of {name}, then run the same command again",
            host=name,
            rules=(6, 62),
        )
        for name in names
        if name not in reached or reached[name].marker_of(spec.name) is None
    )
