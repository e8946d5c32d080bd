"""`etcdup archive list` and `etcdup archive delete`."""

import shlex
from datetime import timedelta
from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change
from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.session import Session
from etcdup.cli.views.archives_view import archives_json, render_archives, total_text
from etcdup.cli.views.text import json_text
from etcdup.core.host.archives import Archive
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import DeleteArchives
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.archives import WITH_UNDO, is_for_undo, plan_delete_archives
from etcdup.core.spec.units import WrongValue, parse_duration
from etcdup.errors import EXIT_DONE, EXIT_FAILED, EtcdupError, PartlyApplied, UsageError
from etcdup.ops.world.archives import ArchivesFound, read_archives


def list_archives(file: Path, *, as_json: bool) -> int:
    """Print the archives of all hosts. Return 1 if those of a host could not be read."""
    session = Session.begin(file)
    observed, found = session.run(_read(session))
    for_undo = [each for each in found.archives if is_for_undo(each.host, each.path, session.spec, observed)]
    for name, why in found.failed.items():
        session.terminal.warn(f"{name}: cannot read the archives: {why}")
    text = (
        json_text(archives_json(found.archives, for_undo, found.failed))
        if as_json
        else session.terminal.with_file(render_archives(found.archives, for_undo))
    )
    session.terminal.print_data(text)
    return EXIT_FAILED if found.failed else EXIT_DONE


async def _read(session: Session) -> tuple[Observed, ArchivesFound]:
    async with session.world() as world:
        observed = await session.observe(world)
        return observed, await read_archives(world, observed)


def delete_archives(
    file: Path, name: str | None, *, older_than: str | None, with_undo: bool, yes: bool, as_json: bool
) -> int:
    """Delete the archives of all hosts, or of one, that are at least this old."""
    session = Session.begin(file)
    names, age = chosen_hosts(session.spec, file, name), _age(older_than)
    run = ChangeRun(session, delete_verb(name, older_than, with_undo=with_undo), as_json=as_json)
    return run.run_to_exit(_delete(run, names, age, with_undo=with_undo, yes=yes))


def delete_verb(name: str | None, older_than: str | None, *, with_undo: bool) -> str:
    """Return the verb with the options that decide what it deletes, for the journal and the hint that resumes."""
    age = f"--older-than {shlex.quote(older_than)}" if older_than else ""
    return " ".join(filter(None, ("archive delete", name, age, WITH_UNDO if with_undo else "")))


def _age(older_than: str | None) -> timedelta:
    try:
        return timedelta(seconds=0 if older_than is None else parse_duration(older_than))
    except WrongValue as error:
        raise UsageError(f"--older-than: {error}", hint=error.hint) from None


async def _delete(run: ChangeRun, names: list[str], age: timedelta, *, with_undo: bool, yes: bool) -> None:
    session = run.session
    async with session.world() as world:
        first = await session.observe(world)
        found = await read_archives(world, first)
        old = [each for each in found.archives if each.host in names and each.at <= first.at - age]
        chosen = {(each.host, each.path) for each in old}

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_delete_archives(session.spec, observed, chosen, with_undo=with_undo)

        plan = make_plan(run, planner, first)
        if plan.is_empty:
            run.show_plan(plan)
        else:
            question = YesNo(f"Delete {total_text(_deleted(plan, old))}? This cannot be undone.")
            await run_change(run, world, Change(planner, None if yes else question, prove=False), plan, first)
    _raise_for_failed(found.failed, names, plan)


def _deleted(plan: Plan, archives: list[Archive]) -> list[Archive]:
    paths = {
        (step.host, path) for step in plan.steps if isinstance(step, DeleteArchives) for path in step.paths
    }
    return [each for each in archives if (each.host, each.path) in paths]


def _raise_for_failed(failed: dict[str, str], names: list[str], plan: Plan) -> None:
    left = [name for name in names if name in failed]
    if left:
        error = EtcdupError if plan.is_empty else PartlyApplied
        raise error(
            f"the archives of {', '.join(left)} could not be read, so they are still there",
            detail="\n".join(f"{name}: {failed[name]}" for name in left),
            hint="make SSH to these hosts work, then run the same command again",
        )
