"""The first half of `etcdup recover` where no member answers: a plan of its own, shown and agreed to like any other."""

from collections.abc import Collection, Mapping

from etcdup.cli.apply.apply import ApplyRun
from etcdup.cli.run.failure import Interrupted
from etcdup.core.etcd.wal import LastEntry
from etcdup.core.observed.model import Observed
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.recovery.recovery import RecoverySource, prepare_salvage
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.perform import Reporter
from etcdup.ops.world.world import World


class SalvageRun(ApplyRun):
    """An undertaking that may have to take the data off a disk first."""

    _what = "rebuild it"
    _stopped = False

    async def salvage(
        self, world: World, observed: Observed, logs: Mapping[str, LastEntry], fenced: Collection[str]
    ) -> RecoverySource | None:
        """The data, on this machine; None where it is left at the plan."""
        one, planner, chosen = await prepare_salvage(world, observed, logs, fenced, self.terminal.report)
        looked = await self.session.observe(one)
        plan = self._make_plan(planner, looked)
        self._what = "stop what runs there and take its data"
        if not await self._confirm_plan(plan):
            return None

        async def act(progress: Reporter, journal: Journal) -> Observed:
            return await apply_without_proof(one, plan, planner, progress, journal)

        await self.run_locked(one, plan, looked, act)
        self._what, self._stopped = "rebuild it", True
        return chosen

    async def confirm_recovery_by_name(self) -> None:
        """By the cluster's name, to whichever of the two plans; a no to the second leaves the first one done."""
        try:
            await self.confirm_by_name("recover", self._what, "rebuilt")
        except Interrupted:
            if not self._stopped:
                raise
            why = (
                f"nothing was rebuilt; etcd stays stopped there, and its data in place; {self.resume_hint()}"
            )
            raise Interrupted(why) from None
