"""A lost quorum without an answering member, on fakes: the disk used, what is refused, a kill after every command."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.recovery.disk_salvage import ATTEMPTS, PORTS
from etcdup.ops.recovery.recovery import RecoverySource, prepare_salvage, read_logs_beyond_snapshots
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner
from etcdup.ops.world.world import World
from etcdup.testing.network import FakeNetwork
from tests.flows.test_recover import (
    BOTH,
    choose_data,
    cluster_ids,
    copied_logs,
    expect_refusal,
    kill_and_finish,
    recover,
    stored_keys,
)
from tests.flows.test_restore import old_logs
from tests.support.fake_world import spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, prepare_start
from tests.support.texts import Texts

COPY = "/var/lib/etcd.salvage"


async def lose_power(
    tmp_path: Path, size: int = 3, back: tuple[str, ...] = ("infra1",)
) -> tuple[Spec, Start]:
    """Return a cluster with a key after a power cut. The hosts in `back` run again, without a leader or an answer."""
    spec = spec_of(size)
    start = await prepare_start(spec, spec, tmp_path)
    network = start.network
    await (await world_of(spec, network, start.folder).etcd("infra1")).put(b"/registry/a", b"1", timeout_s=1)
    for name in network.machines:
        network.crash(name)
    for name in back:
        network.reboot(name)
    network.commands.clear()
    return spec, start


async def prepare(world: World, fenced: tuple[str, ...]) -> tuple[World, Planner, RecoverySource]:
    observed = await observe(world)
    return await prepare_salvage(
        world, observed, await read_logs_beyond_snapshots(world, observed), fenced, lambda _: None
    )


def stop_infra1(network: FakeNetwork) -> None:
    network.machines["infra1"].process = None


def fill_disk(network: FakeNetwork) -> None:
    network.machines["infra1"].free_bytes = 1000


def remove_etcd(network: FakeNetwork) -> None:
    network.machines["infra1"].remove("/opt/etcd/current")


@pytest.mark.parametrize("change", [None, stop_infra1], ids=["silent", "stopped"])
async def test_the_cluster_is_rebuilt_from_the_disk_of_the_reachable_host(
    texts: Texts, tmp_path: Path, change: Callable[[FakeNetwork], None] | None
) -> None:
    spec, start = await lose_power(tmp_path)
    network, folder = start.copy_to("one")
    if change:
        change(network)
    world = world_of(spec, network, folder)
    one, planner, _ = await prepare(world, BOTH)
    assert network.commands == []
    plan = planner(await observe(one))
    assert isinstance(plan, Plan)
    kinds = [step.kind for step in plan.steps]
    assert kinds == (["SalvageData"] if change else ["StopMembers", "SalvageData"])
    texts(plan.notes)

    plan = await recover(spec, network, folder)
    texts(plan.notes)
    assert stored_keys(network, "infra1")[b"/registry/a"] == b"1"
    (kept,) = (folder / "backups").glob("*-recover-infra1-*.db")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert copied_logs(network, "infra1") == [old_logs(start)["infra1"]]
    assert_nothing_left(network)
    for name in BOTH:
        network.reboot(name)
    await apply_and_check(spec, network, folder)
    assert stored_keys(network, "infra2")[b"/registry/a"] == b"1"


async def test_of_two_logs_the_newer_one_is_used_and_both_members_are_stopped(
    texts: Texts, tmp_path: Path
) -> None:
    """The term counts first: a log with more entries may have entries that no other member accepted."""
    spec, start = await lose_power(tmp_path, 5, ("infra1", "infra2"))
    network, folder = start.copy_to("one")
    network.machines["infra1"].log_end, network.machines["infra2"].log_end = (2, 90), (3, 80)
    gone = ("infra3", "infra4", "infra5")
    plan = await recover(spec, network, folder, gone)
    texts(plan.notes[0])
    assert network.machines["infra1"].process is None
    assert stored_keys(network, "infra2")[b"/registry/a"] == b"1"
    assert_nothing_left(network)


@pytest.mark.parametrize(
    "logs",
    [
        (None, (2, 5)),
        (None, (4, 90)),
        ((4, 80), (3, 90)),
    ],
)
async def test_a_disk_is_used_only_if_its_log_is_newer_than_every_snapshot(
    texts: Texts, tmp_path: Path, logs: tuple[tuple[int, int] | None, tuple[int, int]]
) -> None:
    """infra1 has run all the time and answers; infra2 was restarted. Both can be reached, three of five are lost."""
    spec = spec_of(5)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    gone = ("infra3", "infra4", "infra5")
    for name in ("infra2", *gone):
        network.crash(name)
    network.reboot("infra2")
    network.machines["infra1"].log_end, network.machines["infra2"].log_end = logs
    plan = await recover(spec, network, folder, gone)
    texts(plan.notes)
    kept = [path.name for path in (folder / "backups").glob("*-recover-*.db")]
    assert any("-infra1-" in name for name in kept), "a survivor's snapshot is kept in any case"
    assert len(cluster_ids(network)) == 1
    assert_nothing_left(network)


@pytest.mark.parametrize(
    "change",
    [
        fill_disk,
        remove_etcd,
    ],
)
async def test_refused_before_any_member_stops(
    texts: Texts, tmp_path: Path, change: Callable[[FakeNetwork], None]
) -> None:
    spec, start = await lose_power(tmp_path)
    network, folder = start.copy_to("one")
    change(network)
    world = world_of(spec, network, folder)
    one, planner, _ = await prepare(world, BOTH)
    answer = planner(await observe(one))
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
    assert network.commands == []


async def test_the_others_have_to_be_fenced_first(texts: Texts, tmp_path: Path) -> None:
    spec, start = await lose_power(tmp_path)
    network, folder = start.copy_to("one")
    refusal = await expect_refusal(spec, network, folder)
    texts(refusal)
    world = world_of(spec, network, folder)
    with pytest.raises(RefusedError) as caught:
        await prepare(world, ("infra2",))
    texts(caught.value)
    network.reboot("infra2")
    refusal = await expect_refusal(spec, network, folder)
    texts(refusal)


async def test_a_log_that_changed_after_it_was_read_is_not_used(texts: Texts, tmp_path: Path) -> None:
    spec, start = await lose_power(tmp_path)
    network, folder = start.copy_to("one")
    world = world_of(spec, network, folder)

    def moves() -> None:
        network.machines["infra1"].log_end = (9, 99)

    network.at(1, moves)
    with pytest.raises(EtcdupError) as caught:
        await choose_data(world, await observe(world), BOTH)
    texts(caught.value)
    assert_nothing_left(network)
    assert not list((folder / "backups").glob("*.db"))


async def test_if_its_ports_are_taken_the_salvage_starts_again_on_other_ports(
    texts: Texts, tmp_path: Path
) -> None:
    spec, start = await lose_power(tmp_path)
    taken = dict.fromkeys(PORTS, "another program")
    whole, folder = start.copy_to("whole")
    whole.machines["infra1"].ports_taken = dict(taken)
    with pytest.raises(EtcdupError) as caught:
        await recover(spec, whole, folder)
    texts(caught.value)
    holds = [number for number, (_, argv) in enumerate(whole.commands, 1) if argv[0] == "hold"]
    assert len(holds) == ATTEMPTS
    assert_nothing_left(whole)

    network, folder = start.copy_to("one")
    machine = network.machines["infra1"]
    machine.ports_taken = taken
    network.at(holds[0] + 1, machine.ports_taken.clear)
    await recover(spec, network, folder)
    assert stored_keys(network, "infra1")[b"/registry/a"] == b"1"
    assert_nothing_left(network)


@pytest.mark.parametrize("kind", ["killed", "crash", "crash and killed"])
async def test_after_a_kill_at_any_command_the_same_recover_finishes(tmp_path: Path, kind: str) -> None:
    spec, start = await lose_power(tmp_path)
    uncut, folder = start.copy_to("uncut")
    await recover(spec, uncut, folder)
    assert ("infra1", ("hold", "etcdup-salvage")) in uncut.commands
    async for network, folder in kill_and_finish(spec, start, kind):
        assert stored_keys(network, "infra1")[b"/registry/a"] == b"1"
        assert set(copied_logs(network, "infra1")) == {old_logs(start)["infra1"]}
        assert_nothing_left(network)
        for name in BOTH:
            network.reboot(name)
        await apply_and_check(spec, network, folder)
        assert stored_keys(network, "infra2")[b"/registry/a"] == b"1"


def assert_nothing_left(network: FakeNetwork) -> None:
    for machine in network.machines.values():
        assert machine.temporary_etcd is None
        assert not [path for path in machine.nodes if "salvage" in path or path.endswith(".part")]
