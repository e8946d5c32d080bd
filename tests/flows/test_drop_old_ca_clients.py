"""The last phase of `certs rotate-ca` with clients that keep one connection, as Patroni does.

A client is proved only when it is seen on a member that trusts only the new CA. Otherwise the phase stops, names the
client, and the client is still served.
"""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.core.planner.rotate_ca import plan_ca_rotation
from etcdup.errors import EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.connected_clients import observe_connected_clients
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.gateway_client import FakeGatewayClient
from etcdup.testing.network import FakeNetwork
from tests.flows.test_rotate_ca import SPEC, rotate, stage_of
from tests.support.fake_world import TOKEN, RecordingReporter, bring_up, make_plan, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

URLS = {host.name: SPEC.client_url(host) for host in SPEC.hosts}
ADDRESSES = {host.name: host.address for host in SPEC.hosts}


@pytest.fixture
async def signed(tmp_path: Path) -> Start:
    """A cluster whose members trust both CAs, and have certificates of the new one."""
    start = await prepare_start(SPEC, SPEC, tmp_path)
    await rotate(start.network, start.folder)
    await rotate(start.network, start.folder)
    start.network.commands.clear()
    return start


def ca_of(folder: Path, which: str) -> bytes:
    """Return the certificate of the old or the new CA, while both are trusted."""
    new = (folder / "pki/next-ca.pem").read_bytes()
    return new if which == "new" else (folder / "pki/ca.pem").read_bytes().removesuffix(new)


def connect(start: Start, member: str, issuer: str, **facts: object) -> FakeGatewayClient:
    """Connect a client to this member. It knows all endpoints, unless `facts` says otherwise."""
    number = len(start.network.clients) + 1
    given: dict[str, object] = {
        "address": f"10.0.0.{number}",
        "endpoints": list(URLS.values()),
        "issuer": ca_of(start.folder, issuer),
        "port": 40_000 + number,
    }
    client = FakeGatewayClient(**(given | facts))  # type: ignore[arg-type]
    client.process, client.member = start.network.machines[member].process, member
    start.network.clients.append(client)
    return client


async def drop(network: FakeNetwork, folder: Path, *accepted: str) -> None:
    """Run `certs rotate-ca --consumers-have certs`, with `--accept-client` for these addresses."""
    world = world_of(SPEC, network, folder)
    world.accepted_clients = frozenset(accepted)
    plan = plan_ca_rotation(SPEC, await observe(world), TOKEN, "drop")
    if not isinstance(plan, Plan):
        raise RefusedError("; ".join(reason.message for reason in plan.reasons))
    with Journal.in_folder(folder, SPEC.name) as journal:
        planner = lambda fresh: plan_ca_rotation(SPEC, fresh, TOKEN, "drop")  # noqa: E731
        await apply(world, plan, planner, RecordingReporter([]), journal)


async def assert_all_served(network: FakeNetwork) -> None:
    """Assert that each client has a member, after it had the time to try all of them."""
    await network.sleep(1)
    assert not any(client.cut_off for client in network.clients)


def dropped(network: FakeNetwork, folder: Path) -> list[str]:
    """Return the members that run with only the new CA."""
    only_new = (folder / "pki/ca.pem").read_bytes()
    return [
        name
        for name, each in network.machines.items()
        if each.process is not None and each.process.ca_file == only_new
    ]


@pytest.mark.quick
@pytest.mark.parametrize("member", list(URLS))
@pytest.mark.parametrize("issuer", ["new", "old"])
async def test_a_client_that_keeps_its_connection(
    texts: Texts, signed: Start, member: str, issuer: str
) -> None:
    client = connect(signed, member, issuer)
    if issuer == "new":
        await drop(signed.network, signed.folder)
        assert stage_of(signed.network, signed.folder) is None
        assert len(dropped(signed.network, signed.folder)) == 3
        await apply_and_check(SPEC, signed.network, signed.folder)
    else:
        with pytest.raises(PartlyApplied) as caught:
            await drop(signed.network, signed.folder)
        texts(caught.value)
        assert client.rejections
        assert 0 < len(dropped(signed.network, signed.folder)) < 3
        with pytest.raises(EtcdupError) as again:
            await drop(signed.network, signed.folder)
        texts(again.value)
    await assert_all_served(signed.network)


async def test_a_client_on_a_host_of_the_cluster_is_named_with_its_program(
    texts: Texts, signed: Start
) -> None:
    """Its address is that of a peer. Only its process shows that it is a client."""
    connect(signed, "infra2", "old", address=ADDRESSES["infra2"], machine="infra2")
    world = world_of(SPEC, signed.network, signed.folder)
    seen = await observe_connected_clients(world, await observe(world))
    assert [str(each) for each in seen["infra2"]] == [f"{ADDRESSES['infra2']} (patroni, pid 812)"]
    with pytest.raises(PartlyApplied) as caught:
        await drop(signed.network, signed.folder)
    texts(caught.value)
    await assert_all_served(signed.network)


async def test_two_programs_on_one_host_are_two_clients(texts: Texts, signed: Start) -> None:
    """A new certificate of one program does not prove the other one, although both have the same address."""
    where = {"address": ADDRESSES["infra3"], "machine": "infra3"}
    connect(signed, "infra1", "new", program="prometheus", pid=500, **where)
    connect(signed, "infra3", "old", keeps_endpoints=True, endpoints=[URLS["infra3"]], **where)
    with pytest.raises(PartlyApplied) as caught:
        await drop(signed.network, signed.folder)
    texts(caught.value)
    await assert_all_served(signed.network)


@pytest.mark.parametrize("issuer", ["new", "old"])
async def test_a_client_with_one_endpoint_is_never_proved(texts: Texts, signed: Start, issuer: str) -> None:
    """It comes back to the same member. Only the operator knows its certificate."""
    connect(signed, "infra3", issuer, keeps_endpoints=True, endpoints=[URLS["infra3"]])
    with pytest.raises(PartlyApplied) as caught:
        await drop(signed.network, signed.folder)
    texts(caught.value)
    await assert_all_served(signed.network)
    assert "infra3" not in dropped(signed.network, signed.folder)
    with pytest.raises(EtcdupError) as refused:
        await bring_up(SPEC, signed.network, signed.folder)
    texts(refused.value)
    await assert_all_served(signed.network)
    if issuer == "new":
        await drop(signed.network, signed.folder, "10.0.0.1")
        assert len(dropped(signed.network, signed.folder)) == 3
        await assert_all_served(signed.network)
        return
    with pytest.raises(PartlyApplied) as caught:
        await drop(signed.network, signed.folder, "10.0.0.1")
    texts(caught.value)
    assert len(dropped(signed.network, signed.folder)) == 2, "the last member keeps the way back open"
    await rotate(signed.network, signed.folder, keep=True)
    await assert_all_served(signed.network)


async def test_a_client_that_got_its_certificate_after_the_stop(signed: Start) -> None:
    client = connect(signed, "infra2", "old")
    new = ca_of(signed.folder, "new")
    with pytest.raises(PartlyApplied):
        await drop(signed.network, signed.folder)
    client.issuer = new
    await signed.network.sleep(1)
    await apply_and_check(SPEC, signed.network, signed.folder)
    assert len(dropped(signed.network, signed.folder)) == 3
    await assert_all_served(signed.network)


async def test_connections_do_not_gather_on_the_last_member(signed: Start) -> None:
    for number in range(9):
        connect(signed, f"infra{number % 3 + 1}", "new")
    await drop(signed.network, signed.folder)
    counts = Counter(client.member for client in signed.network.clients)
    assert max(counts.values()) < 9, counts
    await assert_all_served(signed.network)


async def test_a_member_whose_clients_are_all_proved_is_not_restarted_twice(signed: Start) -> None:
    await drop(signed.network, signed.folder)
    starts = [argv for _, argv in signed.network.commands if "pause-etcd" in argv]
    assert starts == []


@pytest.mark.parametrize("issuer", ["new", "old"])
async def test_a_kill_at_any_command(signed: Start, issuer: str) -> None:
    """The rerun finishes, or stops again while a client has an old certificate. No client is ever cut off."""
    connect(signed, "infra1", "new", address=ADDRESSES["infra1"], machine="infra1")
    connect(signed, "infra2", issuer)
    connect(signed, "infra3", "new")
    whole, path = signed.copy_to("whole")
    if issuer == "new":
        await drop(whole, path)
    else:
        with pytest.raises(PartlyApplied):
            await drop(whole, path)
    for cut in kill_points(len(whole.commands)):
        network, folder = signed.copy_to(str(cut))
        await kill_after(cut, network, drop(network, folder))
        await assert_all_served(network)
        if issuer == "new":
            await drop(network, folder)
            assert len(dropped(network, folder)) == 3
            left = await make_plan(SPEC, network, folder)
            assert isinstance(left, Plan)
            assert left.is_empty
        else:
            with pytest.raises(EtcdupError):
                await drop(network, folder)
            assert len(dropped(network, folder)) < 3
        await assert_all_served(network)
        shutil.rmtree(folder)
