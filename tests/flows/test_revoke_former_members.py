"""Members that leave or are replaced: their certificates are revoked, and their private keys are deleted."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.audit.findings import Evidence
from etcdup.core.audit.revocation import revocation_findings
from etcdup.core.certs.required import desired_certs
from etcdup.core.certs.revocation import certs_to_revoke, plan_revocation, restored_lines, retired_certs
from etcdup.core.plan.certificate_steps import RevokeCertificates
from etcdup.core.plan.plan import Refusal
from etcdup.core.planner.guards import refuse_step
from etcdup.core.planner.planner import plan
from etcdup.core.spec.load import load
from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.signing import key_pem
from etcdup.ops.pki.x509 import parse_key
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.flows.test_destroy import destroy
from tests.flows.test_provided_certs import TLS
from tests.flows.test_replace_member import LOSSES, SAME, bring_up_and_lose
from tests.flows.test_restore import restore, snapshot_in
from tests.flows.test_revoke_certs import at_now, record_rejected_peers, revoked_serials
from tests.flows.test_rotate_ca import kinds
from tests.support.fake_world import TOKEN, add_machines, bring_up, machines_for, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.openssl import make_ca, make_cert, make_key
from tests.support.texts import Texts

# infra3 joins, and infra4 leaves.
BEFORE, AFTER = spec_of((1, 2, 4)), spec_of((1, 2, 3))
KINDS = ("server", "peer", "health")
REVOKE = ["RevokeCertificates", *["InstallFiles"] * 3]


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    """Return a cluster of infra1, infra2 and infra4. infra4 has a renewed certificate."""
    start = await prepare_start(BEFORE, AFTER, tmp_path)
    world_of(BEFORE, start.network, start.folder).pki.issue(["peer/infra4"], at_now(start.network))
    await bring_up(BEFORE, start.network, start.folder)
    start.network.restart_etcdup()
    return start


def serials_of(network: FakeNetwork, folder: Path, name: str) -> set[str]:
    """Return the serial numbers of all certificates that were ever issued for this member."""
    pki = world_of(AFTER, network, folder).pki
    known = {**pki.archived_certs(), **pki.observe().certs}
    return {each.cert.serial for each in certs_to_revoke(name, known, at_now(network))}


def keys_on(network: FakeNetwork, name: str) -> list[str]:
    return [path for path in network.machines[name].nodes if path.endswith("-key.pem")]


@pytest.mark.quick
async def test_a_removal_revokes_the_certificates_and_deletes_the_keys(start: Start) -> None:
    network, folder = start.network, start.folder
    processes = {name: machine.process for name, machine in network.machines.items()}
    serials = serials_of(network, folder, "infra4")
    assert len(serials) == 4
    answer = await make_plan(AFTER, network, folder)
    assert kinds(answer)[-6:] == ["RemoveMember", "DetachMember", *REVOKE]
    await apply_and_check(AFTER, network, folder)
    assert revoked_serials(network, folder) == serials
    assert keys_on(network, "infra4") == []
    assert all(network.machines[name].process == processes[name] for name in ("infra1", "infra2"))


@pytest.mark.quick
async def test_a_kill_of_a_removal_is_finished_by_the_next_apply(start: Start) -> None:
    whole, folder = start.copy_to("once")
    serials = serials_of(whole, folder, "infra4")
    rejected = record_rejected_peers(whole)
    await apply_and_check(AFTER, whole, folder)
    assert rejected == []
    for cut in kill_points(len(whole.commands)):
        with start.copied(cut) as (network, folder):
            before = record_rejected_peers(network)
            await kill_after(cut, network, bring_up(AFTER, network, folder))
            after = record_rejected_peers(network)
            await apply_and_check(AFTER, network, folder)
            assert before == after == [], cut
            assert revoked_serials(network, folder) == serials, cut
            assert keys_on(network, "infra4") == [], cut


async def test_certificates_of_a_host_that_is_gone_are_revoked(texts: Texts, start: Start) -> None:
    """Its keys stay there, and the plan says so. They are deleted when the host is reachable again."""
    network, folder = start.network, start.folder
    serials = serials_of(network, folder, "infra4")
    network.cut_off("infra4")
    answer = await make_plan(AFTER, network, folder)
    assert "DetachMember" not in kinds(answer)
    assert kinds(answer)[-len(REVOKE) :] == REVOKE
    texts(answer.notes)
    await bring_up(AFTER, network, folder)
    assert serials == world_of(AFTER, network, folder).pki.observe().crls["crl"].revoked
    assert len(keys_on(network, "infra4")) == len(KINDS)
    left = await make_plan(AFTER, network, folder)
    assert kinds(left) == []
    texts(left.notes)
    network.reconnect("infra4")
    network.restart_etcdup()
    await apply_and_check(AFTER, network, folder)
    assert keys_on(network, "infra4") == []
    assert revoked_serials(network, folder) == serials


def encrypt_ca_key(folder: Path, passphrase: str) -> None:
    path = folder / "pki/ca-key.pem"
    path.write_bytes(key_pem(parse_key(path, path.read_bytes(), None), passphrase))


def issue_newcomer(network: FakeNetwork, folder: Path) -> None:
    """Issue the certificates of infra3 in advance. Its own plan then needs no CA key."""
    world_of(AFTER, network, folder).pki.issue([f"{kind}/infra3" for kind in KINDS], at_now(network))


@pytest.mark.parametrize("is_absent", [False, True])
@pytest.mark.parametrize("is_dead", [False, True])
async def test_a_removal_without_the_ca_key_or_its_passphrase_revokes_later(
    texts: Texts, start: Start, is_absent: bool, is_dead: bool
) -> None:
    network, folder = start.network, start.folder
    issue_newcomer(network, folder)
    serials, key = serials_of(network, folder, "infra4"), folder / "pki/ca-key.pem"
    kept = key.read_bytes()
    if is_absent:
        key.unlink()
    else:
        encrypt_ca_key(folder, "secret")
    if is_dead:
        network.crash("infra4")
    answer = await make_plan(AFTER, network, folder)
    assert "RemoveMember" in kinds(answer)
    assert "RevokeCertificates" not in kinds(answer)
    texts(answer.notes)
    await bring_up(AFTER, network, folder)
    assert revoked_serials(network, folder) == frozenset()
    network.restart_etcdup()
    left = await make_plan(AFTER, network, folder)
    assert kinds(left) == []
    texts(left.notes)
    observed = await observe(world_of(AFTER, network, folder))
    (finding,) = revocation_findings(AFTER, Evidence(observed))
    assert finding.code == "certificates-not-revoked"
    key.write_bytes(kept)
    await bring_up(AFTER, network, folder)
    assert revoked_serials(network, folder) == serials
    observed = await observe(world_of(AFTER, network, folder))
    assert [*revocation_findings(AFTER, Evidence(observed))] == []


async def test_a_passphrase_that_is_wrong_or_not_given_blocks_no_removal(start: Start) -> None:
    """After the failed attempt, the same run plans the removal without the revocation."""
    network, folder = start.network, start.folder
    issue_newcomer(network, folder)
    encrypt_ca_key(folder, "secret")
    pki = open_pki(AFTER, folder, lambda: "")
    world = replace(world_of(AFTER, network, folder), pki=pki)
    assert "RevokeCertificates" in kinds(plan(AFTER, await observe(world), TOKEN))
    with pytest.raises(PkiError):
        pki.unlock(at_now(network))
    after = kinds(plan(AFTER, await observe(world), TOKEN))
    assert "RemoveMember" in after
    assert "RevokeCertificates" not in after


async def test_archived_certificates_of_an_earlier_version_are_revoked(start: Start) -> None:
    """An earlier version of etcdup did not revoke them. The next apply does."""
    network, folder = start.network, start.folder
    await bring_up(AFTER, network, folder)
    network.restart_etcdup()
    (folder / "pki/crl.der").unlink()
    pki = world_of(AFTER, network, folder).pki
    pki.issue(["crl"], at_now(network))
    await bring_up(AFTER, network, folder)
    assert serials_of(network, folder, "infra4") == revoked_serials(network, folder)


async def test_a_member_that_comes_back_has_new_keys(start: Start) -> None:
    network, folder = start.network, start.folder
    before = serials_of(network, folder, "infra4")
    for spec in (AFTER, BEFORE):
        await bring_up(spec, network, folder)
        network.restart_etcdup()
    await apply_and_check(BEFORE, network, folder)
    assert revoked_serials(network, folder) == before | serials_of(network, folder, "infra3")
    assert len(serials_of(network, folder, "infra4") - before) == len(KINDS)


async def test_one_apply_renews_the_certificates_and_revokes_others(start: Start) -> None:
    """Each host gets files for handshakes twice: its renewed certificates first, and the list last."""
    network, folder = start.network, start.folder
    serials = serials_of(network, folder, "infra4")
    network.time += 250 * 86400.0
    assert kinds(await make_plan(AFTER, network, folder))[0] == "IssueCertificates"
    await apply_and_check(AFTER, network, folder)
    assert revoked_serials(network, folder) == serials


async def test_a_new_cluster_with_the_same_pki_rejects_the_members_of_the_destroyed_one(start: Start) -> None:
    network, folder = start.network, start.folder
    serials = serials_of(network, folder, "infra4")
    await destroy(BEFORE, network, folder)
    network.restart_etcdup()
    await apply_and_check(AFTER, network, folder)
    assert revoked_serials(network, folder) == serials


async def test_after_a_restore_to_other_hosts_the_next_apply_revokes_and_the_plan_says_so(
    texts: Texts,
    start: Start,
) -> None:
    network, folder = start.network, start.folder
    serials = serials_of(network, folder, "infra4")
    observed = await observe(world_of(AFTER, network, folder))
    texts(restored_lines(AFTER, observed))
    answer = await restore(AFTER, network, folder, snapshot_in(folder))
    texts(answer.notes)
    assert revoked_serials(network, folder) == frozenset()
    network.restart_etcdup()
    await apply_and_check(AFTER, network, folder)
    assert revoked_serials(network, folder) == serials
    observed = await observe(world_of(AFTER, network, folder))
    assert restored_lines(AFTER, observed) == ()


async def test_a_listed_member_is_not_revoked(start: Start) -> None:
    """The guard: only a quorum confirms that a member has left."""
    observed = await observe(world_of(AFTER, start.network, start.folder))
    chosen = retired_certs(AFTER, observed)
    step = RevokeCertificates(
        roles=tuple(each.role for each in chosen),
        serials=tuple(each.cert.serial for each in chosen),
        reason="it left",
    )
    assert [each.host for each in refuse_step(step, AFTER, observed)] == ["infra4"]
    await bring_up(AFTER, start.network, start.folder)
    start.network.restart_etcdup()
    observed = await observe(world_of(AFTER, start.network, start.folder))
    assert refuse_step(step, AFTER, observed) == ()
    for name in ("infra1", "infra2"):
        start.network.crash(name)
    observed = await observe(world_of(AFTER, start.network, start.folder))
    assert [each.host for each in refuse_step(step, AFTER, observed)] == ["infra4"]


async def test_certificates_of_an_unreachable_host_with_a_new_name_are_not_revoked(start: Start) -> None:
    """Its member still uses those of its previous name: no other certificate can be installed there."""
    network, folder = start.network, start.folder
    network.cut_off("infra4")
    network.machines["infra9"] = network.machines.pop("infra4")
    hosts = [f"{{name: infra{n}, address: 192.168.8.{65 + n}}}" for n in (1, 2)]
    hosts.append("{name: infra9, address: 192.168.8.69, member: infra4}")
    renamed = load(f"name: prod\nversion: 3.6.14\nhosts: [{', '.join(hosts)}]\n")
    assert "RevokeCertificates" not in kinds(await make_plan(renamed, network, folder))
    observed = await observe(world_of(renamed, network, folder))
    assert "peer/infra4" in observed.pki.certs
    assert retired_certs(renamed, observed) == ()
    chosen = certs_to_revoke("infra4", observed.pki.certs, observed.at)
    refusal = plan_revocation(renamed, observed, chosen)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {"infra9"}


async def kill_before_marker(folder: Path, *, issued: bool) -> tuple[FakeNetwork, set[str]]:
    """Return a cluster after a `member replace infra2` that was killed before it wrote the marker."""
    network = await bring_up_and_lose(folder, LOSSES["a healthy member"])
    old, pki = serials_of(network, folder, "infra2"), world_of(SAME, network, folder).pki
    pki.archive_member("infra2")
    if issued:
        pki.issue([f"{kind}/infra2" for kind in KINDS], at_now(network))
    network.restart_etcdup()
    return network, old


@pytest.mark.parametrize("issued", [True, False])
async def test_an_apply_after_a_kill_before_the_marker_gives_the_member_its_new_pair_first(
    tmp_path: Path, issued: bool
) -> None:
    network, old = await kill_before_marker(tmp_path, issued=issued)
    rejected = record_rejected_peers(network)
    await apply_and_check(SAME, network, tmp_path)
    assert rejected == []
    assert revoked_serials(network, tmp_path) == old


async def test_archived_certificates_of_an_unreachable_member_are_not_revoked(tmp_path: Path) -> None:
    """Its host may still have them. The next apply that reaches the host revokes them."""
    network, old = await kill_before_marker(tmp_path, issued=True)
    network.cut_off("infra2")
    answer = await make_plan(SAME, network, tmp_path)
    assert "RevokeCertificates" not in kinds(answer)
    network.reconnect("infra2")
    network.restart_etcdup()
    await apply_and_check(SAME, network, tmp_path)
    assert revoked_serials(network, tmp_path) == old


async def test_with_a_provided_ca_the_plan_says_what_the_operator_has_to_do(
    texts: Texts, tmp_path: Path
) -> None:
    before, after = spec_of((1, 2, 4), TLS), spec_of((1, 2, 3), TLS)
    network = machines_for(before)
    add_machines(network, after)
    addresses = tuple(host.address for host in spec_of(5).hosts)
    ca = make_ca(tmp_path / "ca")
    (tmp_path / "ca.pem").write_bytes(ca.cert.read_bytes())
    make_cert(ca, tmp_path / "etcd.pem", make_key(tmp_path / "etcd-key.pem"), addresses=addresses)
    await bring_up(before, network, tmp_path)
    network.restart_etcdup()
    answer = await make_plan(after, network, tmp_path)
    assert kinds(answer)[-2:] == ["RemoveMember", "DetachMember"]
    texts(answer.notes)
    await bring_up(after, network, tmp_path)
    assert keys_on(network, "infra4") == []


def test_the_archive_of_a_member_has_its_renewed_certificates_and_its_own_name(tmp_path: Path) -> None:
    """A member may be named like the folder of archived consumers."""
    spec = load("name: prod\nversion: 3.6.14\nhosts:\n  - {name: clients, address: 192.168.8.66}\n")
    pki, now = open_pki(spec, tmp_path), datetime(2026, 11, 22, tzinfo=UTC)
    pki.issue([each.role for each in desired_certs(spec)], now)
    pki.issue(["peer/clients"], now)
    assert [role.partition("-")[0] for role in pki.observe().former] == ["renewed/clients/peer"]
    pki.archive_member("clients")
    roles = {role.partition("-")[0] for role in pki.observe().former}
    assert roles == {f"former/clients~1/{kind}" for kind in KINDS}
    assert len(pki.observe().former) == len(KINDS) + 1


async def test_a_certificate_that_a_running_member_still_has_is_not_revoked(start: Start) -> None:
    """Whatever its name in the PKI is: a member that was renamed has the certificates of its previous name."""
    network, folder = start.network, start.folder
    hosts = [f"{{name: infra{n}, address: 192.168.8.{65 + n}}}" for n in (1, 2)]
    hosts.append("{name: infra9, address: 192.168.8.69, member: infra4}")
    renamed = load(f"name: prod\nversion: 3.6.14\nhosts: [{', '.join(hosts)}]\n")
    network.machines["infra9"] = network.machines.pop("infra4")
    observed = await observe(world_of(renamed, network, folder))
    cert = observed.pki.certs["peer/infra4"]
    step = RevokeCertificates(roles=("peer/infra4",), serials=(cert.serial,), reason="it left")
    assert [each.host for each in refuse_step(step, renamed, observed)] == ["infra9"]
