"""`install: {from: host}`: new hosts get the programs of other hosts, if a second host or cluster.yaml proves them."""

import hashlib
import re
from pathlib import Path

import pytest

from etcdup.core.adopt.take_over import plan_take_over
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.model import Spec
from etcdup.errors import InstallError, RefusedError
from etcdup.ops.world.binaries import Archives, resolve_binaries
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner
from etcdup.ops.world.world import World
from etcdup.testing.copied_programs import program
from etcdup.testing.network import FakeNetwork
from tests.flows.test_take_over import inspect_waiting, take_over
from tests.support.fake_world import TOKEN, add_machines, planner_of, running_network, spec_of, world_of
from tests.support.foreign_cluster import adopt, change, foreign_network
from tests.support.kill_everywhere import Start, kill_after, kill_points
from tests.support.texts import Texts

FROM_HOST = "install: {from: host}\n"
TOOLS = ("etcd", "etcdctl", "etcdutl")
FOLDER = "/opt/etcd/3.6.14"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETCDUP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(build: str) -> list[bytes]:
    """Return the programs of a vendor."""
    return [program(tool) + build.encode() for tool in TOOLS]


def put_programs(network: FakeNetwork, build: str, *names: str) -> None:
    for name in names:
        for tool, content in zip(TOOLS, contents(build), strict=True):
            network.machines[name].put(f"{FOLDER}/{tool}", content, 0o755)


def programs_on(network: FakeNetwork, name: str) -> list[bytes | None]:
    files = [network.machines[name].file(f"{FOLDER}/{tool}") for tool in TOOLS]
    return [each.content if each else None for each in files]


async def world_from_hosts(spec: Spec, network: FakeNetwork, folder: Path) -> World:
    world = world_of(spec, network, folder)
    world.obtain_archive = Archives(spec, folder, print, world.hosts).obtain
    await resolve_binaries(world, await observe(world), folder, print)
    return world


async def run(spec: Spec, network: FakeNetwork, folder: Path, planner: Planner | None = None) -> Plan:
    """Run `etcdup apply`, or a verb with this planner, without the terminal."""
    world = await world_from_hosts(spec, network, folder)
    return await change(world, network, folder, planner or planner_of(spec), "apply", prove=True)


async def cluster(folder: Path, size: int = 3, build: str = " of a vendor") -> Start:
    """Return a cluster of etcdup whose members run programs of a vendor."""
    own = folder / "operator"
    own.mkdir()
    spec = spec_of(size)
    network = await running_network(spec, own)
    put_programs(network, build, *network.machines)
    return Start(network, own)


@pytest.mark.quick
async def test_new_hosts_get_the_programs_of_the_others(tmp_path: Path) -> None:
    network, folder = (await cluster(tmp_path)).parts
    wide = spec_of(5, FROM_HOST)
    add_machines(network, wide)
    await run(wide, network, folder)
    assert programs_on(network, "infra4") == programs_on(network, "infra5") == contents(" of a vendor")
    assert (await run(wide, network, folder)).is_empty


async def test_each_kill_is_finished_by_the_next_run(tmp_path: Path) -> None:
    start, wide = await cluster(tmp_path), spec_of(5, FROM_HOST)
    add_machines(start.network, wide)
    with start.copied("whole") as (network, folder):
        await run(wide, network, folder)
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            await kill_after(number, network, run(wide, network, folder))
            await run(wide, network, folder)
            assert programs_on(network, "infra5") == contents(" of a vendor")
            assert (await run(wide, network, folder)).is_empty


async def test_a_member_is_replaced_after_each_kill(tmp_path: Path) -> None:
    start, spec = await cluster(tmp_path), spec_of(3, FROM_HOST)
    del start.network.machines["infra3"]
    start.network.add("infra3", address="192.168.8.68")

    async def replace(network: FakeNetwork, folder: Path) -> Plan:
        member_id = id_to_replace(spec, "infra3", await observe(world_of(spec, network, folder)))
        assert isinstance(member_id, int)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_replacement(spec, "infra3", member_id, observed, TOKEN)

        return await run(spec, network, folder, planner)

    with start.copied("whole") as (network, folder):
        await replace(network, folder)
        commands = len(network.commands)
    for number in kill_points(commands):
        with start.copied(number) as (network, folder):
            await kill_after(number, network, replace(network, folder))
            await replace(network, folder)
            assert programs_on(network, "infra3") == contents(" of a vendor")


@pytest.mark.parametrize("taken", [(), ("infra1",), ("infra1", "infra2", "infra3")], ids=len)
async def test_a_host_joins_an_adopted_cluster(tmp_path: Path, taken: tuple[str, ...]) -> None:
    """Before the take-over, the programs are those of the running processes."""
    spec, wide, own = spec_of(3, FROM_HOST), spec_of(5, FROM_HOST), tmp_path / "operator"
    own.mkdir()
    network = await foreign_network(spec, own)
    await adopt(spec, network, own)
    if taken:
        await take_over(spec, network, own, taken)
    assert (await run(spec, network, own)).is_empty
    add_machines(network, wide)
    await run(wide, network, own)
    assert programs_on(network, "infra5") == contents("")


async def test_hosts_with_different_programs_need_a_sum(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await cluster(tmp_path)).parts
    put_programs(network, " of an attacker", "infra1")
    add_machines(network, spec_of(5))
    with pytest.raises(RefusedError) as refused:
        await run(spec_of(5, FROM_HOST), network, folder)
    checksum = hashlib.sha256(b"".join(contents(" of a vendor"))).hexdigest()
    texts(refused.value, VENDOR=checksum)
    wide = spec_of(5, f"install: {{from: host, sha256: {{amd64: {checksum}}}}}\n")
    await run(wide, network, folder)
    assert programs_on(network, "infra4") == contents(" of a vendor")
    other = spec_of(7, f"install: {{from: host, sha256: {{amd64: {'f' * 64}}}}}\n")
    add_machines(network, other)
    with pytest.raises(RefusedError) as caught:
        await run(other, network, folder)
    texts(caught.value, WANTED="f" * 64)


async def test_one_host_alone_needs_a_sum(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await cluster(tmp_path, size=1)).parts
    add_machines(network, spec_of(3))
    with pytest.raises(RefusedError) as refused:
        await run(spec_of(3, FROM_HOST), network, folder)
    texts(refused.value)
    (checksum,) = re.findall(r"[0-9a-f]{64}", str(refused.value))
    wide = spec_of(3, f"install: {{from: host, sha256: {{amd64: {checksum}}}}}\n")
    await run(wide, network, folder)
    assert programs_on(network, "infra3") == contents(" of a vendor")


async def test_a_host_without_etcdctl_gives_no_programs(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await cluster(tmp_path)).parts
    for machine in network.machines.values():
        machine.remove(f"{FOLDER}/etcdctl")
    wide = spec_of(5, FROM_HOST)
    add_machines(network, wide)
    with pytest.raises(RefusedError) as refused:
        await run(wide, network, folder)
    texts(refused.value)


@pytest.mark.parametrize("version", ["3.6.15", "3.7.1"])
async def test_an_upgrade_needs_another_source(texts: Texts, tmp_path: Path, version: str) -> None:
    network, folder = (await cluster(tmp_path)).parts
    before = len(network.commands)
    with pytest.raises(RefusedError) as refused:
        await run(spec_of(3, FROM_HOST, version), network, folder)
    texts(refused.value)
    assert len(network.commands) == before


async def test_a_new_cluster_needs_another_source(texts: Texts, tmp_path: Path) -> None:
    network = FakeNetwork()
    add_machines(network, spec_of(3))
    with pytest.raises(RefusedError) as caught:
        await run(spec_of(3, FROM_HOST), network, tmp_path)
    texts(caught.value)
    assert not network.commands


async def test_programs_that_change_after_the_plan_are_not_sent(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await cluster(tmp_path)).parts
    wide = spec_of(5, FROM_HOST)
    add_machines(network, wide)
    world = await world_from_hosts(wide, network, folder)
    put_programs(network, " of an attacker", *(f"infra{n}" for n in (1, 2, 3)))
    with pytest.raises(InstallError) as caught:
        await change(world, network, folder, planner_of(wide), "apply", prove=True)
    texts(caught.value)
    assert programs_on(network, "infra4") == [None] * 3


async def test_a_take_over_keeps_the_programs_of_each_host(tmp_path: Path) -> None:
    """No host gets programs of another one."""
    spec, own = spec_of(3, FROM_HOST), tmp_path / "operator"
    own.mkdir()
    network = await foreign_network(spec, own)
    await adopt(spec, network, own)
    foreign = await inspect_waiting(world_of(spec, network, own))
    plan = plan_take_over(spec, await observe(world_of(spec, network, own)), tuple(foreign), foreign)
    assert isinstance(plan, Plan)
    assert not [step for step in plan.steps if step.kind in ("ObtainBinaries", "InstallBinaries")]
    await take_over(spec, network, own)
    assert (await run(spec, network, own)).is_empty
