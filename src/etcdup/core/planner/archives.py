"""The plan of `archive delete`: delete archived data, one host after the other."""

from collections.abc import Collection, Sequence

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import DeleteArchives
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.recovery.undo_by_restore import undo_archives
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec

WITH_UNDO = "--with-undo"
_ALSO = f"To delete it too, pass `{WITH_UNDO}`"


def plan_delete_archives(
    spec: Spec, observed: Observed, chosen: Collection[tuple[str, str]], *, with_undo: bool
) -> Plan | Refusal:
    """Return one DeleteArchives for each host that still has chosen archives, each a host and a path.

    `with_undo`: also the data that `restore --undo` puts back.
    """
    if reasons := refuse_stale_pki(spec, observed) or refuse_unfinished_restore(spec, observed):
        return Refusal(spec.name, reasons)
    steps, notes = [], []
    for host, seen in observed.reachable().items():
        there = [path for path in seen.archives if (host, path) in chosen]
        kept = [path for path in there if not with_undo and is_for_undo(host, path, spec, observed)]
        if paths := tuple(path for path in there if path not in kept):
            steps.append(DeleteArchives(host=host, paths=paths, reason="etcd does not use it", rules=(56,)))
        notes += [f"{host}: {path} is kept: `restore --undo` needs it. {_ALSO}" for path in kept]
    notes += _unreachable_notes(observed)
    return only_on_ready_hosts(Plan(spec.name, tuple(steps), tuple(notes)), spec, observed)


def _unreachable_notes(observed: Observed) -> Sequence[str]:
    gone = observed.unreachable().values()
    return [f"{each.host} cannot be reached and is not changed: {each.why}" for each in gone]


def is_for_undo(host: str, path: str, spec: Spec, observed: Observed) -> bool:
    """Return whether `restore --undo` puts this data back."""
    suffix = undo_archives(spec, observed).get(host)
    return suffix is not None and path.endswith((f".{suffix}", f"/{suffix}"))


def refuse_delete_archives(step: DeleteArchives, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to delete anything but archives of etcdup, and to delete during a restore."""
    if reasons := refuse_unfinished_restore(spec, observed):
        return reasons
    archives = observed.reachable()[step.host].archives
    return tuple(
        Refused(
            f"{path} on {step.host} must not be deleted: it is no archive of etcdup",
            hint="run `etcdup archive list` to see the archives",
            host=step.host,
            rules=(56,),
        )
        for path in step.paths
        if path not in archives
    )
