"""Starts of members: starts that wait in systemd's queue, and members that fail with new files or a new version."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeMachine, FakeNetwork
from etcdup.testing.systemd import restart_failed
from tests.support.fake_world import (
    TOKEN,
    RecordingReporter,
    add_machines,
    bring_up,
    machines_for,
    make_plan,
    planner_of,
    running_network,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import kill_everywhere, prepare_start
from tests.support.texts import Texts

SETTING = "etcd: {heartbeat_ms: 150, election_ms: 1500}\n"
BUSY_S = 90.0


class Screen(RecordingReporter):
    """A reporter that keeps what hosts do."""

    def __init__(self) -> None:
        super().__init__([])
        self.texts: list[tuple[str, str]] = []

    def doing(self, host: str, what: str) -> None:
        if what:
            self.texts.append((host, what))


async def apply_on_screen(spec: Spec, network: FakeNetwork, folder: Path) -> Screen:
    """Apply, which must succeed, and return what was shown."""
    world, screen = world_of(spec, network, folder), Screen()
    plan = planner_of(spec)(await observe(world))
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        results = await apply(world, plan, planner_of(spec), screen, journal)
    assert all(result.ok for result in results)
    return screen


def boot_late(network: FakeNetwork, *names: str) -> None:
    """Let network-online.target of these machines be reached only after a while."""
    for name in names:
        network.machines[name].online_at = network.now() + BUSY_S


async def member_why(spec: Spec, network: FakeNetwork, folder: Path, name: str) -> str:
    member = (await observe(world_of(spec, network, folder))).members[name]
    return getattr(member, "why", "")


# A start that waits in systemd's queue


async def test_a_cluster_forms_on_machines_that_booted_a_moment_ago(tmp_path: Path) -> None:
    network = machines_for(spec_of())
    boot_late(network, "infra1", "infra2", "infra3")
    screen = await apply_on_screen(spec_of(), network, tmp_path)
    for name in network.machines:
        assert (name, f"waiting for network-online.target on {name}") in screen.texts


@pytest.mark.parametrize("verb", ["join", "restart", "start"])
async def test_every_start_waits_for_systemd(tmp_path: Path, verb: str) -> None:
    network = await running_network(spec_of(), tmp_path)
    spec = {"join": spec_of(5), "restart": spec_of(more=SETTING), "start": spec_of()}[verb]
    add_machines(network, spec)
    name = "infra4" if verb == "join" else "infra2"
    boot_late(network, name)
    if verb == "start":
        network.reboot(name)
        assert network.machines[name].process is None
    screen = await apply_on_screen(spec, network, tmp_path)
    assert (name, f"waiting for network-online.target on {name}") in screen.texts


async def test_after_a_power_cut_apply_waits_for_all_machines(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    boot_late(network, *network.machines)
    for name in network.machines:
        network.reboot(name)
    assert await member_why(spec_of(), network, tmp_path, "infra2") == (
        "etcd is not started yet: systemd waits for network-online.target"
    )
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    assert [step.kind for step in plan.steps] == ["StartMember"] * 3
    await apply_on_screen(spec_of(), network, tmp_path)


async def test_a_start_that_is_queued_for_too_long_is_named(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    network.machines["infra2"].online_at = network.now() + 10_000
    network.reboot("infra2")
    network.machines["infra2"].log.append('{"level":"error","msg":"a line of the last life"}')
    with pytest.raises(PartlyApplied) as raised:
        await bring_up(spec_of(), network, tmp_path)
    texts(raised.value)
    assert raised.value.detail == ""


async def test_a_kill_while_starts_are_queued_is_finished_by_the_next_apply(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(), spec_of(), tmp_path)
    boot_late(start.network, *start.network.machines)
    for name in start.network.machines:
        start.network.reboot(name)
    assert await kill_everywhere(start, spec_of()) > 3


# A member that fails


Break = Callable[[FakeMachine], None]


def fail_once(machine: FakeMachine) -> None:
    """The unit waits for its next restart."""
    machine.end_etcd(2)
    machine.restarts = 6


def stop(machine: FakeMachine) -> None:
    """An operator has stopped the unit."""
    machine.end_etcd(0)


STATES = [fail_once, stop]


async def test_the_failing_member_of_a_host_that_leaves_is_explained(texts: Texts, tmp_path: Path) -> None:
    """cluster.yaml does not name the host any more."""
    network = await running_network(spec_of(), tmp_path)
    network.machines["infra3"].log.append('{"level":"fatal","msg":"discovery failed"}')
    fail_once(network.machines["infra3"])
    texts(await member_why(spec_of(1), network, tmp_path, "infra3"))


async def upgrade_fails(network: FakeNetwork, folder: Path, state: Break | None) -> EtcdupError:
    """Upgrade to a version that exits at its start on infra1, and return the error."""
    for machine in network.machines.values():
        machine.rejects = {"/3.7.1/": PANIC}
    with pytest.raises(PartlyApplied) as raised:
        await bring_up(spec_of(version="3.7.1"), network, folder)
    failed = next(machine for machine in network.machines.values() if machine.process is None)
    if state is not None:
        state(failed)
    return raised.value


FULL_DISK = '{"level":"fatal","msg":"write: no space left on device"}'
PANIC = 'panic: {"level":"panic","msg":"cannot parse a v2 request"}'


async def test_a_failed_upgrade_says_how_to_go_back(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    error = await upgrade_fails(network, tmp_path, None)
    texts(error)
    assert not error.resumes


@pytest.mark.parametrize("state", [None, *STATES])
@pytest.mark.parametrize("more", ["", SETTING])
async def test_a_failed_upgrade_is_taken_back_in_any_state(
    tmp_path: Path, state: Break | None, more: str
) -> None:
    network = await running_network(spec_of(), tmp_path)
    await upgrade_fails(network, tmp_path, state)
    network.commands.clear()
    await apply_on_screen(spec_of(more=more), network, tmp_path)
    versions = {machine.process.version for machine in network.machines.values() if machine.process}
    assert [str(version) for version in versions] == ["3.6.14"]
    assert all(machine.process for machine in network.machines.values())


async def test_a_failed_upgrade_of_a_single_member_is_taken_back(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(1), tmp_path)
    network.machines["infra1"].rejects = {"/3.7.1/": PANIC}
    with pytest.raises(PartlyApplied) as caught:
        await bring_up(spec_of(1, version="3.7.1"), network, tmp_path)
    texts(caught.value)
    plan = await make_plan(spec_of(1), network, tmp_path)
    assert isinstance(plan, Plan), plan
    assert [step.kind for step in plan.steps] == ["SwitchBinaries", "StartMember"]
    await apply_on_screen(spec_of(1), network, tmp_path)


async def test_a_member_that_stopped_before_its_hop_is_started_with_the_new_version(
    texts: Texts, tmp_path: Path
) -> None:
    """The cluster has begun the hop, so the member makes it too: checked, and then started once."""
    network = await running_network(spec_of(version="3.5.33"), tmp_path)
    (leader,) = network.etcd.leaders.values()
    network.machines[leader].rejects = {"/3.6.14/": PANIC}
    with pytest.raises(PartlyApplied) as caught:
        await bring_up(spec_of(version="3.6.14"), network, tmp_path)
    texts(caught.value)
    failed = next(machine for machine in network.machines.values() if machine.process is None)
    failed.rejects.clear()
    failed.nodes["/opt/etcd/current"].link = "3.5.33"
    plan = await make_plan(spec_of(version="3.6.14"), network, tmp_path)
    assert isinstance(plan, Plan), plan
    own = [step.kind for step in plan.steps if getattr(step, "host", "") == failed.name]
    assert own == ["CheckV2Store", "SwitchBinaries", "StartMember"]
    await apply_on_screen(spec_of(version="3.6.14"), network, tmp_path)


@pytest.mark.parametrize("state", STATES)
async def test_a_kill_while_an_upgrade_is_taken_back(tmp_path: Path, state: Break) -> None:
    start = await prepare_start(spec_of(), spec_of(), tmp_path)
    await upgrade_fails(start.network, start.folder, state)
    start.network.restart_etcdup()
    assert await kill_everywhere(start, spec_of()) > 3


@pytest.mark.parametrize("state", STATES)
async def test_a_stopped_member_gets_its_files_and_its_binary_before_one_start(
    tmp_path: Path, state: Break
) -> None:
    network = await running_network(spec_of(), tmp_path)
    await upgrade_fails(network, tmp_path, state)
    plan = await make_plan(spec_of(more=SETTING), network, tmp_path)
    assert isinstance(plan, Plan), plan
    (failed,) = [name for name, machine in network.machines.items() if machine.process is None]
    own = [step.kind for step in plan.steps if getattr(step, "host", "") == failed]
    assert own == ["InstallFiles", "SwitchBinaries", "StartMember"]


@pytest.mark.parametrize("state", STATES)
async def test_a_member_that_failed_on_a_new_version_can_be_replaced(tmp_path: Path, state: Break) -> None:
    network = await running_network(spec_of(), tmp_path)
    await upgrade_fails(network, tmp_path, state)
    (failed,) = [name for name, machine in network.machines.items() if machine.process is None]
    observed = await observe(world_of(spec_of(), network, tmp_path))
    ident = id_to_replace(spec_of(), failed, observed)
    assert isinstance(ident, int)
    plan = plan_replacement(spec_of(), failed, ident, observed, TOKEN)
    assert isinstance(plan, Plan), plan
    assert "JoinMember" in [step.kind for step in plan.steps]


async def test_hosts_are_not_refused_because_a_stopped_member_has_another_version(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    await upgrade_fails(network, tmp_path, stop)
    spec = spec_of([1, 2, 3, 4, 5])
    add_machines(network, spec)
    await apply_on_screen(spec, network, tmp_path)


async def test_a_member_with_a_bad_file_is_taken_back(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    bad = spec_of(more="etcd: {extra: {snapshot-count: 7}}\n")
    for machine in network.machines.values():
        machine.rejects = {'ETCD_SNAPSHOT_COUNT="7"': PANIC}
    with pytest.raises(PartlyApplied) as caught:
        await bring_up(bad, network, tmp_path)
    texts(caught.value)
    await apply_on_screen(spec_of(), network, tmp_path)


async def test_the_start_that_systemd_makes_with_the_new_files_is_awaited(tmp_path: Path) -> None:
    """systemd starts a failed member again by itself. If that start has the new binary, apply has nothing to start."""
    start = await prepare_start(spec_of(), spec_of(), tmp_path)
    await upgrade_fails(start.network, start.folder, fail_once)
    start.network.restart_etcdup()
    whole, folder = start.copy_to("whole")
    await apply_on_screen(spec_of(), whole, folder)
    switched = [command[0] for _, command in whole.commands].index("mv") + 1
    network, folder = start.copy_to("raced")
    failed = next(machine for machine in network.machines.values() if machine.process is None)

    def start_by_systemd() -> None:
        failed.start_s = 20.0
        failed.failed_at = network.now() - 60
        restart_failed(failed)

    network.at(switched, start_by_systemd)
    screen = await apply_on_screen(spec_of(), network, folder)
    assert (failed.name, "waiting until it responds") in screen.texts


async def test_a_crash_loop_on_a_full_disk_names_the_disk_in_status_and_in_the_next_apply(
    texts: Texts,
    tmp_path: Path,
) -> None:
    network = await running_network(spec_of(), tmp_path)
    full = network.machines["infra3"]
    full.rejects = {"/opt/etcd/": FULL_DISK}
    full.end_etcd(2, FULL_DISK)
    for _ in range(2):
        texts(await member_why(spec_of(), network, tmp_path, "infra3"))
        with pytest.raises(EtcdupError) as raised:
            await bring_up(spec_of(), network, tmp_path)
        texts(raised.value)


async def test_an_archive_that_does_not_fit_is_reported_without_the_script(
    texts: Texts, tmp_path: Path
) -> None:
    network = await running_network(spec_of(), tmp_path)
    network.machines["infra2"].free_bytes = 10
    with pytest.raises(EtcdupError) as raised:
        await bring_up(spec_of(version="3.7.1"), network, tmp_path)
    texts(raised.value)


async def test_a_learner_with_a_bad_file_is_taken_back(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    bad = spec_of(5, "etcd: {extra: {snapshot-count: 7}}\n")
    add_machines(network, bad)
    network.machines["infra4"].rejects = {'ETCD_SNAPSHOT_COUNT="7"': PANIC}
    with pytest.raises(EtcdupError) as caught:
        await bring_up(bad, network, tmp_path)
    texts(caught.value)
    await apply_on_screen(spec_of(5), network, tmp_path)
