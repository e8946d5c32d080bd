"""`etcdup recover`: repair the quorum if that is possible, otherwise rebuild the cluster from one member's data."""

import asyncio
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from etcdup.cli.run.change import (
    Change,
    ChangeRun,
    ClusterName,
    YesNo,
    make_plan,
    require_take_over,
    run_change,
)
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session
from etcdup.core.etcd.wal import LastEntry
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.recovery.quorum_repair import expired_certs, plan_quorum_repair, refuse_rebuild
from etcdup.core.recovery.recovery import (
    begun_recovery,
    can_come_back,
    plan_recovery,
    recovery_notes,
    refuse_recovery,
    refuse_recovery_copies,
    survivors,
)
from etcdup.core.restore.attempt import restore_token
from etcdup.core.restore.client_notes import restart_line
from etcdup.core.spec.model import Spec
from etcdup.errors import PartlyApplied, UsageError
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.ops.recovery.quorum_repair import inspect_full_disks, wait_for_quorum
from etcdup.ops.recovery.recovery import (
    RecoverySource,
    choose_source,
    measure_copies,
    prepare_salvage,
    read_logs_beyond_snapshots,
    world_of_one,
)
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


def recover_cluster(
    file: Path,
    name: str | None,
    fenced: Sequence[str],
    *,
    copies: bool = True,
    as_json: bool = False,
) -> int:
    """Recover the cluster. `name` is its name if the operator confirmed with an option."""
    session = Session.begin(file, named=name)
    flags = () if copies else ("--without-copy",)
    verb = " ".join(("recover", *(f"--fenced {each}" for each in fenced), *flags))
    run = ChangeRun(session, verb, as_json=as_json)
    return run.run_to_exit(_recover(run, frozenset(fenced), sure=name is not None, copies=copies))


async def _recover(run: ChangeRun, fenced: Set[str], *, sure: bool, copies: bool) -> None:
    """Try the repair that loses no data first (rule 68)."""
    session = run.session
    async with session.world() as world:
        observed = session.require_formed(await session.observe(world))
        require_take_over(run, observed)
        if unknown := sorted(fenced - observed.hosts.keys()):
            raise UsageError(f"--fenced: cluster {world.spec.name} has no member {', '.join(unknown)}")
        if not can_come_back(world.spec, observed):
            await _rebuild(run, world, observed, fenced, sure=sure, copies=copies)
            return
        if not await _repair_quorum(run, world, observed, sure=sure):
            return
    # The connections from before the repair may still use an expired certificate of the operator.
    async with session.world() as world:
        await _prove_quorum(run, world)


async def _repair_quorum(run: ChangeRun, world: World, observed: Observed, *, sure: bool) -> bool:
    """Restart existing members. Return False if the plan was only shown."""
    spec, disks = world.spec, await inspect_full_disks(world, observed)
    chosen = expired_certs(spec, observed)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_quorum_repair(spec, fresh, chosen, disks)

    plan = make_plan(run, planner, observed)
    if plan.is_empty:
        raise_refusal(Refusal(spec.name, refuse_rebuild(spec, observed, disks)))
    question = YesNo("This plan loses no data. Apply it?", f"--yes-recover {spec.name}")
    change = Change(planner, None if sure else question, prove=False)
    return await run_change(run, world, change, plan, observed) is not None


async def _prove_quorum(run: ChangeRun, world: World) -> None:
    spec, observed = world.spec, await run.session.observe(world)
    async with run.terminal.wait_notice("waiting for a quorum"):
        is_back, results = await wait_for_quorum(world, observed)
    run.report_health(results)
    if is_back:
        for line in _quorum_repaired_lines(observed):
            run.terminal.say(line)
        return
    observed = await run.session.observe(world)
    (reason,) = refuse_rebuild(spec, observed, await inspect_full_disks(world, observed)) or (None,)
    raise PartlyApplied(
        "the quorum repair did not restore the quorum",
        detail=reason.message if reason else "",
        hint=reason.hint if reason else f"run `etcdup {run.verb}` again",
    )


async def _rebuild(
    run: ChangeRun, world: World, observed: Observed, fenced: Set[str], *, sure: bool, copies: bool
) -> None:
    """Rebuild the cluster on one host.

    These are two changes if the newest data is on the disk of a stopped member: the first change only copies it.
    """
    spec, terminal = world.spec, run.terminal
    if begun_recovery(spec, observed) is None and (
        reasons := refuse_recovery(spec, observed, observed.unreachable())
    ):
        raise_refusal(Refusal(spec.name, reasons))
    fenced = await _confirm_powered_off(run, observed, fenced)
    otherwise = "nothing was changed"
    if logs := await _read_logs(run, world, observed, copies=copies):
        chosen = await _salvage(run, world, observed, logs, fenced, sure=sure)
        otherwise = f"nothing was rebuilt; etcd is stopped, and its data is unchanged; {run.resume_hint()}"
    else:
        async with terminal.wait_notice("saving a snapshot of each surviving member"):
            chosen = await choose_source(world, observed, fenced, terminal.report)
    if chosen is None:
        return
    effect = (
        f"This rebuilds cluster {spec.name} on {chosen.host} alone. It stops each old member that etcdup can reach, "
        "and archives its data."
    )
    confirm = None if sure else ClusterName(spec.name, "recover", effect, otherwise)
    terminal.say(f"A snapshot of the data of {chosen.host} is in {chosen.path}.")
    one = world_of_one(world, observed, chosen.host, fenced)
    notes = recovery_notes(spec, observed, chosen.host, fenced, salvaged=chosen.salvaged)
    observed = await run.session.observe(one)
    planner = await _recovery_planner(run.session, one, observed, chosen.path, notes, copies=copies)
    observed = await run.session.resolve_binaries(one, observed)
    plan = make_plan(run, planner, observed)
    results = await run_change(run, one, Change(planner, confirm), plan, observed)
    if results is not None:
        run.report_health(results)
        for line in _next_steps(spec, chosen.host):
            terminal.say(line)


async def _confirm_powered_off(run: ChangeRun, observed: Observed, fenced: Set[str]) -> Set[str]:
    """Ask the operator to name each unreachable host as powered off (rule 65). Return all hosts that are named."""
    for name in sorted(observed.unreachable().keys() - fenced):
        if run.report is not None or not run.terminal.can_confirm:
            break
        run.terminal.say(
            f"{name} is not reachable, so etcdup cannot stop its member. If the host still runs, clients can write to "
            f"the old cluster there. After your answer, etcdup treats {name} as powered off."
        )
        typed = await run.terminal.ask(f"Power it off, then type its name ({name}): ")
        if typed != name:
            raise Interrupted(f"this is not the name {name}; nothing was changed")
        fenced = fenced | {name}
    return fenced


async def _read_logs(
    run: ChangeRun, world: World, observed: Observed, *, copies: bool
) -> Mapping[str, LastEntry]:
    """Return the write-ahead logs that have more entries than each surviving member has applied.

    Without copies they are read only if there is no surviving member.
    """
    if not copies and survivors(world.spec, observed):
        return {}
    async with run.terminal.wait_notice("reading the ends of the write-ahead logs"):
        return await read_logs_beyond_snapshots(world, observed)


async def _salvage(
    run: ChangeRun,
    world: World,
    observed: Observed,
    logs: Mapping[str, LastEntry],
    fenced: Set[str],
    *,
    sure: bool,
) -> RecoverySource | None:
    """Take a snapshot from the disk of a member that does not respond. Return None if the plan was only shown."""
    one, planner, chosen = await prepare_salvage(world, observed, logs, fenced, run.terminal.report)
    observed = await run.session.observe(one)
    effect = (
        "This stops etcd on each host that etcdup can reach, and takes a snapshot from a copy of the data of "
        f"{chosen.host}. The data itself is not changed. Then etcdup shows the next plan and asks again."
    )
    confirm = None if sure else ClusterName(world.spec.name, "recover", effect)
    change, plan = Change(planner, confirm, prove=False), make_plan(run, planner, observed)
    return chosen if await run_change(run, one, change, plan, observed) is not None else None


async def _recovery_planner(
    session: Session, world: World, observed: Observed, path: Path, notes: tuple[str, ...], *, copies: bool
) -> Planner:
    """Return the planner of the rebuild. Raise RefusedError if a host has no free space for the copy of its data."""
    spec, snapshot = world.spec, await asyncio.to_thread(read_snapshot, path)
    suffix, token = aside_suffix(observed.at), restore_token(spec, observed, session.generate_token())
    if copies:
        sizes = await measure_copies(world, observed, token)
        if reasons := refuse_recovery_copies(spec, observed, snapshot, token, sizes):
            raise_refusal(Refusal(spec.name, tuple(reasons)))

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_recovery(spec, fresh, snapshot, token, suffix, notes, copies)

    return planner


def _quorum_repaired_lines(observed: Observed) -> tuple[str, ...]:
    gone = sorted(observed.unreachable())
    lines = ["", "The quorum is back. No data was lost, and nothing was rebuilt."]
    if gone:
        lines.append(
            f"{', '.join(gone)} is not reachable. Run `etcdup apply` after the machine is back. If it is lost, run "
            "`etcdup member replace NAME`."
        )
    return tuple(lines)


def _next_steps(spec: Spec, chosen: str) -> tuple[str, ...]:
    return (
        "",
        f"Cluster {spec.name} serves clients again, with {chosen} as its only member. It cannot lose a member yet.",
        "Start new machines with the addresses of the lost hosts, or write other hosts into cluster.yaml. Then run "
        "`etcdup apply`, which adds the new members one by one.",
        restart_line(spec.version),
    )
