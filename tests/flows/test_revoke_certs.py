"""`certs revoke` on fake machines: no member is restarted, and the next run completes a run that was killed."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.revocation import ToRevoke, certs_to_revoke, plan_revocation
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.certs.rejection import Rejection, keep_pairs, prove_rejected
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.crl import why_rejected
from etcdup.testing.network import FakeNetwork
from tests.flows.test_provided_certs import TLS
from tests.flows.test_revocation_lists import forget_lists
from tests.flows.test_rotate_ca import kinds
from tests.support.cases import quick_first
from tests.support.fake_world import RecordingReporter, bring_up, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

SPEC = spec_of()
PEER_CERT = "/etc/etcd/pki/peer.pem"


def at_now(network: FakeNetwork) -> datetime:
    return datetime.fromtimestamp(network.now(), UTC)


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    """Return a cluster with a consumer that has a replaced and a present certificate."""
    start = await prepare_start(SPEC, SPEC, tmp_path)
    pki, now = world_of(SPEC, start.network, start.folder).pki, at_now(start.network)
    pki.issue_consumer("app1", now)
    pki.issue_consumer("app1", now, renew=True)
    pki.issue_consumer("app2", now)
    return start


async def choose(network: FakeNetwork, folder: Path, name: str) -> tuple[ToRevoke, ...]:
    world = world_of(SPEC, network, folder)
    seen = world.pki.observe()
    return certs_to_revoke(name, {**world.pki.archived_certs(), **seen.certs}, at_now(network))


async def plan_revoke(network: FakeNetwork, folder: Path, name: str) -> Plan | Refusal:
    observed = await observe(world_of(SPEC, network, folder))
    return plan_revocation(SPEC, observed, await choose(network, folder, name))


async def revoke(network: FakeNetwork, folder: Path, chosen: Sequence[ToRevoke]) -> tuple[Rejection, ...]:
    world = world_of(SPEC, network, folder)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_revocation(SPEC, fresh, chosen)

    plan = planner(await observe(world))
    assert isinstance(plan, Plan), plan
    with keep_pairs(chosen) as pairs:
        with Journal.in_folder(folder, SPEC.name) as journal:
            await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)
        world = world_of(SPEC, network, folder)
        return await prove_rejected(world, await observe(world), chosen, pairs)


def revoked_serials(network: FakeNetwork, folder: Path) -> frozenset[str]:
    """Return the serial numbers in the list, which every member must have."""
    content = (folder / "pki/crl.der").read_bytes()
    for machine in (each for each in network.machines.values() if each.process):
        for path in ("/etc/etcd/pki/crl.der", "/etc/etcd/pki/peer-crl.der"):
            assert machine.nodes[path].content == content
    return world_of(SPEC, network, folder).pki.observe().crls["crl"].revoked


async def test_a_consumer_is_rejected_by_every_member_without_a_restart(start: Start) -> None:
    network, folder = start.copy_to("once")
    processes = {name: machine.process for name, machine in network.machines.items()}
    chosen = await choose(network, folder, "app1")
    assert [each.role for each in chosen] == ["client/app1", "replaced/app1"]
    assert kinds(await plan_revoke(network, folder, "app1")) == [
        "RevokeCertificates", *["InstallFiles"] * 3
    ]  # fmt: skip
    found = await revoke(network, folder, chosen)
    assert [each.rejected for each in found] == [True] * 6
    assert {name: machine.process for name, machine in network.machines.items()} == processes
    assert revoked_serials(network, folder) == {each.cert.serial for each in chosen}
    assert kinds(await plan_revoke(network, folder, "app1")) == []
    await apply_and_check(SPEC, network, folder)
    others = await choose(network, folder, "app2")
    with keep_pairs(others) as pairs:
        world = world_of(SPEC, network, folder)
        accepted = await prove_rejected(world, await observe(world), others, pairs)
    assert [each.rejected for each in accepted] == [False] * 3


async def test_a_revoked_consumer_gets_a_new_key(start: Start) -> None:
    network, folder = start.network, start.folder
    chosen = await choose(network, folder, "app1")
    await revoke(network, folder, chosen)
    pki = world_of(SPEC, network, folder).pki
    before = (folder / "pki/clients/app1-key.pem").read_bytes()
    pki.issue_consumer("app1", at_now(network))
    assert (folder / "pki/clients/app1-key.pem").read_bytes() != before
    assert not pki.observe().certs["client/app1"].is_revoked
    assert len(await choose(network, folder, "app1")) == 3


async def test_one_certificate_of_a_consumer_can_be_revoked_alone(start: Start) -> None:
    chosen = await choose(start.network, start.folder, "replaced/app1")
    await revoke(start.network, start.folder, chosen)
    assert revoked_serials(start.network, start.folder) == {chosen[0].cert.serial}
    assert not world_of(SPEC, start.network, start.folder).pki.observe().certs["client/app1"].is_revoked


@pytest.mark.parametrize("name", ["infra2", "peer/infra2", "admin"])
async def test_a_certificate_in_use_is_replaced_by_one_with_a_new_key(start: Start, name: str) -> None:
    network, folder = start.copy_to("once")
    processes = {host: machine.process for host, machine in network.machines.items()}
    before = world_of(SPEC, network, folder).pki.observe()
    chosen = await choose(network, folder, name)
    plan = await plan_revoke(network, folder, name)
    revoking = ["RevokeCertificates", "IssueCertificates"]
    if name != "admin":
        revoking = ["IssueCertificates", "InstallFiles", "RevokeCertificates"]
    assert kinds(plan) == [*revoking, *["InstallFiles"] * 3]
    assert isinstance(plan, Plan)
    first = next(step for step in plan.steps if isinstance(step, InstallFiles))
    assert first.host == ("infra1" if name == "admin" else "infra2"), "its new pair is there before the list"
    found = await revoke(network, folder, chosen)
    assert {each.rejected for each in found} == {True}
    assert {host: machine.process for host, machine in network.machines.items()} == processes
    after = world_of(SPEC, network, folder).pki.observe()
    for each in chosen:
        assert after.certs[each.role].key != before.certs[each.role].key
        assert not after.certs[each.role].is_revoked
    await apply_and_check(SPEC, network, folder)


@pytest.mark.quick
@pytest.mark.parametrize("name", quick_first("app1", "infra2", "admin"))
async def test_a_kill_at_any_command_leaves_the_rest_to_the_next_run(start: Start, name: str) -> None:
    whole, folder = start.copy_to("once")
    chosen = await choose(whole, folder, name)
    await revoke(whole, folder, chosen)
    for cut in kill_points(len(whole.commands)):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, revoke(network, folder, chosen))
            listed = world_of(SPEC, network, folder).pki.observe().crls["crl"].revoked
            if cut % 2:
                await revoke(network, folder, chosen)
                listed = frozenset(each.cert.serial for each in chosen)
                network.restart_etcdup()
            await apply_and_check(SPEC, network, folder)
            assert revoked_serials(network, folder) == listed
            await revoke(network, folder, chosen)
            assert revoked_serials(network, folder) == {each.cert.serial for each in chosen}


def record_rejected_peers(network: FakeNetwork) -> list[tuple[str, str]]:
    """Return a list that gets each pair of members of which one rejects the other, after any later command."""
    found: list[tuple[str, str]] = []

    def record() -> None:
        listed = {each.name for each in network.etcd.only().members.values()}
        members = {name: each for name, each in network.machines.items() if name in listed and each.process}
        for name, source in members.items():
            cert = source.nodes[PEER_CERT].content or b""
            others = {other: each for other, each in members.items() if other != name}
            found.extend(
                (other, name) for other, each in others.items() if why_rejected(each, "peer-crl", cert)
            )

    for count in range(1, 200):
        network.at(count, record)
    return found


@pytest.mark.parametrize("name", ["infra2", "infra3"])
async def test_after_a_kill_no_member_rejects_another_one(start: Start, name: str) -> None:
    """A plain apply gives the member its new pair before the other members get the list."""
    whole, folder = start.copy_to("once")
    chosen = await choose(whole, folder, name)
    rejected = record_rejected_peers(whole)
    await revoke(whole, folder, chosen)
    assert rejected == []
    for cut in kill_points(len(whole.commands)):
        with start.copied(cut) as (network, folder):
            before = record_rejected_peers(network)
            await kill_after(cut, network, revoke(network, folder, chosen))
            after = record_rejected_peers(network)
            await apply_and_check(SPEC, network, folder)
            assert before == after == []


async def test_after_a_kill_a_member_on_an_unreachable_host_keeps_its_peers(start: Start) -> None:
    """The list is signed when the host has its new pair. Before, the next apply would give the others the list."""
    whole, folder = start.copy_to("once")
    chosen = await choose(whole, folder, "infra2")
    await revoke(whole, folder, chosen)
    for cut in kill_points(len(whole.commands)):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, revoke(network, folder, chosen))
            network.machines["infra2"].reachable = False
            rejected = record_rejected_peers(network)
            with suppress(EtcdupError):
                await bring_up(SPEC, network, folder)
            network.machines["infra2"].reachable = True
            network.restart_etcdup()
            await apply_and_check(SPEC, network, folder)
            assert rejected == [], cut


async def test_the_same_command_after_a_kill_revokes_the_certificate_that_it_replaced(start: Start) -> None:
    network, folder = start.network, start.folder
    pki = world_of(SPEC, network, folder).pki
    before = pki.observe().certs["peer/infra2"]
    pki.issue(["peer/infra2"], at_now(network), new_keys=True)
    assert pki.observe().certs["peer/infra2"].key != before.key
    assert before.serial in {each.cert.serial for each in await choose(network, folder, "peer/infra2")}


@pytest.mark.quick
@pytest.mark.parametrize("is_issued", [False, True])
@pytest.mark.parametrize("name", ["infra2", "infra3"])
async def test_after_a_kill_before_any_host_has_files_no_member_rejects_another_one(
    start: Start, name: str, is_issued: bool
) -> None:
    network, folder = start.network, start.folder
    chosen, pki = await choose(network, folder, name), world_of(SPEC, network, folder).pki
    pki.revoke([each.cert.serial for each in chosen], at_now(network))
    if is_issued:
        pki.issue([each.role for each in chosen], at_now(network))
    plan = await make_plan(SPEC, network, folder)
    assert isinstance(plan, Plan)
    assert next(step.host for step in plan.steps if isinstance(step, InstallFiles)) == name
    rejected = record_rejected_peers(network)
    await apply_and_check(SPEC, network, folder)
    assert rejected == []
    assert revoked_serials(network, folder) == {each.cert.serial for each in chosen}


async def test_a_port_that_serves_no_member_proves_nothing(start: Start) -> None:
    network, folder = start.network, start.folder
    chosen = await choose(network, folder, "replaced/app1")
    await revoke(network, folder, chosen)
    world = world_of(SPEC, network, folder)
    observed = await observe(world)
    network.machines["infra2"].process = None
    with keep_pairs(chosen) as pairs:
        found = await prove_rejected(world, observed, chosen, pairs)
    assert {each.host: each.rejected for each in found} == {"infra1": True, "infra2": None, "infra3": True}


async def test_a_member_without_a_list_is_refused(texts: Texts, start: Start) -> None:
    forget_lists(start.network, start.folder)
    answer = await plan_revoke(start.network, start.folder, "app1")
    texts(answer)
    await apply_and_check(SPEC, start.network, start.folder)
    start.network.restart_etcdup()
    assert kinds(await plan_revoke(start.network, start.folder, "app1"))


async def test_an_unreachable_host_gets_the_list_from_the_next_apply(texts: Texts, start: Start) -> None:
    network, folder = start.network, start.folder
    network.cut_off("infra3")
    chosen = await choose(network, folder, "app1")
    texts((await plan_revoke(network, folder, "app1")).notes[0])
    found = await revoke(network, folder, chosen)
    assert [each.host for each in found if each.rejected is False] == ["infra3"] * 2
    network.reconnect("infra3")
    network.restart_etcdup()
    await apply_and_check(SPEC, network, folder)
    assert revoked_serials(network, folder) == {each.cert.serial for each in chosen}


async def test_the_certificate_of_an_unreachable_member_is_not_revoked(texts: Texts, start: Start) -> None:
    start.network.cut_off("infra3")
    answer = await plan_revoke(start.network, start.folder, "infra3")
    texts(answer)


async def test_renewed_certificates_of_a_member_are_revoked_with_it(start: Start) -> None:
    """A renewal keeps the key, so the previous certificate is as good as the new one to a thief."""
    network, folder = start.network, start.folder
    pki = world_of(SPEC, network, folder).pki
    before = pki.observe().certs["peer/infra2"].serial
    pki.issue(["peer/infra2"], at_now(network))
    roles = [each.role for each in await choose(network, folder, "infra2") if each.cert.serial == before]
    assert len(roles) == 1
    assert roles[0].startswith("renewed/infra2/peer")


async def test_all_certificates_of_a_member_that_left_twice_are_revoked(start: Start) -> None:
    pki = world_of(SPEC, start.network, start.folder).pki
    pki.archive_member("infra3")
    roles = [f"{kind}/infra3" for kind in ("server", "peer", "health")]
    pki.issue(roles, at_now(start.network))
    pki.archive_member("infra3")
    assert [each.role for each in await choose(start.network, start.folder, "infra3")] == [
        f"former/{name}/{kind}" for name in ("infra3", "infra3~1") for kind in ("health", "peer", "server")
    ]


async def test_a_replaced_certificate_of_a_consumer_named_server_has_one_role(start: Start) -> None:
    pki = world_of(SPEC, start.network, start.folder).pki
    for renew in (False, True):
        pki.issue_consumer("server", at_now(start.network), renew=renew)
    chosen = await choose(start.network, start.folder, "server")
    assert [each.role for each in chosen] == ["client/server", "replaced/server"]
    assert not [role for role in pki.archived_certs() if role.startswith("former/")]


async def test_provided_certificates_are_revoked_by_their_own_ca(texts: Texts, start: Start) -> None:
    observed = await observe(world_of(SPEC, start.network, start.folder))
    answer = plan_revocation(spec_of(3, TLS), observed, ())
    texts(answer)


async def test_an_apply_that_finds_a_revoked_member_certificate_replaces_it(start: Start) -> None:
    pki = world_of(SPEC, start.network, start.folder).pki
    pki.revoke([pki.observe().certs["server/infra3"].serial], at_now(start.network))
    answer = await make_plan(SPEC, start.network, start.folder)
    assert kinds(answer) == ["IssueCertificates", *["InstallFiles"] * 3]
    assert isinstance(answer, Plan)
    await apply_and_check(SPEC, start.network, start.folder)
