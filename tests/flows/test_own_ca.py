"""`certs own-ca` on fake machines: a CA of etcdup replaces a provided one, without the key of that one."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.ca_rotation import RotationStage, rotation_stage
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.own_ca import make_own_ca
from etcdup.testing.network import FakeNetwork
from tests.flows.test_rotate_ca import kinds, plan_phase, rotate
from tests.support.cases import quick_first
from tests.support.fake_world import add_machines, bring_up, machines_for, make_plan, spec_of, world_of
from tests.support.kill_everywhere import (
    Start,
    apply_and_check,
    kill_after,
    kill_everywhere,
    kill_points,
)
from tests.support.openssl import make_ca, make_cert, make_key
from tests.support.texts import Texts

PROVIDED = spec_of(3, "tls: {mode: provided, ca: ca.pem, cert: etcd.pem, key: etcd-key.pem}\n")
OWN_CA = "tls: {mode: managed, dir: own}\n"
SPEC = spec_of(3, OWN_CA)
ADDRESSES = tuple(host.address for host in SPEC.hosts)
NAME, LIST = b"ETCD_PEER_CERT_ALLOWED_CN", b"ETCD_CLIENT_CRL_FILE"
ROLL = ["InstallFiles", "RestartMember"] * 3


def write_own_ca(folder: Path, spec: Spec = PROVIDED) -> None:
    make_own_ca(spec, folder, open_pki(spec, folder), folder / "own", datetime.now(UTC), None)


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    """A cluster with provided certificates, whose operator has made a CA for it."""
    folder = tmp_path / "operator"
    folder.mkdir()
    ca = make_ca(tmp_path / "theirs")
    shutil.copy(ca.cert, folder / "ca.pem")
    make_cert(ca, folder / "etcd.pem", make_key(folder / "etcd-key.pem"), addresses=ADDRESSES)
    network = machines_for(PROVIDED)
    await bring_up(PROVIDED, network, folder)
    write_own_ca(folder)
    network.restart_etcdup()
    return Start(network, folder)


def stage_of(network: FakeNetwork, folder: Path) -> RotationStage | None:
    return rotation_stage(world_of(SPEC, network, folder).pki.observe())


def hosts_with(network: FakeNetwork, variable: bytes) -> int:
    files = (machine.nodes["/etc/etcd/etcd.conf"].content or b"" for machine in network.machines.values())
    return sum(variable in content for content in files)


async def test_three_runs_replace_a_provided_ca(start: Start) -> None:
    """Members restart in the first and in the last run. Names of peers and revocation lists begin with the last."""
    network, folder = start.parts
    assert kinds(await make_plan(SPEC, network, folder)) == ROLL
    leaves = {machine.nodes["/etc/etcd/pki/server.pem"].content for machine in network.machines.values()}
    await apply_and_check(SPEC, network, folder)
    assert {m.nodes["/etc/etcd/pki/server.pem"].content for m in network.machines.values()} == leaves
    assert stage_of(network, folder) == "trust"

    assert kinds((await plan_phase(network, folder, SPEC))[1]) == [
        "RotateAuthority",
        "IssueCertificates",
        *["InstallFiles"] * 3,
    ]
    assert await rotate(network, folder, SPEC) == "sign"
    assert (hosts_with(network, NAME), hosts_with(network, LIST)) == (0, 0)
    await apply_and_check(SPEC, network, folder)

    assert kinds((await plan_phase(network, folder, SPEC))[1]) == [
        "RotateAuthority",
        "IssueCertificates",
        *["InstallFiles"] * 3,
        *ROLL,
    ]
    assert await rotate(network, folder, SPEC) == "drop"
    assert (hosts_with(network, NAME), hosts_with(network, LIST)) == (3, 3)
    await apply_and_check(SPEC, network, folder)
    assert stage_of(network, folder) is None
    assert await rotate(network, folder, SPEC) == "trust", "the next rotation is one like any other"
    assert not world_of(SPEC, network, folder).pki.observe().is_from_provided


@pytest.mark.parametrize("stage", quick_first("trust", "sign", "drop"))
async def test_a_kill_at_any_command(start: Start, stage: RotationStage) -> None:
    network, folder = start.parts
    if stage == "trust":
        assert await kill_everywhere(start, SPEC) > 10
        return
    await bring_up(SPEC, network, folder)
    if stage == "drop":
        await rotate(network, folder, SPEC)
    network.commands.clear()
    whole, path = start.copy_to("whole")
    assert await rotate(whole, path, SPEC) == stage
    for cut in kill_points(len(whole.commands)):
        cut_off, path = start.copy_to(str(cut))
        await kill_after(cut, cut_off, rotate(cut_off, path, SPEC))
        await apply_and_check(SPEC, cut_off, path)
        assert stage_of(cut_off, path) in (("trust", "sign") if stage == "sign" else (None,))


async def test_the_provided_ca_can_be_trusted_again(start: Start) -> None:
    network, folder = start.parts
    await bring_up(SPEC, network, folder)
    await rotate(network, folder, SPEC)
    network.commands.clear()
    whole, path = start.copy_to("whole")
    await rotate(whole, path, SPEC)
    await kill_after(len(whole.commands) // 2, network, rotate(network, folder, SPEC))
    assert 0 < hosts_with(network, NAME) < 3
    await rotate(network, folder, SPEC, keep=True)
    assert stage_of(network, folder) == "sign"
    await apply_and_check(SPEC, network, folder)


async def test_what_needs_a_signature_waits_for_the_new_ca(start: Start, texts: Texts) -> None:
    network, folder = start.parts
    await bring_up(SPEC, network, folder)
    grown = spec_of(5, OWN_CA)
    add_machines(network, grown)
    refused = await make_plan(grown, network, folder)
    assert isinstance(refused, Refusal)
    texts(refused)
    pki = world_of(SPEC, network, folder).pki
    with pytest.raises(PkiError) as caught:
        pki.issue_consumer("app", datetime.now(UTC))
    texts(caught.value)
    await rotate(network, folder, SPEC)
    assert isinstance(await make_plan(grown, network, folder), Plan)


async def test_certificates_that_etcdup_made_before(tmp_path: Path) -> None:
    """The hosts have the name of the last change of the directory that made the provided certificates."""
    first = spec_of(3)
    network = machines_for(first)
    await bring_up(first, network, tmp_path)
    files = ", ".join(
        f"{prefix}{key}: 'pki/members/{{name}}/{kind}{end}.pem'"
        for prefix, kind in (("", "server"), ("peer_", "peer"), ("client_", "health"))
        for key, end in (("cert", ""), ("key", "-key"))
    )
    provided = spec_of(3, f"tls: {{mode: provided, ca: pki/ca.pem, peer_ca: pki/ca.pem, {files}}}\n")
    await bring_up(provided, network, tmp_path)
    make_own_ca(
        provided,
        tmp_path,
        open_pki(provided, tmp_path),
        tmp_path / "own",
        datetime.fromtimestamp(network.now(), UTC),
        None,
    )
    shutil.copytree(tmp_path / "own", tmp_path / "copy")
    for stage in ("trust", "sign", "drop"):
        assert await rotate(network, tmp_path, SPEC) == stage
    await apply_and_check(SPEC, network, tmp_path)
    older = await make_plan(spec_of(3, "tls: {mode: managed, dir: copy}\n"), network, tmp_path)
    assert isinstance(older, Refusal)
    assert all(20 in reason.rules for reason in older.reasons)


async def test_a_directory_is_never_overwritten(start: Start, texts: Texts) -> None:
    folder = start.folder
    before = {path: path.read_bytes() for path in folder.rglob("*.pem")}
    with pytest.raises(Exception) as caught:
        write_own_ca(folder)
    texts(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*.pem")} == before


async def test_peers_with_a_ca_of_their_own_are_refused(tmp_path: Path, texts: Texts) -> None:
    for name in ("theirs", "peers"):
        ca = make_ca(tmp_path / name)
        make_cert(ca, tmp_path / f"{name}.pem", make_key(tmp_path / f"{name}-key.pem"), addresses=ADDRESSES)
    files = "ca: theirs/ca.pem, cert: theirs.pem, key: theirs-key.pem"
    files += ", peer_ca: peers/ca.pem, peer_cert: peers.pem, peer_key: peers-key.pem"
    with pytest.raises(PkiError) as caught:
        write_own_ca(tmp_path, spec_of(3, f"tls: {{mode: provided, {files}}}\n"))
    texts(caught.value)
    assert not (tmp_path / "own").exists()
