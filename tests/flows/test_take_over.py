"""Take over the members of another tool, and give them back: one after the other, and each kill is finished."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.adopt.foreign_unit import ForeignMember
from etcdup.core.adopt.switch_commands import GIVE_BACK
from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.adopt.take_over import plan_give_back, plan_take_over
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.adopt.equal_data import require_equal_data
from etcdup.ops.adopt.take_over import inspect_foreign, prove_given_back, read_switch_state
from etcdup.ops.world.observe import observe
from etcdup.ops.world.world import World
from etcdup.testing.machine import CONTAINER, MANIFEST, STATIC_POD, UNIT
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import bring_up, make_plan, spec_of, world_of
from tests.support.foreign_cluster import adopt, change, foreign_network, release
from tests.support.kill_everywhere import Start, kill_after, kill_points
from tests.support.texts import Texts

SPEC = spec_of(3)
ALL = ("infra1", "infra2", "infra3")
OLD, NEW = "/opt/tool/3.6.14/etcd", "/opt/etcd/3.6.14/etcd"


async def take_over(
    spec: Spec, network: FakeNetwork, folder: Path, names: tuple[str, ...] = ALL, *, static_pods: bool = False
) -> Plan:
    """Run `etcdup adopt --take-over`, without the terminal and the comparison of hashes."""
    world = world_of(spec, network, folder)
    world.reads_activity = True
    foreign = await inspect_waiting(world)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_take_over(spec, observed, names, foreign, static_pods=static_pods)

    return await change(world, network, folder, planner, "adopt --take-over", prove=True)


async def inspect_waiting(world: World) -> dict[str, ForeignMember | tuple[Refused, ...]]:
    names = {host.name for host in world.spec.hosts}
    adopted = [name for name in (await observe(world)).adopted if name in names]
    return {name: await inspect_foreign(world, name) for name in adopted}


async def give_back(spec: Spec, network: FakeNetwork, folder: Path, name: str) -> Plan:
    """Run `etcdup adopt --give-back`, without the terminal."""
    world = world_of(spec, network, folder)
    begun = name in world.hosts and (await read_switch_state(world, name)).has_begun

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_give_back(spec, observed, name, begun)

    plan = await change(world, network, folder, planner, "adopt --give-back")
    if plan.is_empty:
        await prove_given_back(world, await observe(world), name)
    return plan


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    """Return an adopted cluster."""
    own = tmp_path / "operator"
    own.mkdir()
    network = await foreign_network(SPEC, own)
    await adopt(SPEC, network, own)
    network.commands.clear()
    return Start(network, own)


def run_in_containers(network: FakeNetwork) -> None:
    """Let docker run the members, by its restart policy and without a unit."""
    for machine in network.machines.values():
        machine.remove(UNIT)
        machine.loaded_unit = CONTAINER


def run_in_static_pods(network: FakeNetwork) -> None:
    """Let the kubelet of each machine run its member."""
    for machine in network.machines.values():
        machine.remove(UNIT)
        machine.put(MANIFEST, b"kind: Pod\n")
        machine.loaded_unit = STATIC_POD


def programs(network: FakeNetwork) -> list[str]:
    return [machine.process.exe if machine.process else "" for machine in network.machines.values()]


def identities(network: FakeNetwork) -> list[int]:
    return [machine.process.member_id if machine.process else 0 for machine in network.machines.values()]


async def assert_managed(network: FakeNetwork, folder: Path) -> None:
    assert programs(network) == [NEW] * 3
    plan = await make_plan(SPEC, network, folder)
    assert isinstance(plan, Plan)
    assert plan.is_empty, plan.steps


@pytest.mark.quick
async def test_followers_are_first_and_the_ordinary_plan_is_empty_at_the_end(start: Start) -> None:
    network, folder = start.parts
    ids, leader = identities(network), next(iter(network.etcd.leaders.values()))
    plan = await take_over(SPEC, network, folder)
    kinds = [step.kind for step in plan.steps]
    assert kinds[-4:] == ["TakeOverMember"] * 3 + ["FinishTakeOver"]
    assert "TakeSnapshot" in kinds
    hosts = [step.host for step in plan.steps if step.kind == "TakeOverMember"]  # type: ignore[attr-defined]
    assert hosts[-1] == leader
    assert identities(network) == ids
    await assert_managed(network, folder)
    assert (await take_over(SPEC, network, folder)).is_empty


async def test_a_part_is_taken_over_and_given_back(start: Start) -> None:
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    assert programs(network) == [OLD, NEW, OLD]
    plan = await make_plan(SPEC, network, folder)
    assert isinstance(plan, Plan)
    assert plan.is_empty
    await give_back(SPEC, network, folder, "infra2")
    assert programs(network) == [OLD] * 3
    assert (await give_back(SPEC, network, folder, "infra2")).is_empty
    await take_over(SPEC, network, folder)
    await assert_managed(network, folder)
    with pytest.raises(RefusedError):
        await give_back(SPEC, network, folder, "infra2")


async def test_no_member_is_stopped_while_another_one_is_down(start: Start) -> None:
    network, folder = start.parts
    network.machines["infra3"].process = None
    network.commands.clear()
    with pytest.raises(RefusedError):
        await take_over(SPEC, network, folder, ("infra1",))
    assert network.commands == []


async def test_a_member_that_does_not_start_runs_as_before(start: Start) -> None:
    network, folder = start.parts
    follower = "infra2"
    network.machines[follower].rejects["/opt/etcd/"] = "panic"
    with pytest.raises(EtcdupError):
        await take_over(SPEC, network, folder, (follower,))
    assert programs(network) == [OLD] * 3
    network.machines[follower].rejects.clear()
    await take_over(SPEC, network, folder)
    await assert_managed(network, folder)


async def test_each_kill_of_a_take_over_is_finished_by_the_next_run(start: Start) -> None:
    with start.copied("whole") as (network, folder):
        await take_over(SPEC, network, folder)
        commands = len(network.commands)
    assert commands > 30
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            ids = identities(network)
            await kill_after(number, network, take_over(SPEC, network, folder))
            assert all(programs(network)), "each member runs"
            await take_over(SPEC, network, folder)
            assert identities(network) == ids
            await assert_managed(network, folder)


async def test_each_kill_of_a_take_over_of_containers_is_given_back_and_finished(tmp_path: Path) -> None:
    own = tmp_path / "operator"
    own.mkdir()
    start = Start(await foreign_network(SPEC, own), own)
    run_in_containers(start.network)
    await adopt(SPEC, *start.parts)
    start.network.commands.clear()
    with start.copied("whole") as (network, folder):
        await take_over(SPEC, network, folder, ("infra2",))
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            ids = identities(network)
            await kill_after(number, network, take_over(SPEC, network, folder, ("infra2",)))
            await give_back(SPEC, network, folder, "infra2")
            assert programs(network) == [OLD] * 3
            assert network.machines["infra2"].loaded_unit == CONTAINER
            await take_over(SPEC, network, folder)
            assert identities(network) == ids
            await assert_managed(network, folder)


async def test_each_kill_of_a_take_over_of_static_pods_is_given_back_and_finished(tmp_path: Path) -> None:
    own = tmp_path / "operator"
    own.mkdir()
    start = Start(await foreign_network(SPEC, own), own)
    run_in_static_pods(start.network)
    await adopt(SPEC, *start.parts)
    start.network.commands.clear()
    with start.copied("whole") as (network, folder):
        await take_over(SPEC, network, folder, ("infra2",), static_pods=True)
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            ids, machine = identities(network), network.machines["infra2"]
            killed = take_over(SPEC, network, folder, ("infra2",), static_pods=True)
            await kill_after(number, network, killed)
            assert all(programs(network)), "each member runs"
            assert (machine.file(MANIFEST) is None) == (machine.loaded_unit != STATIC_POD)
            await give_back(SPEC, network, folder, "infra2")
            assert programs(network) == [OLD] * 3
            assert machine.loaded_unit == STATIC_POD
            await take_over(SPEC, network, folder, static_pods=True)
            assert identities(network) == ids
            assert not any(each.file(MANIFEST) for each in network.machines.values())
            await assert_managed(network, folder)


async def test_static_pods_are_taken_over_only_with_consent(start: Start) -> None:
    network, folder = start.parts
    run_in_static_pods(network)
    network.commands.clear()
    with pytest.raises(RefusedError):
        await take_over(SPEC, network, folder)
    assert network.commands == []
    assert programs(network) == [OLD] * 3


async def test_http_for_clients_ends_only_after_a_confirmation(start: Start, texts: Texts) -> None:
    world = world_of(SPEC, *start.parts)
    observed, foreign = await observe(world), await inspect_waiting(world)
    found = foreign["infra2"]
    assert isinstance(found, ForeignMember)
    foreign["infra2"] = replace(found, plain_urls=("http://10.0.0.2:2379",))
    refusal = plan_take_over(SPEC, observed, ALL, foreign)
    assert isinstance(refusal, Refusal)
    texts(refusal)
    assert isinstance(plan_take_over(SPEC, observed, ("infra1",), foreign), Plan)
    assert isinstance(plan_take_over(SPEC, observed, ALL, foreign, consumers_have_tls=True), Plan)


async def test_another_peer_port_than_in_the_member_list_is_refused(texts: Texts, start: Start) -> None:
    """A take-over does not change the member list: two members that were taken over would not reach each other."""
    network, folder = start.parts
    spec = spec_of(3, "etcd: {peer_port: 2390}\n")
    with pytest.raises(RefusedError) as caught:
        await take_over(spec, network, folder)
    texts(caught.value)
    assert network.commands == []
    await take_over(SPEC, network, folder)
    await assert_managed(network, folder)


async def test_a_begun_take_over_of_a_static_pod_needs_no_consent_again(start: Start) -> None:
    network, folder = start.parts
    run_in_static_pods(network)
    await take_over(SPEC, network, folder, ("infra2",), static_pods=True)
    network.machines["infra2"].remove(f"{SWITCH_FOLDER}/new.done")
    await take_over(SPEC, network, folder, ("infra2",))
    assert programs(network) == [OLD, NEW, OLD]


async def test_each_kill_of_giving_back_is_finished_by_the_next_run(start: Start) -> None:
    await take_over(SPEC, *start.parts, ("infra2",))
    start.network.commands.clear()
    with start.copied("whole") as (network, folder):
        await give_back(SPEC, network, folder, "infra2")
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            await kill_after(number, network, give_back(SPEC, network, folder, "infra2"))
            await give_back(SPEC, network, folder, "infra2")
            assert programs(network) == [OLD] * 3
            await take_over(SPEC, network, folder)
            await assert_managed(network, folder)


async def test_each_kill_of_giving_back_is_followed_by_a_take_over_of_all(start: Start) -> None:
    """The last step of a take-over never runs while a host has its old unit."""
    await take_over(SPEC, *start.parts, ("infra2",))
    start.network.commands.clear()
    with start.copied("whole") as (network, folder):
        await give_back(SPEC, network, folder, "infra2")
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            await kill_after(number, network, give_back(SPEC, network, folder, "infra2"))
            await take_over(SPEC, network, folder)
            await assert_managed(network, folder)


async def test_a_host_that_another_run_gave_back_is_inspected_again(texts: Texts, start: Start) -> None:
    """Between the inspection and the lock, other runs took the host over and gave it back."""
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    world = world_of(SPEC, network, folder)
    foreign = await inspect_waiting(world)
    del foreign["infra2"]
    await give_back(SPEC, network, folder, "infra2")
    refusal = plan_take_over(SPEC, await observe(world), ALL, foreign)
    assert isinstance(refusal, Refusal)
    (reason,) = refusal.reasons
    assert reason.host == "infra2"
    texts(reason)


async def test_a_member_that_was_given_back_is_proved_after_a_kill(texts: Texts, start: Start) -> None:
    """The killed run had its script on the host, and the old member failed after it."""
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    network.commands.clear()
    with start.copied("whole") as (whole, its_folder):
        await give_back(SPEC, whole, its_folder, "infra2")
        scripts = [argv[2] if argv[0] == "sh" else "" for _, argv in whole.commands]
    await kill_after(scripts.index(GIVE_BACK) + 1, network, give_back(SPEC, network, folder, "infra2"))
    assert programs(network) == [OLD] * 3
    network.machines["infra2"].process = None
    with pytest.raises(EtcdupError) as caught:
        await give_back(SPEC, network, folder, "infra2")
    texts(caught.value)


async def test_an_unreachable_host_is_not_said_to_be_taken_over(texts: Texts, start: Start) -> None:
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    network.machines["infra2"].powered = False
    world = world_of(SPEC, network, folder)
    refusal = plan_give_back(SPEC, await observe(world), "infra2", begun=False)
    assert isinstance(refusal, Refusal)
    texts(refusal.reasons[0])


async def test_a_host_that_a_killed_adoption_left_out_must_be_adopted_first(
    texts: Texts, tmp_path: Path
) -> None:
    """After the last step, its member would be cut off from the others at their next restart."""
    own = tmp_path / "operator"
    own.mkdir()
    network = await foreign_network(SPEC, own)
    await kill_after(4, network, adopt(SPEC, network, own))
    left = [name for name, machine in network.machines.items() if not machine.file("/etc/etcd/etcdup.json")]
    assert left
    assert len(left) < len(SPEC.hosts)
    with pytest.raises(RefusedError) as refused:
        await take_over(SPEC, network, own)
    texts(refused.value)
    await adopt(SPEC, network, own)
    await take_over(SPEC, network, own)
    await assert_managed(network, own)


async def test_a_taken_member_that_stopped_is_started_as_the_hint_says(texts: Texts, start: Start) -> None:
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    network.machines["infra2"].process = None
    plan = await make_plan(SPEC, network, folder)
    assert isinstance(plan, Plan)
    texts(plan.notes)


async def test_a_taken_host_that_is_not_in_the_file_must_be_written_back(
    texts: Texts, tmp_path: Path
) -> None:
    """The last step would leave it with the settings and the marker of a host that waits."""
    own, wide = tmp_path / "operator", spec_of(5)
    own.mkdir()
    network = await foreign_network(wide, own)
    await adopt(wide, network, own)
    await take_over(wide, network, own, ("infra4", "infra5"))
    with pytest.raises(RefusedError) as refused:
        await take_over(SPEC, network, own)
    texts(refused.value)
    await take_over(wide, network, own)
    assert programs(network) == [NEW] * 5


@pytest.mark.parametrize("corrupt", [True, False])
async def test_members_with_other_data_are_named(texts: Texts, start: Start, corrupt: bool) -> None:
    network, folder = start.parts
    process = network.machines["infra2"].process
    assert process is not None
    if corrupt:
        process.cluster.hashes[process.member_id] = 1
    world = world_of(SPEC, network, folder)
    with pytest.raises(RefusedError) if corrupt else nullcontext() as refused:
        await require_equal_data(world, await observe(world))
    if refused is not None:
        texts(refused.value)


async def test_a_requested_way_back_that_no_script_began_is_finished(start: Start) -> None:
    """A power cut can follow the first line of GIVE_BACK."""
    await take_over(SPEC, *start.parts, ("infra2",))
    start.network.machines["infra2"].put(f"{SWITCH_FOLDER}/back", b"")
    with start.copied("again") as (network, folder):
        await give_back(SPEC, network, folder, "infra2")
        assert programs(network) == [OLD] * 3


async def test_a_member_is_given_back_after_the_other_hosts_were_released(texts: Texts, start: Start) -> None:
    """Its host was not reachable: the other markers are gone then."""
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra3",))
    network.machines["infra3"].reachable = False
    assert (await release(SPEC, network, folder)).unknown == ("infra3",)
    network.machines["infra3"].reachable = True
    with pytest.raises(RefusedError) as refused:
        await release(SPEC, network, folder)
    texts(refused.value)
    await give_back(SPEC, network, folder, "infra3")
    assert [step.kind for step in (await release(SPEC, network, folder)).steps] == ["ReleaseHost"]


@pytest.mark.parametrize("kind", ["server", "peer"])
async def test_a_bad_certificate_of_a_member_that_was_taken_over_is_repaired(start: Start, kind: str) -> None:
    """Another host is lost. So no member can be taken over or given back, and no other tool has this certificate."""
    path = f"/etc/etcd/pki/{kind}.pem"
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    network.machines["infra2"].put(path, b"no certificate\n")
    network.cut_off("infra3")
    for refused in (take_over(SPEC, network, folder), give_back(SPEC, network, folder, "infra2")):
        with pytest.raises(RefusedError):
            await refused
    network.commands.clear()
    with start.copied("whole") as (copy, own):
        plan = await make_plan(SPEC, copy, own)
        assert isinstance(plan, Plan), plan
        assert [step.kind for step in plan.steps] == ["InstallFiles"]
        await repair(copy, own)
        commands = len(copy.commands)
        left = await make_plan(SPEC, copy, own)
        assert isinstance(left, Plan), left
        assert left.is_empty
    for number in kill_points(commands):
        with start.copied(number) as (copy, own):
            await kill_after(number, copy, repair(copy, own))
            await repair(copy, own)
            copy.reconnect("infra3")
            assert programs(copy) == [OLD, NEW, OLD]
            await take_over(SPEC, copy, own)
            await assert_managed(copy, own)


async def repair(network: FakeNetwork, folder: Path) -> None:
    """Apply while a host is lost: the repair is done, and the run fails because of that host."""
    with pytest.raises(EtcdupError, match="infra3"):
        await bring_up(SPEC, network, folder)
    machine = network.machines["infra2"]
    assert not machine.why_unusable("server")
    assert not machine.why_unusable("peer")


async def test_a_host_that_waits_and_is_not_reachable_needs_no_certificate(start: Start) -> None:
    network, folder = start.parts
    network.cut_off("infra3")
    plan = await make_plan(SPEC, network, folder)
    assert isinstance(plan, Plan), plan
    assert plan.is_empty


async def test_another_bad_file_of_a_member_that_was_taken_over_waits(start: Start) -> None:
    """The last step of the take-over writes it, and a give-back needs none of these files."""
    network, folder = start.parts
    await take_over(SPEC, network, folder, ("infra2",))
    network.machines["infra2"].put("/etc/etcd/etcd.conf", b"ETCD_NAME=other\n")
    plan = await make_plan(SPEC, network, folder)
    assert isinstance(plan, Plan), plan
    assert plan.is_empty
    await take_over(SPEC, network, folder)
    await assert_managed(network, folder)
