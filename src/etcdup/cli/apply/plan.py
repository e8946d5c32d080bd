"""`etcdup plan`."""

import json
import shlex
from pathlib import Path

from etcdup.cli.apply.warnings import check_tls_files, print_warnings, warn_of_exposed_keys
from etcdup.cli.run.session import Session
from etcdup.cli.views.plan_view import refusal_json, render_plan, render_refusal
from etcdup.cli.views.text import json_text
from etcdup.core.plan.plan import Plan, Refusal, Refused, plan_from_json, plan_to_json
from etcdup.core.spec.plain_value import is_token
from etcdup.errors import EXIT_CHANGES, EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, BadFile, Problem, UsageError
from etcdup.ops.pki.open import open_pki


def show_plan(
    file: Path, *, as_json: bool, out: Path | None, signal_changes: bool, confirmed: bool = False
) -> int:
    """Print the plan, or why it is refused (exit code 4)."""
    session = Session.begin(file)
    check_tls_files(session)
    planned = session.run(observe_and_plan(session, confirmed=confirmed))
    return show_planned(session, planned, as_json=as_json, out=out, signal_changes=signal_changes)


def show_planned(
    session: Session,
    planned: Plan | Refusal,
    *,
    as_json: bool = False,
    out: Path | None = None,
    signal_changes: bool = True,
) -> int:
    """Print a plan, or why it is refused, after the warnings. Return the exit code."""
    print_warnings(session)
    warn_of_exposed_keys(session, open_pki(session.spec, session.folder))
    if isinstance(planned, Refusal):
        text = json_text(refusal_json(planned))
        session.terminal.print_data(
            text if as_json else session.terminal.with_file(render_refusal(planned, session.terminal.out))
        )
        return EXIT_REFUSED
    if out is not None:
        save_plan(planned, out)
    if as_json:
        session.terminal.print_data(json_text(plan_to_json(planned)))
    else:
        session.terminal.print_data(
            session.terminal.with_file(render_plan(planned, session.terminal.out, session.terminal.width))
        )
    return exit_code_of(planned) if signal_changes else EXIT_DONE


def exit_code_of(plan: Plan) -> int:
    """Return 0 only if all hosts were observed and there is nothing to do on them."""
    if not plan.is_empty:
        return EXIT_CHANGES
    return EXIT_FAILED if plan.unknown else EXIT_DONE


async def observe_and_plan(session: Session, *, confirmed: bool = False) -> Plan | Refusal:
    """Observe the hosts, and return the plan."""
    async with session.world() as world:
        observed = await session.resolve_binaries(world, await session.observe_with_lock(world))
        return session.planner(confirmed=confirmed)(observed)


def save_plan(plan: Plan, path: Path) -> None:
    """Save the plan for `apply FILE`, with its token, so that the plan that is applied later is the same."""
    try:
        path.write_text(json_text(plan_to_json(plan)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def refuse_cluster_file(path: Path) -> None:
    """Raise UsageError if this is a cluster.yaml, because other tools take it as an argument."""
    if path.suffix in (".yaml", ".yml"):
        raise UsageError(
            f"{path} is not a saved plan: `apply` takes the path of cluster.yaml with `-f`",
            hint=f"run `etcdup -f {shlex.quote(str(path))} apply`",
        )


def read_plan(path: Path, cluster: str) -> Plan:
    """Return the saved plan. Raise BadFile if the file is not a plan of this cluster."""
    try:
        plan = plan_from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        hint = "run `etcdup plan --out FILE` to write one"
        raise BadFile(str(path), (Problem(0, 0, f"this is not a saved plan: {error}", hint),)) from None
    if plan.cluster != cluster:
        message = f"this is a plan of cluster {plan.cluster}, but cluster.yaml is of cluster {cluster}"
        raise BadFile(str(path), (Problem(0, 0, message),))
    if not is_token(plan.token):
        message = "this is not a saved plan: its token is not the token of a cluster"
        raise BadFile(str(path), (Problem(0, 0, message, "run `etcdup plan --out FILE` to write one"),))
    return plan


def refuse_stale_plan(saved: Plan, now: Plan) -> tuple[Refused, ...]:
    """Refuse a saved plan unless each of its steps is the same now, with its reason and its effect on the quorum."""
    if saved.steps == now.steps:
        return ()
    hint = "read the new plan above; to apply it, run `etcdup plan --out FILE` and `etcdup apply FILE` again"
    return (Refused("the saved plan is stale: the cluster state or cluster.yaml has changed", hint=hint),)
