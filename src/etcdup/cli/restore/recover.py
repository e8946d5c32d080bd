"""`etcdup recover`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from etcdup.cli.restore.salvage import SalvageRun
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.progress import Progress
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import WATCHERS_TO_RESTART
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.model import Observed, aside_suffix
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
from etcdup.core.restore.restore import restore_token
from etcdup.errors import PartlyApplied, UsageError
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.ops.recovery.quorum_repair import inspect_full_disks, wait_for_quorum
from etcdup.ops.recovery.recovery import (
    RecoverySource,
    choose_source,
    measure_copies,
    read_logs_beyond_snapshots,
    world_of_one,
)
from etcdup.ops.world.journal import Journal
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
    """`name` is the cluster's, given instead of being asked for it."""
    session = Session.begin(file, named=name)
    sure = name is not None
    return RecoverRun(session, fenced, sure=sure, copies=copies, as_json=as_json).run_to_exit()


class RecoverRun(SalvageRun):
    """One run of recover: an apply for the cluster of one survivor."""

    def __init__(
        self, session: Session, fenced: Sequence[str], *, sure: bool, copies: bool, as_json: bool
    ) -> None:
        flags = () if copies else ("--without-copy",)
        verb = " ".join(("recover", *(f"--fenced {name}" for name in fenced), *flags))
        super().__init__(session, verb, yes=sure, as_json=as_json)
        self._fenced = set(fenced)
        self._copies = copies
        self._chosen = ""
        self._revived = False

    async def run(self) -> None:
        async with self.session.world() as world:
            observed = await self.session.observe(world)
            if unknown := sorted(self._fenced - observed.hosts.keys()):
                raise UsageError(f"{', '.join(unknown)} is no member of cluster {world.spec.name}")
            if can_come_back(world.spec, observed):
                await self._repair_quorum(world, observed)
            else:
                await self._rebuild_from_survivor(world, observed)
        if self._revived:
            # Clients that were made before may hold a certificate of the operator's that has expired.
            async with self.session.world() as world:
                await self._prove_quorum(world)

    async def _repair_quorum(self, world: World, observed: Observed) -> None:
        """What costs nothing comes first (rule 68)."""
        spec, rooms, chosen = (
            world.spec,
            await inspect_full_disks(world, observed),
            expired_certs(world.spec, observed),
        )

        def planner(fresh: Observed) -> Plan | Refusal:
            return plan_quorum_repair(spec, fresh, chosen, rooms)

        plan = self._make_plan(planner, observed)
        if plan.is_empty:
            raise_refusal(Refusal(spec.name, refuse_rebuild(spec, observed, rooms)))
        self.show(plan)
        if not self._yes:
            if self.defer():
                return
            await super().confirm("Try this?")

        async def act(progress: Progress, journal: Journal) -> Observed:
            return await apply_without_proof(world, plan, planner, progress, journal)

        await self.run_locked(world, plan, observed, act)
        self._revived = True

    async def _prove_quorum(self, world: World) -> None:
        spec, observed = world.spec, await self.session.observe(world)
        async with self.terminal.wait_notice("waiting until the members find each other"):
            is_back, results = await wait_for_quorum(world, observed)
        self.report_health(results)
        if is_back:
            for line in _quorum_repaired_lines(observed):
                self.terminal.say(line)
            return
        observed = await self.session.observe(world)
        (reason,) = refuse_rebuild(spec, observed, await inspect_full_disks(world, observed)) or (None,)
        raise PartlyApplied(
            "the quorum did not come back by what costs nothing",
            detail=reason.message if reason else "",
            hint=reason.hint if reason else f"look again: `etcdup {self.verb}`",
        )

    async def _rebuild_from_survivor(self, world: World, observed: Observed) -> None:
        chosen = await self._choose_source(world, observed)
        if chosen is None:
            return
        self.terminal.say(f"The data of {chosen.host} is kept in {chosen.path}.")
        snapshot = await asyncio.to_thread(read_snapshot, chosen.path)
        told = recovery_notes(world.spec, observed, chosen.host, self._fenced, salvaged=chosen.salvaged)
        self._chosen = chosen.host
        await self._rebuild(world_of_one(world, observed, chosen.host, self._fenced), snapshot, told)

    async def _choose_source(self, world: World, observed: Observed) -> RecoverySource | None:
        """What stands against it comes before any question. Nothing is changed yet, but for a salvage; None where it is
        left at the plan of that."""
        spec, gone = world.spec, observed.unreachable()
        if begun_recovery(spec, observed) is None and (reasons := refuse_recovery(spec, observed, gone)):
            raise_refusal(Refusal(spec.name, reasons))
        await self._confirm_powered_off(observed)
        if self._copies or not survivors(spec, observed):
            async with self.terminal.wait_notice("reading how far the members' logs go"):
                logs = await read_logs_beyond_snapshots(world, observed)
            if logs:
                return await self.salvage(world, observed, logs, self._fenced)
        async with self.terminal.wait_notice("keeping the survivors' data"):
            return await choose_source(world, observed, self._fenced, self.terminal.report)

    async def _confirm_powered_off(self, observed: Observed) -> None:
        """Each host that nobody can look at has to be named by a person (rule 65)."""
        for name in sorted(observed.unreachable().keys() - self._fenced):
            if self.outcome is not None or not self.terminal.can_ask:
                return
            self.terminal.say(
                f"{name} cannot be reached. If it still runs, its old data must never be served."
            )
            typed = await self.terminal.ask(f"Switch it off, then type its name ({name}): ")
            if typed != name:
                raise Interrupted("that is not its name; nothing was changed")
            self._fenced.add(name)

    async def _rebuild(self, world: World, snapshot: SnapshotFile, told: tuple[str, ...]) -> None:
        observed = await self.session.observe(world)
        suffix, token = (
            aside_suffix(observed.at),
            restore_token(world.spec, observed, self.session.generate_token()),
        )
        if self._copies:
            sizes = await measure_copies(world, observed, token)
            if reasons := refuse_recovery_copies(world.spec, observed, snapshot, token, sizes):
                raise_refusal(Refusal(world.spec.name, tuple(reasons)))

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_recovery(world.spec, observed, snapshot, token, suffix, told, self._copies)

        await self._apply_recovery(world, await self.session.resolve_binaries(world, observed), planner)

    async def _apply_recovery(self, world: World, observed: Observed, planner: Planner) -> None:
        plan = self._make_plan(planner, observed)
        if not await self._confirm_plan(plan):
            return
        self.report_health(await self._apply(world, plan, observed, planner))
        for line in _next_steps(self.session.spec.name, self._chosen):
            self.terminal.say(line)

    async def confirm(self, question: str) -> None:  # noqa: ARG002
        await self.confirm_recovery_by_name()


def _quorum_repaired_lines(observed: Observed) -> tuple[str, ...]:
    gone = sorted(observed.unreachable())
    told = ["", "The quorum is back: nothing was lost, and nothing was rebuilt."]
    if gone:
        told.append(
            f"{', '.join(gone)} cannot be reached. `etcdup apply` once the machine is back; for a new one in its place "
            "`etcdup member replace NAME`."
        )
    return tuple(told)


def _next_steps(name: str, chosen: str) -> tuple[str, ...]:
    return (
        "",
        f"Cluster {name} serves again, from {chosen} alone: it cannot lose a member yet.",
        "Give the lost hosts' addresses to fresh machines, or name other hosts in cluster.yaml; then `etcdup apply` "
        "adds them one by one.",
        f"Restart what watches the cluster: {WATCHERS_TO_RESTART}.",
    )
