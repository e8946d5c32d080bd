"""The verbs of a random sequence, as in the other flows, without the terminal."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.ca_rotation import RotationStage, rotation_stage
from etcdup.core.certs.renewal import certs_to_renew, plan_renewal
from etcdup.core.certs.revocation import certs_to_revoke, plan_revocation
from etcdup.core.maintain.defrag import plan_defrag
from etcdup.core.maintain.leadership import best_follower, plan_move_leader
from etcdup.core.members.member_list import member_list
from etcdup.core.members.quorum import voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.archives import plan_delete_archives
from etcdup.core.planner.confirm_endpoints import with_confirmed_endpoints
from etcdup.core.planner.destroy import plan_destroy
from etcdup.core.planner.offline_defrag import plan_offline_defrag
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.planner.restart import observe_starts, plan_drain, plan_restart
from etcdup.core.planner.rotate_ca import next_stage, plan_ca_rotation
from etcdup.core.recovery.recovery import can_come_back
from etcdup.core.restore.attempt import restore_token
from etcdup.core.restore.restore import plan_restore
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.verdict import judge
from etcdup.errors import RefusedError
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.members.members import connect_healthy_member
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World
from etcdup.testing.network import FakeNetwork
from tests.flows.test_fix_space import fix_space as fix
from tests.flows.test_quorum_repair import repair_quorum
from tests.flows.test_recover import recover
from tests.flows.test_repair import repair
from tests.flows.test_restore import snapshot_in
from tests.flows.test_restore_keys import history_in, restore_keys
from tests.flows.test_undo_restore import undo_restore as undo
from tests.support.fake_world import RecordingReporter, aside, lock_of, planner_of, world_of

RENEW_ALL_DAYS = 100_000


@dataclass(frozen=True)
class Operator:
    """A cluster.yaml and the folder next to it. `run` makes the names of moved data unique."""

    spec: Spec
    network: FakeNetwork
    folder: Path
    run: int

    @property
    def token(self) -> str:
        """Return the token of a cluster that this run forms. Each run makes another one."""
        return f"{self.spec.name}-{self.run:012x}"

    def world(self) -> World:
        return world_of(self.spec, self.network, self.folder)


Verb = Callable[[Operator], Awaitable[None]]
Answer = Callable[[Observed], Plan | Refusal]


async def apply_file(operator: Operator) -> None:
    planner = with_confirmed_endpoints(operator.spec, planner_of(operator.spec, operator.token))
    await carry_out(operator, planner, proved=True)


def renew_certs(days: int | None = None) -> Verb:
    """Return `certs renew`: those that are due, or that end within these days."""

    async def run(operator: Operator) -> None:
        chosen = certs_to_renew(operator.spec, await observe(operator.world()), days)
        await carry_out(operator, lambda fresh: plan_renewal(operator.spec, fresh, chosen), proved=False)

    return run


def revoke_certs(name: str) -> Verb:
    async def run(operator: Operator) -> None:
        world = operator.world()
        observed = await observe(world)
        issued = {**world.pki.archived_certs(), **observed.pki.certs}
        chosen = certs_to_revoke(name, issued, observed.at)
        await carry_out(operator, lambda fresh: plan_revocation(operator.spec, fresh, chosen), proved=False)

    return run


async def rotate_ca(operator: Operator) -> None:
    stage = next_stage(operator.spec, await observe(operator.world()), operator.token)
    await carry_out_stage(operator, stage)


async def lose_ca_key(operator: Operator) -> None:
    """Lose the key of the CA, and run `certs rotate-ca --lost-key`. If it is refused, the key is found again."""
    key, kept = operator.folder / "pki/ca-key.pem", operator.folder / "ca-key.pem"
    if not key.exists() or rotation_stage(operator.world().pki.observe()) is not None:
        return
    key.rename(kept)
    try:
        await carry_out_stage(operator, "trust", lost_key=True)
    finally:
        if rotation_stage(operator.world().pki.observe()) is None:
            kept.rename(key)


async def keep_old_ca(operator: Operator) -> None:
    await carry_out_stage(operator, "keep")


async def carry_out_stage(operator: Operator, stage: RotationStage, *, lost_key: bool = False) -> None:
    spec, token = operator.spec, operator.token
    await carry_out(
        operator,
        lambda fresh: plan_ca_rotation(spec, fresh, token, stage),
        proved=True,
        lost_key=lost_key,
    )


def replace_member(name: str, *, moves: bool = False) -> Verb:
    """Return `member replace`. `moves`: with the `--address` that cluster.yaml has already."""

    async def run(operator: Operator) -> None:
        spec = operator.spec
        member_id = id_to_replace(spec, name, await observe(operator.world()), moves=moves)
        if not isinstance(member_id, int):
            raise_refusal(Refusal(spec.name, (member_id,)))

        def planner(fresh: Observed) -> Plan | Refusal:
            return plan_replacement(spec, name, member_id, fresh, operator.token)

        await carry_out(operator, with_confirmed_endpoints(spec, planner), proved=True)

    return run


def restart_members(*names: str) -> Verb:
    """Return `restart`: all members of cluster.yaml without names."""

    async def run(operator: Operator) -> None:
        spec = operator.spec
        chosen = names or tuple(host.name for host in spec.hosts)
        before = observe_starts(chosen, await observe(operator.world()))
        await carry_out(operator, lambda fresh: plan_restart(spec, fresh, "fresh-token", before), proved=True)

    return run


def drain_member(name: str) -> Verb:
    async def run(operator: Operator) -> None:
        await carry_out(
            operator, lambda fresh: plan_drain(operator.spec, name, fresh, operator.token), proved=False
        )

    return run


async def delete_archives(operator: Operator) -> None:
    spec, first = operator.spec, await observe(operator.world())
    chosen = {(name, path) for name, seen in first.reachable().items() for path in seen.archives}
    await carry_out(
        operator, lambda fresh: plan_delete_archives(spec, fresh, chosen, with_undo=False), proved=False
    )


def defragment(*names: str) -> Verb:
    """Return `maintain defrag`: all members of cluster.yaml without names."""

    async def run(operator: Operator) -> None:
        spec = operator.spec
        chosen = names or tuple(host.name for host in spec.hosts)
        await carry_out(
            operator,
            lambda fresh: plan_defrag(spec, fresh, chosen, every=not names),
            proved=False,
            reads_activity=True,
        )

    return run


async def read_status(operator: Operator) -> None:
    """Do what `status` does. It must have an answer for every state."""
    judge(operator.spec, await observe(operator.world()))


async def destroy_cluster(operator: Operator) -> None:
    spec, suffix = operator.spec, aside(operator.run)
    await carry_out(operator, lambda fresh: plan_destroy(spec, fresh, suffix), proved=False)


async def defragment_offline(operator: Operator) -> None:
    spec = operator.spec
    names = [host.name for host in spec.hosts]

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_offline_defrag(spec, fresh, operator.token, names, 0, every=True)

    await carry_out(operator, planner, proved=True, reads_activity=True)


async def fix_space(operator: Operator) -> None:
    await fix(operator.spec, operator.network, operator.folder)


async def move_leader(operator: Operator) -> None:
    spec, first = operator.spec, await observe(operator.world())
    target = best_follower(first)
    await carry_out(
        operator, lambda fresh: plan_move_leader(spec, fresh, target), proved=False, reads_activity=True
    )


def repair_member(name: str) -> Verb:
    async def run(operator: Operator) -> None:
        if name not in {host.name for host in operator.spec.hosts}:
            raise RefusedError(f"{name} is not in cluster.yaml")
        await repair(operator.spec, operator.network, operator.folder, name)

    return run


async def remove_named(operator: Operator) -> None:
    """Run the commands of the hints of `maintain repair`: `etcdup ctl -- member remove ID`.

    They name learners, and members of an even number that are not in cluster.yaml.
    """
    world = operator.world()
    observed = await observe(world)
    client = await connect_healthy_member(world, observed, "")
    operator.network.changes_need_lock = False  # etcdctl knows no lock
    try:
        names = {host.name for host in operator.spec.hosts}
        is_even = voter_count(observed) >= 4 and voter_count(observed) % 2 == 0
        for each in member_list(observed):
            if each.is_learner or (is_even and each.name not in names):
                await client.remove(each.member_id, timeout_s=5.0)
    finally:
        operator.network.changes_need_lock = True


async def restore_backup(operator: Operator) -> None:
    await restore_file(operator, snapshot_in(operator.folder))


async def restore_file(operator: Operator, snapshot: SnapshotFile) -> None:
    spec = operator.spec
    token = restore_token(spec, await observe(operator.world()), f"prod-restored-{operator.run}")
    await carry_out(
        operator,
        lambda fresh: plan_restore(spec, fresh, snapshot, token, aside(operator.run)),
        proved=True,
    )


async def restore_old_keys(operator: Operator) -> None:
    """The keys are those of no client of the sequence."""
    before = history_in(operator.folder)
    await restore_keys(operator.network, operator.folder, before, spec=operator.spec)


async def undo_restore(operator: Operator) -> None:
    await undo(operator.spec, operator.network, operator.folder, operator.run)


def recover_without(fenced: tuple[str, ...]) -> Verb:
    """Return the verb: it repairs the quorum where that is possible, and rebuilds the cluster otherwise."""

    async def run(operator: Operator) -> None:
        if can_come_back(operator.spec, await observe(operator.world())):
            await repair_quorum(operator.spec, operator.network, operator.folder)
            return
        await recover(operator.spec, operator.network, operator.folder, fenced, operator.run)

    return run


async def carry_out(
    operator: Operator, planner: Answer, *, proved: bool, reads_activity: bool = False, lost_key: bool = False
) -> None:
    """Plan and apply a change under the lock of the cluster, as `etcdup` does."""
    world = operator.world()
    if lost_key:
        world.pki.accept_lost_key()
    world.reads_activity = reads_activity
    plan = planner(await observe(world))
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(operator.folder, operator.spec.name) as journal:
        reporter = RecordingReporter([])
        async with lock_of(world, operator.network) as world.lock:
            if proved:
                await apply(world, plan, planner, reporter, journal)
            else:
                await apply_without_proof(world, plan, planner, reporter, journal)
