"""Verbs that exchange data on a mount point and a separate log, killed after every command.

Both directories belong to user etcd. The fake fails a test in which root names a path in them.
"""

from pathlib import Path

import pytest

from etcdup.core.host.actions import RunCommand
from etcdup.core.plan.plan import Refusal
from etcdup.core.restore.attempt import restore_token
from etcdup.core.restore.restore import plan_restore
from etcdup.core.spec.model import Spec
from etcdup.ops.world.observe import observe
from etcdup.testing.commands import execute
from etcdup.testing.network import FakeNetwork
from tests.flows.test_destroy import contents, destroy
from tests.flows.test_restore import assert_restored, old_logs, restore, snapshot_in
from tests.flows.test_undo_restore import assert_old, undo_restore
from tests.support.fake_world import bring_up, machines_for, spec_of, world_of
from tests.support.kill_everywhere import Start, kill_after, kill_points
from tests.support.texts import Texts

DATA, LOG = "/var/lib/etcd", "/var/lib/etcd-log/wal"
OF_ETCD = "etcd:etcd"


@pytest.fixture(params=["", f"etcd: {{wal_dir: {LOG}}}\n"], ids=["one disk", "log disk"])
def spec(request: pytest.FixtureRequest) -> Spec:
    return spec_of(1, request.param)


async def start_on_mount(spec: Spec, folder: Path) -> Start:
    operator = folder / "operator"
    operator.mkdir()
    network = machines_for(spec)
    for machine in network.machines.values():
        machine.make_dir(DATA)
        machine.mounts.add(DATA)
    await bring_up(spec, network, operator)
    network.restart_etcdup()
    return Start(network, operator)


def assert_rights(network: FakeNetwork) -> None:
    for machine in network.machines.values():
        nodes = [machine.nodes[path] for path in (DATA, "/var/lib/etcd-log", LOG) if path in machine.nodes]
        assert {(node.owner, node.mode) for node in nodes} == {(OF_ETCD, 0o700)}


async def test_a_restore_and_an_undo_are_finished_after_a_kill(spec: Spec, tmp_path: Path) -> None:
    start = await start_on_mount(spec, tmp_path)
    old = old_logs(start)
    whole, folder = start.copy_to("whole")
    await restore(spec, whole, folder, snapshot_in(folder))
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, restore(spec, network, folder, snapshot_in(folder)))
        await restore(spec, network, folder, snapshot_in(folder))
        await assert_restored(spec, network, folder)
        assert_rights(network)
        for name, log in old.items():
            assert log in contents(network)[name], "the old data is archived"


async def test_an_interrupted_restore_is_undone_after_a_kill(spec: Spec, tmp_path: Path) -> None:
    start = await start_on_mount(spec, tmp_path)
    old = old_logs(start)
    for machine in start.network.machines.values():
        assert machine.process is not None
        machine.process.cluster.keys[b"/old"] = b"1"
    whole, folder = start.copy_to("whole")
    await restore(spec, whole, folder, snapshot_in(folder))
    argvs = [argv for _, argv in whole.commands]
    opened = next(number for number, argv in enumerate(argvs) if argv[:2] == ("systemctl", "restart"))
    for cut in kill_points(opened, 3):
        network, folder = start.copy_to(f"undo-{cut}")
        await kill_after(cut, network, restore(spec, network, folder, snapshot_in(folder)))
        machine = next(iter(network.machines.values()))
        marker = machine.file("/etc/etcd/etcdup.json")
        if marker is None or b"restored" not in (marker.content or b""):
            continue
        await undo_restore(spec, network, folder)
        await assert_old(spec, old, network, folder)
        assert_rights(network)


async def test_a_restore_without_the_disk_is_refused(spec: Spec, tmp_path: Path) -> None:
    """The restored data would be on the disk of the system, and the marker would no longer name a mount point."""
    start = await start_on_mount(spec, tmp_path)
    with start.copied("whole") as (whole, folder):
        await restore(spec, whole, folder, snapshot_in(folder))
    for cut in (0, *kill_points(len(whole.commands))):
        with start.copied(cut) as (network, folder):
            if cut:
                await kill_after(cut, network, restore(spec, network, folder, snapshot_in(folder)))
            machine = network.machines["infra1"]
            machine.wipe(DATA)
            machine.mounts.discard(DATA)
            world = world_of(spec, network, folder)
            observed = await observe(world)
            token = restore_token(spec, observed, "prod-restored-2")
            answer = plan_restore(spec, observed, snapshot_in(folder), token, "aside-2")
            assert isinstance(answer, Refusal), cut
            assert ("infra1", (32, 89)) in [(each.host, each.rules) for each in answer.reasons]


async def test_a_destroy_is_finished_after_a_kill(spec: Spec, tmp_path: Path) -> None:
    start = await start_on_mount(spec, tmp_path)
    before = contents(start.network)
    whole, folder = start.copy_to("whole")
    await destroy(spec, whole, folder)
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, destroy(spec, network, folder))
        await destroy(spec, network, folder, run=2)
        assert contents(network) == before, "nothing is deleted"


async def test_the_fake_refuses_a_command_of_root_below_a_directory_of_etcd(
    texts: Texts, spec: Spec, tmp_path: Path
) -> None:
    start = await start_on_mount(spec, tmp_path)
    machine = start.network.machines["infra1"]
    for argv in (("mkdir", "-p", f"{DATA}/aside-1"), ("mv", "-T", f"{DATA}/member", "/var/lib/member")):
        with pytest.raises(AssertionError) as caught:
            await execute(machine, RunCommand(argv, "").argv, b"", 1.0)
        texts(caught.value)
