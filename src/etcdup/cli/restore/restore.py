"""`etcdup restore`."""

import asyncio
from pathlib import Path

from etcdup.cli.apply.apply import ApplyRun
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import WATCHERS_TO_RESTART
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.model import Observed, aside_suffix
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import StartRestored
from etcdup.core.restore.restore import can_bump, plan_restore, restore_token, was_restored
from etcdup.core.restore.snapshot_origin import refuse_foreign_snapshot
from etcdup.core.restore.undo import can_undo, plan_undo
from etcdup.errors import RefusedError
from etcdup.ops.backups.destinations import open_destinations
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.restore.snapshot_source import SnapshotSource, fetch_source, read_source
from etcdup.ops.world.health import Health
from etcdup.ops.world.refusal import Planner
from etcdup.ops.world.world import World


def restore_cluster(
    file: Path,
    snapshot: Path,
    name: str | None,
    *,
    again: bool,
    origin: str | None = None,
    identity: Path | None = None,
    as_json: bool = False,
) -> int:
    """`name` is the cluster's, given instead of being asked for it; `origin` the one whose data it is said to be."""
    session = Session.begin(file, named=name)
    source = SnapshotSource(
        snapshot, origin or session.spec.name, Identity.read(identity) if identity else None
    )
    restoring = RestoreRun(
        session, source, sure=name is not None, again=again, whose_is_said=origin is not None, as_json=as_json
    )
    return restoring.run_to_exit()


def undo_restore(file: Path, name: str | None, *, as_json: bool = False) -> int:
    """Puts back what the last restore moved aside."""
    session = Session.begin(file, named=name)
    return UndoRestoreRun(session, sure=name is not None, as_json=as_json).run_to_exit()


class NameConfirmedRun(ApplyRun):
    """An apply that asks for the cluster's name rather than for a yes."""

    async def confirm(self, question: str) -> None:  # noqa: ARG002
        await self.confirm_by_name("restore", "exchange its data", "restored")


class UndoRestoreRun(NameConfirmedRun):
    """One run of `restore --undo`."""

    def __init__(self, session: Session, *, sure: bool, as_json: bool) -> None:
        super().__init__(session, "restore --undo", yes=sure, as_json=as_json)

    def planner(self, observed: Observed) -> Planner:
        spec, suffix = self.session.spec, aside_suffix(observed.at)
        begun = can_undo(spec, observed)

        def planned(observed: Observed) -> Plan | Refusal:
            return plan_undo(spec, observed, suffix, resumed=begun)

        return planned

    async def _apply(
        self, world: World, plan: Plan, observed: Observed, planner: Planner
    ) -> tuple[Health, ...]:
        results = await super()._apply(world, plan, observed, planner)
        if any(isinstance(step, StartRestored) for step in plan.steps):
            for line in _undone_lines(self.session.spec.name):
                self.terminal.say(line)
        return results


class RestoreRun(NameConfirmedRun):
    """One run of restore: an apply by its own planner."""

    def __init__(
        self,
        session: Session,
        source: SnapshotSource,
        *,
        sure: bool,
        again: bool,
        whose_is_said: bool,
        as_json: bool,
    ) -> None:
        super().__init__(session, f"restore {source.named}", yes=sure, as_json=as_json)
        self._source = source
        self._again = again
        self._whose_is_said = whose_is_said
        self._snapshot: SnapshotFile | None = None

    async def run(self) -> None:
        with scratch_folder("restore") as folder:
            self._snapshot = await self._read_snapshot(folder)
            await super().run()

    async def _read_snapshot(self, folder: Path) -> SnapshotFile:
        source, terminal = self._source, self.terminal
        if not source.is_in_store:
            async with terminal.wait_notice(f"reading {source.named}"):
                return await asyncio.to_thread(read_source, source, folder)
        places = open_destinations(self.session.spec.backup, self.session.folder)
        async with terminal.wait_notice(f"fetching {source.named} from {places.title}"):
            return await fetch_source(places, source, folder, terminal.report, terminal.warn)

    def planner(self, observed: Observed) -> Planner:
        spec, snapshot, suffix = self.session.spec, self._snapshot, aside_suffix(observed.at)
        assert snapshot is not None
        token = restore_token(spec, observed, self.session.generate_token())
        if was_restored(spec, observed, snapshot) and not self._again:
            hint = "`--again` restores it once more; what was written since is then moved aside"
            raise RefusedError(
                f"{snapshot.title} is what cluster {spec.name} was restored from already", hint=hint
            )

        against = () if self._whose_is_said else refuse_foreign_snapshot(spec, observed, snapshot)

        def planned(observed: Observed) -> Plan | Refusal:
            return plan_restore(spec, observed, snapshot, token, suffix, against=against)

        return planned

    async def _apply(
        self, world: World, plan: Plan, observed: Observed, planner: Planner
    ) -> tuple[Health, ...]:
        results = await super()._apply(world, plan, observed, planner)
        for line in _restored_lines(self.session.spec.name, bumped=can_bump(self.session.spec.version)):
            self.terminal.say(line)
        return results


def _restored_lines(name: str, *, bumped: bool) -> tuple[str, ...]:
    """What only those can do who use the cluster (rules 69, 104)."""
    watchers = (
        "Revisions went on above the old ones, so that watchers notice"
        if bumped
        else "This version cannot raise revisions: watchers that are not restarted may miss changes"
    )
    return (f"Cluster {name} has the snapshot's data. {watchers}.", _RESTART_WATCHERS, "")


def _undone_lines(name: str) -> tuple[str, ...]:
    """Nothing can raise revisions of data that was not restored by etcd's tool (rule 58)."""
    return (
        f"Cluster {name} has the data of before the restore, and its revisions too: they are lower than the restored "
        "cluster's, so that a watcher that goes on waits for ever, and says nothing.",
        _RESTART_WATCHERS,
        "",
    )


_RESTART_WATCHERS = f"Restart what watches it now: {WATCHERS_TO_RESTART}."
