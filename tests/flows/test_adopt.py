"""Adopt a cluster that another tool runs, and release it: only markers are written, and each kill is finished."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from etcdup.core.adopt.existing_file import differing_keys
from etcdup.core.certs.revocation import unrevoked_notes
from etcdup.core.observed.host import HostSeen
from etcdup.core.plan.adopt_steps import AdoptHost, ReleaseHost
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.verdict import judge
from etcdup.errors import RefusedError
from etcdup.ops.world.health import prove_whole
from etcdup.ops.world.observe import observe
from etcdup.testing.machine import UNIT, FakeProcess, Node
from etcdup.testing.network import FakeNetwork
from tests.flows.test_replace_member import Loss, assert_whole, do_nothing, replace, replace_machine
from tests.support.fake_world import add_machines, bring_up, make_plan, spec_of, world_of
from tests.support.foreign_cluster import adopt, cluster_id, foreign_network, release
from tests.support.kill_everywhere import Start, kill_after, kill_points
from tests.support.texts import Texts

MARKER = "/etc/etcd/etcdup.json"
SPEC = spec_of(3)


def nodes_of(network: FakeNetwork) -> dict[str, dict[str, Node]]:
    """Return all files of each machine, except those in /run, which a reboot deletes."""
    return {
        name: {path: node for path, node in machine.nodes.items() if not path.startswith("/run")}
        for name, machine in network.machines.items()
    }


def processes_of(network: FakeNetwork) -> dict[str, tuple[str, float]]:
    found: dict[str, FakeProcess | None] = {n: m.process for n, m in network.machines.items()}
    return {name: (each.exe, each.started_at) for name, each in found.items() if each is not None}


async def start_of(spec: Spec, folder: Path) -> Start:
    own = folder / "operator"
    own.mkdir()
    return Start(await foreign_network(spec, own), own)


async def test_only_markers_are_written_and_no_member_restarts(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    before, running = deepcopy(nodes_of(start.network)), processes_of(start.network)
    plan = await adopt(SPEC, *start.parts)
    assert [type(step) for step in plan.steps] == [AdoptHost] * 3
    assert processes_of(start.network) == running
    for name, nodes in nodes_of(start.network).items():
        text = nodes.pop(MARKER).content
        assert nodes == before[name]
        marker = json.loads(text or b"")
        assert (marker["member"], marker["adopted"], marker["formed"]) == (name, "waiting", True)
        assert marker["token"] == f"adopted-{cluster_id(start.network):x}"
    assert (await adopt(SPEC, *start.parts)).is_empty


async def test_the_plan_is_empty_and_names_the_hosts_that_wait(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    plan = await make_plan(SPEC, *start.parts)
    assert isinstance(plan, Plan)
    assert plan.is_empty
    assert not plan.unsolved
    waiting = next(note for note in plan.notes if "take-over" in note)
    assert all(f"\n{host.name}: " in waiting for host in SPEC.hosts)
    world = world_of(SPEC, *start.parts)
    observed = await observe(world)
    assert all(each.ok for each in await prove_whole(world, observed))
    assert [cause.code for cause in judge(SPEC, observed).causes] == ["take-over-waits"]


async def test_each_kill_of_an_adoption_is_finished_by_the_next_run(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    with start.copied("whole") as (network, folder):
        await adopt(SPEC, network, folder)
        commands, whole = len(network.commands), nodes_of(network)
    assert commands >= 6
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            await kill_after(number, network, adopt(SPEC, network, folder))
            await adopt(SPEC, network, folder)
            assert nodes_of(network) == whole
            plan = await make_plan(SPEC, network, folder)
            assert isinstance(plan, Plan)
            assert plan.is_empty


async def test_each_kill_of_a_release_is_finished_by_the_next_run(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    for machine in start.network.machines.values():
        for path in machine.children("/etc/etcd"):
            if path != "pki":  # The fakes read the certificates of a member there.
                machine.remove(f"/etc/etcd/{path}")
    before, running = deepcopy(nodes_of(start.network)), processes_of(start.network)
    await adopt(SPEC, *start.parts)
    start.network.commands.clear()
    with start.copied("whole") as (network, folder):
        plan = await release(SPEC, network, folder)
        assert [type(step) for step in plan.steps] == [ReleaseHost] * 3
        commands = len(network.commands)
        assert nodes_of(network) == before
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            await kill_after(number, network, release(SPEC, network, folder))
            await release(SPEC, network, folder)
            assert nodes_of(network) == before
            assert processes_of(network) == running
            assert (await release(SPEC, network, folder)).is_empty


async def test_a_release_of_a_part_of_the_hosts_is_refused(tmp_path: Path) -> None:
    """The marker of a host that cluster.yaml does not name would stay."""
    spec = spec_of(5)
    start = await start_of(spec, tmp_path)
    await adopt(spec, *start.parts)
    before = deepcopy(nodes_of(start.network))
    with pytest.raises(RefusedError) as refused:
        await release(SPEC, *start.parts)
    refusal = refused.value.refusal
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra4", "infra5"]
    assert nodes_of(start.network) == before


async def test_a_host_that_is_not_reachable_is_released_later(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    start.network.commands.clear()
    with start.copied("whole") as (network, folder):
        network.machines["infra2"].reachable = False
        plan = await release(SPEC, network, folder)
        assert plan.unknown == ("infra2",)
        assert {step.host for step in plan.steps if isinstance(step, ReleaseHost)} == {"infra1", "infra3"}
        assert (await release(SPEC, network, folder)).unknown == ("infra2",), "cluster.yaml is still needed"
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            network.machines["infra2"].reachable = False
            await kill_after(number, network, release(SPEC, network, folder))
            network.machines["infra2"].reachable = True
            await release(SPEC, network, folder)
            assert not any(machine.file(MARKER) for machine in network.machines.values())
            last = await release(SPEC, network, folder)
            assert last.is_empty
            assert not last.unknown


async def test_a_release_needs_no_etcd(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    for machine in start.network.machines.values():
        machine.end_etcd(1)
    assert len((await release(SPEC, *start.parts)).steps) == 3


async def test_nothing_is_written_while_a_member_is_down(texts: Texts, tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    before = deepcopy(nodes_of(start.network))
    start.network.machines["infra2"].end_etcd(1)
    with pytest.raises(RefusedError) as caught:
        await adopt(SPEC, *start.parts)
    texts(caught.value)
    assert nodes_of(start.network) == before


async def test_nothing_is_written_while_members_have_different_data(texts: Texts, tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    before = deepcopy(nodes_of(start.network))
    process = start.network.machines["infra3"].process
    assert process is not None
    process.cluster.hashes[process.member_id] = 1
    with pytest.raises(RefusedError) as refused:
        await adopt(SPEC, *start.parts)
    texts(refused.value)
    assert nodes_of(start.network) == before


@pytest.mark.parametrize("alarm", ["CORRUPT", "NOSPACE on member 1a", "OTHER"])
async def test_the_hint_of_an_alarm_says_how_to_remove_its_cause(
    texts: Texts, tmp_path: Path, alarm: str
) -> None:
    start = await start_of(SPEC, tmp_path)
    process = start.network.machines["infra1"].process
    assert process is not None
    process.cluster.alarms = (alarm,)
    with pytest.raises(RefusedError) as refused:
        await adopt(SPEC, *start.parts)
    texts(refused.value)


async def test_a_directory_that_other_users_can_write_gets_no_marker(texts: Texts, tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    start.network.machines["infra3"].nodes["/etc/etcd"].owner = "etcd:etcd"
    with pytest.raises(RefusedError) as caught:
        await adopt(SPEC, *start.parts)
    texts(caught.value)


async def test_a_stopped_member_is_not_started_by_etcdup(texts: Texts, tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    start.network.machines["infra2"].end_etcd(1)
    plan = await make_plan(SPEC, *start.parts)
    assert isinstance(plan, Plan)
    assert plan.is_empty
    assert plan.unsolved == ("member-silent",)
    texts(plan.notes)


@pytest.mark.parametrize("more", ["etcd: {quota: 4GiB}\n", "etcd: {heartbeat_ms: 200}\n"])
async def test_changed_settings_wait_for_the_take_over(texts: Texts, tmp_path: Path, more: str) -> None:
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    refusal = await make_plan(spec_of(3, more), *start.parts)
    assert isinstance(refusal, Refusal)
    texts(refusal)


async def test_an_upgrade_waits_for_the_take_over(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(3, version="3.5.33")
    start = await start_of(spec, tmp_path)
    await adopt(spec, *start.parts)
    refusal = await make_plan(spec_of(3, version="3.6.14"), *start.parts)
    assert isinstance(refusal, Refusal)
    texts(refusal.reasons[0])


async def test_hosts_are_added_to_an_adopted_cluster(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    running = processes_of(start.network)
    await adopt(SPEC, *start.parts)
    wider = spec_of(5)
    add_machines(start.network, wider)
    results = await bring_up(wider, *start.parts)
    assert all(result.ok for result in results)
    assert {name: each for name, each in processes_of(start.network).items() if name in running} == running
    for name in ("infra4", "infra5"):
        process = start.network.machines[name].process
        assert process is not None
        assert "ETCD_PEER_CERT_ALLOWED_CN" not in process.environment
    plan = await make_plan(wider, *start.parts)
    assert isinstance(plan, Plan)
    assert plan.is_empty


async def test_an_adopted_member_is_not_removed_before_the_take_over(tmp_path: Path) -> None:
    spec = spec_of(5)
    start = await start_of(spec, tmp_path)
    await adopt(spec, *start.parts)
    refusal = await make_plan(SPEC, *start.parts)
    assert isinstance(refusal, Refusal), [step.kind for step in refusal.steps]


async def test_the_raw_facts_of_a_host_that_waits_stay(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    observed = await observe(world_of(SPEC, *start.parts))
    assert observed.adopted == ("infra1", "infra2", "infra3")
    for seen in observed.hosts.values():
        assert isinstance(seen, HostSeen)
        assert seen.has_member
    assert not observed.pki.with_peer_names


async def test_a_lost_machine_of_an_adopted_cluster_is_replaced(tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    running = processes_of(start.network)
    await adopt(SPEC, *start.parts)
    loss = Loss(replace_machine, SPEC)
    loss.happen(start.network)
    await replace(loss, *start.parts)
    await assert_whole(loss, *start.parts)
    now = processes_of(start.network)
    assert {name: now[name] for name in ("infra1", "infra3")} == {n: running[n] for n in ("infra1", "infra3")}
    assert now["infra2"][0] == f"/opt/etcd/{SPEC.version}/etcd"


async def test_a_member_of_etcdup_is_replaced_again_and_its_certificates_are_revoked_later(
    texts: Texts,
    tmp_path: Path,
) -> None:
    """The members that wait have no revocation list."""
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    loss = Loss(replace_machine, SPEC)
    for _ in range(2):
        loss.happen(start.network)
        await replace(loss, *start.parts)
        await assert_whole(loss, *start.parts)
    observed = await observe(world_of(SPEC, *start.parts))
    texts(unrevoked_notes(SPEC, observed))


async def test_a_member_without_data_is_replaced_as_the_hint_says(texts: Texts, tmp_path: Path) -> None:
    """Its old unit would start an empty member, and etcdup does not know this unit."""
    start = await start_of(SPEC, tmp_path)
    await adopt(SPEC, *start.parts)
    running, loss = processes_of(start.network), Loss(do_nothing, SPEC)
    start.network.wipe("infra2")
    plan = await make_plan(SPEC, *start.parts)
    assert isinstance(plan, Plan)
    texts(plan.notes)
    with pytest.raises(RefusedError) as refused:
        await replace(loss, *start.parts)
    texts(refused.value)
    machine = start.network.machines["infra2"]
    machine.failed_at = machine.loaded_unit = machine.old_process = None
    machine.enabled = False
    for path in (UNIT, MARKER, "/etc/etcd/pki"):
        machine.remove(path)
    await replace(loss, *start.parts)
    await assert_whole(loss, *start.parts)
    now = processes_of(start.network)
    assert {name: now[name] for name in ("infra1", "infra3")} == {n: running[n] for n in ("infra1", "infra3")}


async def test_an_adopted_host_is_not_replaced_while_it_runs(texts: Texts, tmp_path: Path) -> None:
    start = await start_of(SPEC, tmp_path)
    running = processes_of(start.network)
    await adopt(SPEC, *start.parts)
    with pytest.raises(RefusedError) as caught:
        await replace(Loss(do_nothing, SPEC), *start.parts)
    texts(caught.value)
    assert processes_of(start.network) == running


async def test_users_that_exclude_etcdup_are_named_with_the_key_that_helps(
    texts: Texts, tmp_path: Path
) -> None:
    start = await start_of(SPEC, tmp_path)
    start.network.etcd.only().auth = True
    start.network.etcd.only().denied = "user name not found"
    with pytest.raises(RefusedError) as refused:
        await adopt(SPEC, *start.parts)
    texts(refused.value)
    assert start.network.commands == []
    start.network.etcd.only().denied = ""
    logs_in = spec_of(3, "etcd: {access: {user: operator, password_command: pass etcd}}\n")
    assert len((await adopt(logs_in, *start.parts)).steps) == 3


def test_the_user_of_etcd_is_the_choice_of_the_operator() -> None:
    logs_in = spec_of(3, "etcd: {access: {user: operator, password_command: pass etcd}}\n")
    assert differing_keys(logs_in, SPEC) == ()
    assert differing_keys(spec_of(3, "etcd: {quota: 4GiB}\n"), SPEC) == ("etcd",)
