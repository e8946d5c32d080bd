"""`maintain repair` on fake machines: a member with other data, also after a kill at every command."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.repair import plan_repair
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.maintain.repair import compare_voters, examine, save_source
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.support.cases import quick_first
from tests.support.fake_world import TOKEN, RecordingReporter, bring_up, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

SPEC, FIVE = spec_of(), spec_of(5)
WRONG = 0xBAD
ALARMS = {
    "no alarm": None,
    "an alarm without a member": "",
    "an alarm of the member": "infra2",
    "an alarm of a right member": "infra3",
}
CRC = '{"level":"fatal","msg":"failed to open WAL","error":"walpb: crc mismatch"}'


async def repair(spec: Spec, network: FakeNetwork, folder: Path, name: str = "infra2") -> str:
    """Do what the verb does, without the terminal. Return what kind of repair it was."""
    world = world_of(spec, network, folder)
    world.repaired = name
    first = await observe(world)
    found, _ = await examine(world, first, name)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_repair(spec, found, observed, TOKEN)

    plan = planner(first)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    if found.kind == "replace":
        await save_source(world, first, found, lambda _: None)
    with Journal.in_folder(folder, spec.name) as journal:
        results = await apply(world, plan, planner, RecordingReporter([]), journal)
    assert all(result.ok for result in results)
    assert (await compare_voters(world, await observe(world)))[1] == ""
    return found.kind


def id_of(network: FakeNetwork, name: str) -> int:
    return next(each.member_id for each in network.etcd.only().members.values() if each.name == name)


def spoil(network: FakeNetwork, *names: str, alarm: str | None = None) -> None:
    """Give these members other data. `alarm` is the member that CORRUPT names; None is no alarm."""
    cluster = network.etcd.only()
    for name in names:
        cluster.hashes[id_of(network, name)] = WRONG
    if alarm is not None:
        cluster.alarms = (f"CORRUPT on member {id_of(network, alarm):x}" if alarm else "CORRUPT",)


async def start_with(folder: Path, *names: str, alarm: str | None = None, spec: Spec = SPEC) -> Start:
    start = await prepare_start(spec, spec, folder)
    spoil(start.network, *names, alarm=alarm)
    return start


def requests(network: FakeNetwork) -> list[str]:
    return [command[1] for _, command in network.commands if command[0] == "etcd"]


def is_unchanged(network: FakeNetwork, before: Sequence[int]) -> bool:
    changed = [what for what in requests(network) if what not in ("put", "delete")]
    return not changed and sorted(network.etcd.only().members) == sorted(before)


@pytest.mark.parametrize("alarm", quick_first(*ALARMS))
async def test_a_member_with_other_data_is_replaced_and_the_alarm_ends(tmp_path: Path, alarm: str) -> None:
    network, folder = (await start_with(tmp_path, "infra2", alarm=ALARMS[alarm])).parts
    before, leader = id_of(network, "infra2"), network.etcd.only().leader
    assert await repair(SPEC, network, folder) == "replace"
    cluster = network.etcd.only()
    assert (id_of(network, "infra2") != before, cluster.alarms) == (True, ())
    assert len(list(folder.rglob("*-before-repair-*.db"))) == 1
    done = requests(network)
    if ALARMS[alarm] is not None:
        # Clients can write again before the new member copies the data.
        assert done.index("member-remove") < done.index("disarm") < done.index("member-add")
    assert leader in cluster.members or leader == before
    await apply_and_check(SPEC, network, folder)
    shared = (await observe(world_of(SPEC, network, folder))).pki.shared
    assert shared == (), "the host and its keys are not lost, so nothing is to be revoked"
    archives = [path for path in network.machines["infra2"].nodes if path.startswith("/var/lib/etcd.")]
    assert archives, "the old data is kept"
    assert await repair(SPEC, network, folder) == "disarm", "nothing is left"


async def test_the_leader_is_repaired_too(tmp_path: Path) -> None:
    start = await start_with(tmp_path)
    network, folder = start.parts
    name = next(name for name in network.machines if id_of(network, name) == network.etcd.only().leader)
    spoil(network, name, alarm="")
    assert await repair(SPEC, network, folder, name) == "replace"
    await apply_and_check(SPEC, network, folder)


async def test_an_alarm_without_a_difference_is_only_disarmed(tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path, alarm="infra2")).parts
    before = sorted(network.etcd.only().members)
    assert await repair(SPEC, network, folder) == "disarm"
    assert network.etcd.only().alarms == ()
    assert sorted(network.etcd.only().members) == before


async def test_a_member_whose_log_is_damaged_is_replaced(tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path)).parts
    await fail(network, "infra2", CRC)
    assert await repair(SPEC, network, folder) == "replace"
    network.machines["infra2"].rejects = {}
    await apply_and_check(SPEC, network, folder)


async def fail(network: FakeNetwork, name: str, line: str) -> None:
    """Let the member end with this line at each start, as long as it has its old data."""
    machine = network.machines[name]
    machine.starts.append(len(machine.log))
    machine.end_etcd(1, line)
    machine.process, machine.failed_at = None, None
    await network.sleep(1)


REFUSED = {
    "no majority": (FIVE, ("infra1", "infra2"), "infra2"),
    "two differ": (FIVE, ("infra1", "infra2"), "infra2"),
    "another one differs": (SPEC, ("infra3",), "infra2"),
    "the wrong ones are the majority": (SPEC, ("infra1", "infra3"), "infra1"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("alarm", [None, ""])
async def test_without_a_majority_of_all_others_nothing_is_changed(
    tmp_path: Path, name: str, alarm: str | None
) -> None:
    spec, wrong, repaired = REFUSED[name]
    network, folder = (await start_with(tmp_path, *wrong, alarm=alarm, spec=spec)).parts
    if name == "no majority":
        network.etcd.only().hashes[id_of(network, "infra3")] = WRONG + 1
    before = sorted(network.etcd.only().members)
    with pytest.raises(RefusedError):
        await repair(spec, network, folder, repaired)
    assert is_unchanged(network, before)
    assert not list(folder.rglob("*-before-repair-*.db"))


@pytest.mark.parametrize("why", ["stopped", "stopped without damage", "unreachable"])
async def test_it_refuses_before_it_changes_anything(tmp_path: Path, why: str) -> None:
    network, folder = (await start_with(tmp_path, "infra2", alarm="")).parts
    if why == "stopped":
        network.machines["infra3"].end_etcd(0)
        network.machines["infra3"].failed_at = None
    if why == "stopped without damage":
        await fail(network, "infra2", "bind: address already in use")
    if why == "unreachable":
        network.cut_off("infra2")
    before = sorted(network.etcd.only().members)
    with pytest.raises(RefusedError) as refused:
        await repair(SPEC, network, folder)
    assert refused.value.hint
    assert is_unchanged(network, before)


async def test_during_an_alarm_apply_says_how_to_repair(texts: Texts, tmp_path: Path) -> None:
    start = await start_with(tmp_path, "infra2", alarm="")
    network, folder = start.parts
    with pytest.raises(EtcdupError) as failed:
        await bring_up(SPEC, network, folder)
    texts(failed.value)


@pytest.mark.parametrize("alarm", quick_first(*ALARMS))
async def test_it_is_finished_after_a_kill_at_any_command(tmp_path: Path, alarm: str) -> None:
    start = await start_with(tmp_path, "infra2", alarm=ALARMS[alarm])
    before = id_of(start.network, "infra2")
    with start.copied("whole") as (network, folder):
        await repair(SPEC, network, folder)
        commands = len(network.commands)
    assert commands > 10
    for cut in kill_points(commands + 1):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, repair(SPEC, network, folder))
            await network.sleep(10)
            await repair(SPEC, network, folder)
            assert network.etcd.only().alarms == ()
            assert id_of(network, "infra2") != before
            await apply_and_check(SPEC, network, folder)
