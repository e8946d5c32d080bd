"""`etcdup adopt --release`: remove the markers, and rename the local files. The cluster continues to run."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, YesNo, apply_change, confirm_change, make_plan
from etcdup.cli.run.session import Session
from etcdup.core.adopt.adoption import plan_release
from etcdup.core.adopt.local_names import tls_folder
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import TlsSpec
from etcdup.errors import EtcdupError, PartlyApplied, PkiError, RefusedError
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.pki.open import open_pki

_LEFT_HINT = (
    "make SSH work, then run the same command again: it removes the markers that are left. If the machine is lost, its "
    "marker is lost too: rename cluster.yaml and the certificates yourself"
)


def release_cluster(file: Path, *, yes: bool, as_json: bool) -> int:
    """Remove the marker of each host, then rename cluster.yaml and its certificates. Nothing is deleted."""
    session = Session.begin(file)
    run = ChangeRun(session, "adopt --release", as_json=as_json)
    confirm = None if yes else YesNo(f"Release cluster {session.spec.name}? Its members continue to run.")
    return run.run_to_exit(_release(run, file, confirm))


async def _release(run: ChangeRun, file: Path, confirm: YesNo | None) -> None:
    session = run.session
    unknown: tuple[str, ...] = ()

    def planner(observed: Observed) -> Plan | Refusal:
        nonlocal unknown
        planned = plan_release(session.spec, observed)
        unknown = planned.unknown if isinstance(planned, Plan) else ()
        return planned

    with scratch_folder("release") as scratch:
        async with _readable(session, scratch).world() as world:
            observed = await session.observe(world)
            plan = make_plan(run, planner, observed)
            if plan.is_empty and unknown:
                raise RefusedError(_left_text(unknown), hint=_LEFT_HINT)
            if plan.is_empty:
                run.terminal.say("no host has a marker of this cluster")
            change = Change(planner, confirm, prove=False, show=not plan.is_empty)
            if not await confirm_change(run, change, plan):
                return
            if not plan.is_empty:
                await apply_change(run, world, change, plan, observed)
    # The planner has seen the last observation too: a host can be lost after the question.
    if unknown:
        raise PartlyApplied(_left_text(unknown), hint=_LEFT_HINT)
    _rename_local_files(run, file)


def _left_text(unknown: Sequence[str]) -> str:
    return f"{', '.join(unknown)} cannot be reached, so its marker stays. cluster.yaml and the certificates stay too"


def _readable(session: Session, scratch: Path) -> Session:
    """Return the session with its certificates: the member list names hosts that cluster.yaml does not name.

    An earlier run may have renamed the certificates. All markers are removed then, and only hosts are observed.
    """
    pki = open_pki(session.spec, session.folder)
    try:
        pki.observe()
        pki.credentials()
    except PkiError:
        return replace(
            session, spec=session.spec.model_copy(update={"tls": TlsSpec(dir=str(scratch / "pki"))})
        )
    return session


def _rename_local_files(run: ChangeRun, file: Path) -> None:
    """Rename the certificates, then cluster.yaml: a run that was killed before needs cluster.yaml."""
    session, suffix = run.session, aside_suffix(datetime.now(UTC))
    folder = tls_folder(session.spec)
    say = run.terminal.say
    say("The members run as before. On this machine:")
    for path in filter(None, (session.folder / Path(folder).expanduser() if folder else None, file)):
        if path.exists():
            target = path.with_name(f"{path.name}.{suffix}")
            try:
                path.rename(target)
            except OSError as error:
                hint = f"run `mv {path} {target}`, then run the same command again"
                raise EtcdupError(f"cannot rename {path}: {error.strerror}", hint=hint) from None
            say(f"  {path} is now {target.name}")
    if not folder:
        say("  the files that `tls` names stay where they are")
    say("  backups and the journal stay where they are")
