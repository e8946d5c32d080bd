"""Quorum repair on fakes: what is tried, what is never changed, and a kill after every command."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.certs.renewal import plan_renewal
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import FULL_BYTES, free_space_hint
from etcdup.core.plan.member_steps import StartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import FreeSpace
from etcdup.core.planner.guards import refuse_first_disruptive, refuse_step
from etcdup.core.recovery.disk_space import can_free_enough
from etcdup.core.recovery.quorum_repair import expired_certs, plan_quorum_repair, refuse_rebuild
from etcdup.core.recovery.recovery import can_come_back, refuse_recovery
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.recovery.quorum_repair import inspect_full_disks, wait_for_quorum
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.test_recover import BOTH, crash_survivor, lose_quorum, recover
from tests.support.fake_world import RecordingReporter, spec_of, world_of
from tests.support.kill_everywhere import kill_points
from tests.support.observation_strategies import observations
from tests.support.texts import Texts

OLD_VERSION = "/opt/etcd/3.5.33/etcd"
UNFINISHED = "/var/lib/etcd.cold-prod-1.part/db"
LEFT = "/var/lib/etcd.salvage/member/snap/db"
OLD_DATA = "/var/lib/etcd.aside-20260101T000000Z/member/snap/db"
MIB = 1 << 20


async def repair_quorum(spec: Spec, network: FakeNetwork, folder: Path) -> Plan:
    """Run the first part of `etcdup recover`, without the terminal."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    assert can_come_back(spec, observed)
    spaces, expired = await inspect_full_disks(world, observed), expired_certs(spec, observed)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_quorum_repair(spec, fresh, expired, spaces)

    plan = planner(observed)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)
    return plan


async def check_quorum(spec: Spec, network: FakeNetwork, folder: Path) -> bool:
    world = world_of(spec, network, folder)
    return (await wait_for_quorum(world, await observe(world)))[0]


def stop_infra2(network: FakeNetwork) -> None:
    network.reboot("infra2")
    network.machines["infra2"].process = None


def fill_with_old_files(network: FakeNetwork) -> None:
    """Fill its disk: it has an old version, an unfinished copy and old data."""
    stop_infra2(network)
    machine = network.machines["infra2"]
    machine.free_bytes = FULL_BYTES - 3 * MIB
    for path in (OLD_VERSION, UNFINISHED, LEFT, OLD_DATA):
        machine.put(path, bytes(2 * MIB))


def spoil_leaf(network: FakeNetwork) -> None:
    """Let the host have an older leaf than the operator, as after a kill between issue and install."""
    stop_infra2(network)
    node = network.machines["infra2"].file("/etc/etcd/pki/peer.pem")
    assert node is not None
    node.content = b"of last year"


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (stop_infra2, ["StartMember"]),
        (fill_with_old_files, ["FreeSpace", "StartMember"]),
        (spoil_leaf, ["InstallFiles", "StartMember"]),
    ],
)
async def test_a_quorum_repair_brings_the_quorum_back(
    texts: Texts, tmp_path: Path, change: Callable[[FakeNetwork], None], kinds: list[str]
) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    change(network)
    assert not await check_quorum(spec, network, folder)
    plan = await repair_quorum(spec, network, folder)
    assert [step.kind for step in plan.steps] == kinds
    texts(plan.notes[0])
    assert await check_quorum(spec, network, folder)


async def test_only_what_etcdup_can_create_again_is_removed_to_free_space(tmp_path: Path) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    fill_with_old_files(network)
    (free, _) = (await repair_quorum(spec, network, folder)).steps
    assert isinstance(free, FreeSpace)
    assert free.paths == ("/opt/etcd/3.5.33", "/var/lib/etcd.cold-prod-1.part", "/var/lib/etcd.salvage")
    machine = network.machines["infra2"]
    assert machine.file(OLD_VERSION) is machine.file(UNFINISHED) is machine.file(LEFT) is None
    assert machine.file(OLD_DATA) is not None
    assert machine.file(f"/opt/etcd/{spec.version}/etcd") is not None


async def test_if_a_disk_would_stay_full_nothing_is_removed(tmp_path: Path) -> None:
    """The hint names the old data on the disk with its size."""
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    fill_with_old_files(network)
    network.machines["infra2"].free_bytes = MIB
    world = world_of(spec, network, folder)
    observed = await observe(world)
    spaces = await inspect_full_disks(world, observed)
    plan = plan_quorum_repair(spec, observed, {}, spaces)
    assert isinstance(plan, Plan)
    assert plan.steps == ()
    assert not can_free_enough(observed.reachable()["infra2"], spaces["infra2"])
    (reason,) = refuse_rebuild(spec, observed, spaces)
    assert reason.hint == (
        f"the disk of infra2 is full: {free_space_hint('infra2', observed.reachable()['infra2'].data)}. "
        "You can move this old data to another disk, or delete it with `etcdup archive delete`: "
        "/var/lib/etcd.aside-20260101T000000Z (2.0 MiB)"
    )
    assert network.commands == []


async def test_what_is_in_use_is_not_removed(texts: Texts, tmp_path: Path) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    observed = await observe(world_of(spec, network, folder))
    for path in (f"/opt/etcd/{spec.version}", "/opt/etcd/current", "/var/lib/etcd", "/opt/etcd/..", OLD_DATA):
        step = FreeSpace(host="infra1", paths=("/opt/etcd/3.5.33", path), reason="")
        (reason,) = refuse_step(step, spec, observed)
        texts(reason)
    assert refuse_step(FreeSpace(host="infra1", paths=("/opt/etcd/3.5.33",), reason=""), spec, observed) == ()


async def test_nothing_is_tried_without_the_data_of_a_quorum(tmp_path: Path) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    assert not can_come_back(spec, await observe(world_of(spec, network, folder)))
    crash_survivor(network)
    assert not can_come_back(spec, await observe(world_of(spec, network, folder)))
    for name in network.machines:
        network.reboot(name)
    assert not can_come_back(spec, await observe(world_of(spec, network, folder))), "the cluster has a quorum"


async def test_a_member_of_a_superseded_cluster_is_never_started_again(texts: Texts, tmp_path: Path) -> None:
    """It and another old member would be a quorum of the superseded cluster (rule 65)."""
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    await recover(spec, network, folder)
    network.reboot("infra2")
    for name in ("infra1", "infra2"):
        network.machines[name].process = None
    network.commands.clear()
    observed = await observe(world_of(spec, network, folder))
    assert not can_come_back(spec, observed)
    texts(refuse_recovery(spec, observed, BOTH)[0])
    (reason,) = refuse_step(StartMember(host="infra2", reason=""), spec, observed)
    texts(reason)
    renewal = plan_renewal(spec, observed, {})
    assert isinstance(renewal, Plan)
    assert [step.host for step in renewal.steps if isinstance(step, StartMember)] == ["infra1"]


@pytest.mark.parametrize("mode", ["managed", "provided"])
async def test_expired_certificates_are_renewed_by_their_owner(
    texts: Texts, tmp_path: Path, mode: str
) -> None:
    spec, start = await lose_quorum(tmp_path)
    stop_infra2(start.network)
    observed = await observe(world_of(spec, start.network, start.folder))
    later = replace(observed, at=observed.at + timedelta(days=spec.tls.days + 1))
    spec = spec.model_copy(update={"tls": spec.tls.model_copy(update={"mode": mode})})
    (reason,) = refuse_rebuild(spec, later)
    texts(reason)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([spec_of(1), spec_of(3)]).flatmap(lambda s: st.tuples(st.just(s), observations(s))))
def test_every_observation_has_an_answer(state: tuple[Spec, Observed]) -> None:
    spec, observed = state
    answer = plan_quorum_repair(spec, observed, expired_certs(spec, observed), {})
    if isinstance(answer, Plan):
        assert all(step.reason for step in answer.steps)
        assert refuse_first_disruptive(answer.steps, spec, observed) == ()


@pytest.mark.parametrize("change", [fill_with_old_files, spoil_leaf])
async def test_after_a_kill_at_any_command_the_same_recover_finishes(
    tmp_path: Path, change: Callable[[FakeNetwork], None]
) -> None:
    spec, start = await lose_quorum(tmp_path)
    change(start.network)
    whole, folder = start.copy_to("whole")
    await repair_quorum(spec, whole, folder)
    assert len(whole.commands) >= 2
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        network.cut_after = cut
        with pytest.raises((Killed, EtcdupError)):
            await repair_quorum(spec, network, folder)
        network.restart_etcdup()
        if not await check_quorum(spec, network, folder):
            await repair_quorum(spec, network, folder)
        assert await check_quorum(spec, network, folder)
