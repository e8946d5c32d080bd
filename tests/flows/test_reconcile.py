"""Apply to a cluster that exists: drift, restarts, members that are down, and refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.host.actions import RESTART_UNIT, RunCommand
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.plan.host_steps import EnableUnit
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.commands import commands_of
from etcdup.errors import EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeMachine, FakeNetwork
from tests.support.fake_world import (
    TOKEN,
    RecordingReporter,
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

CONF = "/etc/etcd/etcd.conf"
DATA = "/var/lib/etcd"


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    """Return three machines with a healthy cluster."""
    return await running_network(spec_of(), tmp_path)


def kinds(answer: Plan | Refusal) -> list[str]:
    assert isinstance(answer, Plan), answer
    return [step.kind for step in answer.steps]


async def test_a_second_apply_changes_nothing(network: FakeNetwork, tmp_path: Path) -> None:
    results = await bring_up(spec_of(), network, tmp_path)
    assert all(result.ok for result in results)
    assert {command for _, command in network.commands} == {("etcd", "put")}


async def test_an_edited_file_is_drift_shown_as_a_diff_and_restored(
    network: FakeNetwork, tmp_path: Path
) -> None:
    conf = network.machines["infra2"].nodes[CONF]
    assert conf.content is not None
    conf.content = conf.content.replace(b'ETCD_SNAPSHOT_COUNT="10000"', b'ETCD_SNAPSHOT_COUNT="5"')
    answer = await make_plan(spec_of(), network, tmp_path)
    assert kinds(answer) == ["InstallFiles"]
    assert isinstance(answer, Plan)
    change = answer.steps[0].changes[0]  # type: ignore[attr-defined]
    assert '-ETCD_SNAPSHOT_COUNT="5"' in change.diff
    assert '+ETCD_SNAPSHOT_COUNT="10000"' in change.diff
    await bring_up(spec_of(), network, tmp_path)
    assert not any(RESTART_UNIT in command for _, command in network.commands), (
        "the process never read the edit"
    )


@pytest.mark.parametrize(("active", "reads_all"), [("inactive", False), ("failed", True)])
async def test_a_failed_unit_is_loaded_again(
    network: FakeNetwork, tmp_path: Path, active: str, reads_all: bool
) -> None:
    """Without a reload, systemd 252 answered "failed to load properly: Device or resource busy"."""
    observed = await observe(world_of(spec_of(), network, tmp_path))
    host = replace(observed.reachable()["infra2"], unit=UnitSeen(load="not-found", active=active))
    observed = replace(observed, hosts={**observed.hosts, "infra2": host})
    step = EnableUnit(host="infra2", reason="it is new")
    (command,) = commands_of(step, spec_of(), observed, TOKEN)
    assert isinstance(command, RunCommand)
    assert ("--no-reload" not in command.argv) == reads_all


@pytest.mark.parametrize("path", ["/etc/etcd/pki/peer-key.pem", "/etc/etcd/pki/ca.pem", CONF])
async def test_wrong_rights_are_corrected(network: FakeNetwork, tmp_path: Path, path: str) -> None:
    network.machines["infra1"].nodes[path].mode = 0o666
    assert kinds(await make_plan(spec_of(), network, tmp_path)) == ["InstallFiles"]
    await bring_up(spec_of(), network, tmp_path)
    assert network.machines["infra1"].nodes[path].mode != 0o666


async def test_a_changed_setting_rolls_followers_first_and_the_leader_last(
    network: FakeNetwork, tmp_path: Path
) -> None:
    spec = spec_of(more="etcd: {heartbeat_ms: 150, election_ms: 1500}\n")
    answer = await make_plan(spec, network, tmp_path)
    leader = next(iter(network.etcd.leaders.values()))
    assert kinds(answer) == ["InstallFiles", "RestartMember"] * 3
    assert isinstance(answer, Plan)
    assert [step.host for step in answer.steps][-1] == leader  # type: ignore[attr-defined]
    results = await bring_up(spec, network, tmp_path)
    assert all(result.ok for result in results)
    commands = [command for name, command in network.commands if name == leader]
    restart = next(n for n, command in enumerate(commands) if RESTART_UNIT in command)
    assert commands.index(("etcd", "move-leader")) < restart
    assert next(iter(network.etcd.leaders.values())) != leader


async def test_a_roll_is_finished_after_a_kill_at_any_command(tmp_path: Path) -> None:
    spec = spec_of(more="etcd: {heartbeat_ms: 150, election_ms: 1500}\n")
    assert await kill_everywhere(await prepare_start(spec_of(), spec, tmp_path), spec) > 15


@pytest.mark.parametrize("stopped", [1, 2, 3])
async def test_starting_what_is_stopped_is_finished_after_a_kill_at_any_command(
    tmp_path: Path, stopped: int
) -> None:
    start = await prepare_start(spec_of(), spec_of(), tmp_path)
    for machine in list(start.network.machines.values())[:stopped]:
        machine.process = None
    assert await kill_everywhere(start, spec_of()) >= stopped


async def test_a_stopped_member_is_started(network: FakeNetwork, tmp_path: Path) -> None:
    network.machines["infra3"].process = None
    assert kinds(await make_plan(spec_of(), network, tmp_path)) == ["StartMember"]
    assert all(result.ok for result in await bring_up(spec_of(), network, tmp_path))


async def test_machines_come_back_by_themselves_after_a_power_cut(
    network: FakeNetwork, tmp_path: Path
) -> None:
    for machine in network.machines.values():
        network.reboot(machine.name)
    assert kinds(await make_plan(spec_of(), network, tmp_path)) == []


@pytest.mark.parametrize("lost", ["everything", "log"])
async def test_a_wiped_member_is_never_started_empty(
    texts: Texts, network: FakeNetwork, tmp_path: Path, lost: str
) -> None:
    machine = network.machines["infra2"]
    machine.process = None
    machine.remove(f"{DATA}/member/wal/0.wal" if lost == "log" else f"{DATA}/member")
    answer = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
    network.reboot(machine.name)
    assert machine.process is None, "the unit of the member refuses the start as well"


async def test_no_restart_while_another_member_is_down(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    network.machines["infra3"].reachable = False
    network.machines["infra3"].process = None
    answer = await make_plan(
        spec_of(more="etcd: {heartbeat_ms: 150, election_ms: 1500}\n"), network, tmp_path
    )
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def test_an_unreachable_host_is_not_changed_and_is_noted(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    network.machines["infra3"].reachable = False
    answer = await make_plan(spec_of(), network, tmp_path)
    assert kinds(answer) == []
    assert isinstance(answer, Plan)
    assert answer.unknown == ("infra3",)
    texts(answer.notes[0])
    with pytest.raises(EtcdupError) as caught:
        await bring_up(spec_of(), network, tmp_path)
    texts(caught.value)
    assert network.machines["infra3"].process is not None


async def test_a_connection_lost_in_the_middle_leaves_a_cluster_partly_applied(
    texts: Texts, tmp_path: Path
) -> None:
    spec = spec_of()
    network = machines_for(spec)
    world = world_of(spec, network, tmp_path)
    answer = planner_of(spec)(await observe(world))
    assert isinstance(answer, Plan)

    class Cutting(RecordingReporter):
        def doing(self, host: str, what: str) -> None:
            if host == "infra2" and what.startswith("sending"):
                network.machines["infra2"].reachable = False

    with (
        Journal.in_folder(tmp_path, "prod") as journal,
        pytest.raises(PartlyApplied) as caught,
    ):
        await apply(world, answer, planner_of(spec), Cutting([]), journal)
    texts(caught.value)
    network.machines["infra2"].reachable = True
    assert all(result.ok for result in await bring_up(spec, network, tmp_path))


async def test_a_stale_plan_is_refused(texts: Texts, network: FakeNetwork, tmp_path: Path) -> None:
    network.machines["infra3"].process = None
    answer = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(answer, Plan)
    network.machines["infra2"].nodes[CONF].mode = 0o666
    world = world_of(spec_of(), network, tmp_path)
    with (
        Journal.in_folder(tmp_path, "prod") as journal,
        pytest.raises(RefusedError) as caught,
    ):
        await apply(world, answer, planner_of(spec_of()), RecordingReporter([]), journal)
    texts(caught.value)


def foreign_data(machine: FakeMachine) -> None:
    machine.put(f"{DATA}/base/PG_VERSION", b"15")


def other_cluster(machine: FakeMachine) -> None:
    machine.put("/etc/etcd/etcdup.json", OTHER.encode())


def taken_port(machine: FakeMachine) -> None:
    machine.ports_taken[2380] = "nginx"


def wrong_clock(machine: FakeMachine) -> None:
    machine.clock_ahead_s = -3600


def small_disk(machine: FakeMachine) -> None:
    machine.free_bytes = 10 * 1024**2


def other_arch(machine: FakeMachine) -> None:
    machine.arch = "riscv64"


def no_systemd(machine: FakeMachine) -> None:
    machine.systemd = False


def disconnect(machine: FakeMachine) -> None:
    machine.reachable = False


OTHER = '{"cluster": "other", "member": "m1", "token": "t", "data_dir": "/var/lib/etcd", "formed": true}'


@pytest.mark.parametrize(
    "spoil",
    [
        foreign_data,
        other_cluster,
        taken_port,
        wrong_clock,
        small_disk,
        other_arch,
        no_systemd,
        disconnect,
    ],
)
async def test_a_bootstrap_is_refused_before_any_change(
    texts: Texts, tmp_path: Path, spoil: Callable[[FakeMachine], None]
) -> None:
    network = machines_for(spec_of())
    spoil(network.machines["infra2"])
    before = {name: dict(machine.nodes) for name, machine in network.machines.items()}
    answer = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)
    assert {name: machine.nodes for name, machine in network.machines.items()} == before
    assert network.commands == []


async def test_a_host_that_trusts_another_ca_is_refused(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = await make_plan(spec_of(), network, elsewhere)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def test_a_patch_version_is_installed_and_rolled(network: FakeNetwork, tmp_path: Path) -> None:
    spec = spec_of(version="3.6.13")
    kinds_of = kinds(await make_plan(spec, network, tmp_path))
    assert kinds_of.count("InstallBinaries") == 3
    assert kinds_of[-6:] == ["SwitchBinaries", "RestartMember"] * 3
    assert all(result.ok for result in await bring_up(spec, network, tmp_path))
    for machine in network.machines.values():
        assert machine.process is not None
        assert machine.process.exe == "/opt/etcd/3.6.13/etcd"
        assert machine.children("/opt/etcd") == ["3.6.13", "3.6.14", "current"]


async def test_no_secret_is_in_the_journal_or_a_plan(network: FakeNetwork, tmp_path: Path) -> None:
    keys = [path.read_text() for path in (tmp_path / "pki").rglob("*-key.pem")]
    assert len(keys) == 12, "those of the CA, the backups and the operator, and three for each member"
    written = (tmp_path / ".etcdup" / "prod.jsonl").read_text()
    assert "InstallFiles" in written
    for key in keys:
        for line in key.splitlines()[1:-1]:
            assert line not in written
