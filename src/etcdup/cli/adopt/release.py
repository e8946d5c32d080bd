"""`etcdup adopt --release`: remove the markers, and rename the local files. The cluster continues to run."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, YesNo, apply_change, confirm_change, make_plan
from etcdup.cli.run.session import Session
from etcdup.core.adopt.adoption import plan_release
from etcdup.core.adopt.local_names import tls_folder
from etcdup.core.observed.model import Observed, aside_suffix
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import TlsSpec
from etcdup.errors import EtcdupError
from etcdup.ops.backups.scratch_folder import scratch_folder


def release_cluster(file: Path, *, yes: bool, as_json: bool) -> int:
    """Remove the marker of each host, then rename cluster.yaml and its certificates. Nothing is deleted."""
    session = Session.begin(file)
    run = ChangeRun(session, "adopt --release", as_json=as_json)
    confirm = None if yes else YesNo(f"Release cluster {session.spec.name}? Its members continue to run.")
    return run.run_to_exit(_release(run, file, confirm))


async def _release(run: ChangeRun, file: Path, confirm: YesNo | None) -> None:
    session = run.session

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_release(session.spec, observed)

    with scratch_folder("release") as scratch:
        # Only markers are read. So this works without certificates: an earlier run may have renamed them already.
        bare = session.spec.model_copy(update={"tls": TlsSpec(dir=str(scratch / "pki"))})
        async with replace(session, spec=bare).world() as world:
            observed = await session.observe(world)
            plan = make_plan(run, planner, observed)
            if plan.is_empty:
                run.terminal.say("no host has a marker of this cluster")
            change = Change(planner, confirm, prove=False, show=not plan.is_empty)
            if not await confirm_change(run, change, plan):
                return
            if not plan.is_empty:
                await apply_change(run, world, change, plan, observed)
    _rename_local_files(run, file)


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
