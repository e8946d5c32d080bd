"""A running fake cluster that another tool installed: etcdup has no marker, no unit and no binary on its machines."""

import shutil
from dataclasses import replace
from pathlib import Path

from etcdup.core.adopt.adoption import plan_adoption, plan_release
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.ops.adopt.equal_data import require_equal_data
from etcdup.ops.adopt.local_files import issue_own_files
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World
from etcdup.testing.machine import UNIT
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import RecordingReporter, lock_of, running_network, world_of

FOREIGN_UNIT = b"[Service]\nExecStart=/opt/tool/3.6.14/etcd\n"


async def foreign_network(spec: Spec, folder: Path) -> FakeNetwork:
    """Return machines on which another tool runs the cluster. The folder has its CA, and nothing else of etcdup."""
    network = await running_network(spec, folder)
    make_foreign(network, spec, folder)
    return network


def make_foreign(network: FakeNetwork, spec: Spec, folder: Path) -> None:
    """Make a cluster of etcdup one that another tool made: its units start its members, also after a reboot."""
    for machine in network.machines.values():
        if machine.process is None:
            continue
        for path in ("/etc/etcd/etcdup.json", "/etc/etcd/pki/generation.json", "/opt/etcd", "/usr/local/bin"):
            machine.remove(path)
        machine.put(UNIT, FOREIGN_UNIT)
        machine.loaded_unit = FOREIGN_UNIT
        machine.process.exe = f"/opt/tool/{spec.version}/etcd"
        environment = machine.process.environment
        for name in [each for each in environment if each.startswith("ETCDUP_") or "ALLOWED_CN" in each]:
            del environment[name]
        machine.old_process = replace(machine.process)
    _keep_only(folder, "pki")
    _keep_only(folder / "pki", "ca.pem", "ca-key.pem")
    network.commands.clear()


def _keep_only(folder: Path, *names: str) -> None:
    for each in folder.iterdir():
        if each.name not in names:
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def cluster_id(network: FakeNetwork) -> int:
    """Return the ID of the cluster of the first member that runs."""
    running = (each.process for each in network.machines.values() if each.process is not None)
    return next(running).cluster.cluster_id


async def adopt(spec: Spec, network: FakeNetwork, folder: Path) -> Plan:
    """Run `etcdup adopt` once, without the terminal and the inspection."""
    issue_own_files(spec, folder, network.now())

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_adoption(spec, cluster_id(network), observed)

    world = world_of(spec, network, folder)
    world.observes_foreign = True
    observed = await observe(world)
    plan = planner(observed)
    if isinstance(plan, Plan) and not plan.is_empty:
        await require_equal_data(world, observed)
    return await change(world, network, folder, planner, "adopt")


async def release(spec: Spec, network: FakeNetwork, folder: Path) -> Plan:
    """Run `etcdup adopt --release` once, without the terminal and without its last step, which renames local files."""

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_release(spec, observed)

    return await change(world_of(spec, network, folder), network, folder, planner, "adopt --release")


async def change(
    world: World, network: FakeNetwork, folder: Path, planner: Planner, verb: str, *, prove: bool = False
) -> Plan:
    """Plan and apply a change, without the terminal. Return the plan. Raise RefusedError if it is refused."""
    plan = planner(await observe(world))
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, world.spec.name) as journal:
        async with lock_of(world, network, verb) as world.lock:
            if prove:
                await apply(world, plan, planner, RecordingReporter([]), journal)
            else:
                await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)
    return plan
