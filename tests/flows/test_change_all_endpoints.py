"""A change of all endpoints, in one apply or in several: the last one that clients may know stays until they have more.

The client keeps its list of endpoints and one connection, as a program that reads its configuration at its start.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from etcdup.core.host.known_endpoints import endpoint_records
from etcdup.core.members.endpoints import desired_endpoints
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.confirm_endpoints import with_confirmed_endpoints
from etcdup.core.planner.replace import plan_replacement
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.gateway_client import FakeGatewayClient
from etcdup.testing.network import FakeNetwork
from etcdup.testing.process import converge
from tests.support.fake_world import TOKEN, bring_up, make_plan, planner_of, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

SPEC = spec_of()
MARKER = "/etc/etcd/etcdup.json"
# An exchange has about 200 commands. test_exhaustive_endpoints.py has every state between them.
CUT_STRIDE = 3


def at_addresses(*addresses: str, more: str = "") -> Spec:
    """Return the three members with these addresses."""
    hosts = "".join(f"  - {{name: infra{n}, address: {each}}}\n" for n, each in enumerate(addresses, 1))
    return load(f"name: prod\nversion: 3.6.14\nhosts:\n{hosts}{more}")


CHANGES = {
    "other hosts": spec_of([4, 5, 6]),
    "other addresses": at_addresses("192.168.9.1", "192.168.9.2", "192.168.9.3"),
    "another client port": spec_of(3, "etcd: {client_port: 2479}\n"),
    "one other host and two other addresses": load(
        "name: prod\nversion: 3.6.14\nhosts:\n  - {name: infra1, address: 192.168.9.1}\n"
        "  - {name: infra2, address: 192.168.9.2}\n  - {name: infra4, address: 192.168.8.69}\n"
    ),
}


async def start_with_client(after: Spec, folder: Path) -> Start:
    """Return the cluster with a client on infra1, which knows the three first endpoints and keeps them."""
    start = await prepare_start(SPEC, after, folder)
    network = start.network
    ca = network.machines["infra1"].process
    assert ca is not None
    client = FakeGatewayClient(
        "10.0.0.9", list(map(SPEC.client_url, SPEC.hosts)), ca.ca_file, keeps_endpoints=True
    )
    client.process, client.member = ca, "infra1"
    network.clients.append(client)
    return start


async def apply_unconfirmed(spec: Spec, network: FakeNetwork, folder: Path) -> None:
    """Run `etcdup apply` without `--consumers-have`. A refused plan is an error, as for the verb."""
    answer = await make_plan(spec, network, folder)
    if isinstance(answer, Refusal):
        raise_refusal(answer)
    await bring_up(spec, network, folder, confirmed=False)


async def is_served(network: FakeNetwork) -> bool:
    await network.sleep(1)
    return not any(client.cut_off for client in network.clients)


def give_endpoints(network: FakeNetwork, *specs: Spec) -> None:
    """Give all clients the endpoints of these files."""
    for client in network.clients:
        client.endpoints = [spec.client_url(host) for spec in specs for host in spec.hosts]


@pytest.mark.quick
@pytest.mark.parametrize("change", CHANGES)
async def test_apply_stops_before_the_last_known_endpoint_leaves(
    texts: Texts, tmp_path: Path, change: str
) -> None:
    after = CHANGES[change]
    network, folder = (start := await start_with_client(after, tmp_path)).network, start.folder
    with pytest.raises(PartlyApplied) as stopped:
        await apply_unconfirmed(after, network, folder)
    texts(stopped.value)
    assert await is_served(network)
    served = {url for each in network.etcd.only().members.values() for url in each.client_urls}
    assert len(served & desired_endpoints(SPEC)) == 1
    answer = await make_plan(after, network, folder)
    assert isinstance(answer, Refusal), "the next run does not continue without the option"

    give_endpoints(network, SPEC, after)
    await bring_up(after, network, folder, confirmed=True)
    await apply_and_check(after, network, folder)
    assert await is_served(network)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_kill_after_any_command(tmp_path: Path, change: str) -> None:
    after = CHANGES[change]
    start = await start_with_client(after, tmp_path)
    whole, path = start.copy_to("whole")
    with pytest.raises(PartlyApplied):
        await apply_unconfirmed(after, whole, path)
    for cut in kill_points(len(whole.commands), CUT_STRIDE):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, apply_unconfirmed(after, network, folder))
        assert await is_served(network)
        with pytest.raises(EtcdupError):
            await apply_unconfirmed(after, network, folder)
        assert await is_served(network)
        give_endpoints(network, SPEC, after)
        await bring_up(after, network, folder, confirmed=True)
        await apply_and_check(after, network, folder)
        assert await is_served(network)
        shutil.rmtree(folder)


async def test_a_kill_after_any_command_of_the_confirmed_run(tmp_path: Path) -> None:
    """Once the markers have the new endpoints, an ordinary apply finishes. Before, it stops."""
    after = CHANGES["other hosts"]
    start = await start_with_client(after, tmp_path)
    with pytest.raises(PartlyApplied):
        await apply_unconfirmed(after, start.network, start.folder)
    give_endpoints(start.network, SPEC, after)
    start.network.commands.clear()
    whole, path = start.copy_to("whole")
    await bring_up(after, whole, path, confirmed=True)
    for cut in kill_points(len(whole.commands), CUT_STRIDE):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, bring_up(after, network, folder, confirmed=True))
        await bring_up(after, network, folder, confirmed=True)
        await apply_and_check(after, network, folder)
        assert await is_served(network)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    "steps",
    [
        [spec_of([1, 2, 4]), spec_of([1, 4, 5]), spec_of([4, 5, 6])],
        [spec_of([1, 2, 3, 4, 5]), spec_of([3, 4, 5]), spec_of([4, 5, 6])],
        [
            at_addresses("192.168.9.1", "192.168.8.67", "192.168.8.68"),
            at_addresses("192.168.9.1", "192.168.9.2", "192.168.8.68"),
            at_addresses("192.168.9.1", "192.168.9.2", "192.168.9.3"),
        ],
    ],
    ids=["hosts one by one", "grow, shrink, and the last one", "addresses one by one"],
)
async def test_a_change_in_several_runs_stops_in_the_last_one(
    texts: Texts, tmp_path: Path, steps: Sequence[Spec], recorded: bool
) -> None:
    """The markers record the first endpoints. Markers of an older etcdup get the record before the first change."""
    start = await start_with_client(spec_of(5), tmp_path)
    network, folder = start.network, start.folder
    network.add("infra6")
    if not recorded:
        for machine in network.machines.values():
            forget_endpoints(network, machine.name)
    for spec in steps[:-1]:
        await apply_unconfirmed(spec, network, folder)
        assert await is_served(network)
    with pytest.raises(EtcdupError) as caught:
        await apply_unconfirmed(steps[-1], network, folder)
    texts(caught.value)
    assert await is_served(network)
    give_endpoints(network, steps[-1])
    await bring_up(steps[-1], network, folder, confirmed=True)
    await apply_and_check(steps[-1], network, folder)


def forget_endpoints(network: FakeNetwork, name: str) -> None:
    """Make the marker as an older etcdup wrote it."""
    node = network.machines[name].file(MARKER)
    if node is not None:
        values = json.loads(node.content or b"{}")
        del values["endpoints"]
        node.content = json.dumps(values).encode()


async def test_a_replacement_of_the_last_known_host_is_refused_before_any_change(tmp_path: Path) -> None:
    start = await start_with_client(spec_of([1, 2, 3, 4, 5]), tmp_path)
    network, folder = start.network, start.folder
    for hosts in ([2, 3, 4], [3, 4, 5]):  # A majority at once would be refused.
        await apply_unconfirmed(spec_of(hosts), network, folder)
    after = load(
        "name: prod\nversion: 3.6.14\nhosts:\n  - {name: infra3, address: 192.168.9.3}\n"
        "  - {name: infra4, address: 192.168.8.69}\n  - {name: infra5, address: 192.168.8.70}\n"
    )
    entry = next(each for each in network.etcd.only().members.values() if each.name == "infra3")
    network.machines["old-infra3"] = network.machines.pop("infra3")
    network.add("infra3")
    observed = await observe(world_of(after, network, folder))
    answer = plan_replacement(after, "infra3", entry.member_id, observed, TOKEN)
    assert isinstance(answer, Refusal)
    assert [reason.host for reason in answer.reasons] == ["infra3"]
    confirmed = with_confirmed_endpoints(
        after, lambda seen: plan_replacement(after, "infra3", entry.member_id, seen, TOKEN)
    )(observed)
    assert isinstance(confirmed, Plan)
    assert confirmed.steps[0].kind == "RecordEndpoints"


async def test_one_other_host_needs_no_confirmation(tmp_path: Path) -> None:
    after = spec_of([1, 2, 4])
    start = await start_with_client(after, tmp_path)
    await apply_unconfirmed(after, start.network, start.folder)
    await apply_and_check(after, start.network, start.folder)
    assert await is_served(start.network)


async def test_the_confirmation_of_the_operator_is_recorded(tmp_path: Path) -> None:
    """After it, the two new endpoints count as known. A further change of the old ones does not stop."""
    start = await start_with_client(spec_of([1, 2, 3, 4, 5]), tmp_path)
    network, folder = start.network, start.folder
    five = spec_of([1, 2, 3, 4, 5])
    await bring_up(five, network, folder)
    answer = with_confirmed_endpoints(five, planner_of(five))(await observe(world_of(five, network, folder)))
    assert isinstance(answer, Plan)
    assert [step.kind for step in answer.steps] == ["RecordEndpoints"]
    await bring_up(five, network, folder, confirmed=True)
    records = endpoint_records("prod", await observe(world_of(five, network, folder)))
    assert set(records) == {desired_endpoints(five)}
    give_endpoints(network, five)
    three = spec_of([4, 5, 6])
    network.add("infra6")
    await apply_unconfirmed(three, network, folder)
    converge(network)
    assert await is_served(network)
