"""Each member reads a revocation list from its first start on, and `apply` keeps the files as they must be."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Plan
from etcdup.errors import EtcdupError, PkiError
from etcdup.testing.network import FakeNetwork
from tests.flows.test_provided_certs import TLS, write_leaf
from tests.flows.test_rotate_ca import kinds
from tests.support.fake_world import bring_up, machines_for, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_everywhere, prepare_start
from tests.support.openssl import Ca, make_ca, openssl

SPEC = spec_of()
CONF, PKI = "/etc/etcd/etcd.conf", "/etc/etcd/pki"
LISTS = (f"{PKI}/crl.der", f"{PKI}/peer-crl.der")
FLAGS = ("ETCD_CLIENT_CRL_FILE", "ETCD_PEER_CRL_FILE")
NEWER = (b"ETCD_CLIENT_CRL_FILE", b"ETCD_PEER_CRL_FILE", b"ETCDUP_SETTINGS")
ROLL = ["InstallFiles", "RestartMember"] * 3


def flags(network: FakeNetwork) -> set[tuple[str | None, ...]]:
    """Return the lists of the running members."""
    processes = [machine.process for machine in network.machines.values()]
    return {tuple(process.environment.get(flag) for flag in FLAGS) for process in processes if process}


def forget_lists(network: FakeNetwork, folder: Path) -> None:
    """Make the cluster one that an earlier etcdup has formed."""
    (folder / "pki/crl.der").unlink()
    for machine in network.machines.values():
        for path in LISTS:
            machine.remove(path)
        conf = machine.nodes[CONF]
        lines = (conf.content or b"").splitlines(keepends=True)
        conf.content = b"".join(line for line in lines if not line.startswith(NEWER))
        assert machine.process is not None
        for name in (*FLAGS, "ETCDUP_SETTINGS"):
            del machine.process.environment[name]


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    return await prepare_start(SPEC, SPEC, tmp_path)


async def test_the_first_start_has_lists_for_clients_and_peers(start: Start) -> None:
    assert flags(start.network) == {LISTS}
    content = (start.folder / "pki/crl.der").read_bytes()
    for machine in start.network.machines.values():
        for path in LISTS:
            node = machine.nodes[path]
            assert (node.content, node.mode, node.owner) == (content, 0o644, "root:root")


@pytest.mark.quick
async def test_an_older_cluster_gets_the_lists_first_and_then_the_settings(start: Start) -> None:
    forget_lists(start.network, start.folder)
    network, folder = start.copy_to("once")
    assert kinds(await make_plan(SPEC, network, folder)) == [
        "IssueCertificates", *["InstallFiles"] * 3, *ROLL
    ]  # fmt: skip
    await apply_and_check(SPEC, network, folder)
    assert flags(network) == {LISTS}
    assert await kill_everywhere(start, SPEC) >= 12


def remove(network: FakeNetwork, name: str) -> None:
    network.machines[name].remove(LISTS[0])


def damage(network: FakeNetwork, name: str) -> None:
    network.machines[name].nodes[LISTS[0]].content = b"damaged"


def damage_both(network: FakeNetwork, name: str) -> None:
    for path in LISTS:
        network.machines[name].nodes[path].content = b""


@pytest.mark.parametrize("spoil", [remove, damage, damage_both])
@pytest.mark.parametrize("hosts", [("infra1",), ("infra1", "infra2", "infra3")], ids=len)
async def test_a_missing_or_damaged_list_is_replaced_without_a_restart(
    start: Start, spoil: Callable[[FakeNetwork, str], None], hosts: tuple[str, ...]
) -> None:
    """No new client is served until then, and with all lists damaged no member answers etcdup either."""
    for name in hosts:
        spoil(start.network, name)
    network, folder = start.copy_to("once")
    processes = {name: machine.process for name, machine in network.machines.items()}
    assert kinds(await make_plan(SPEC, network, folder)) == ["InstallFiles"] * len(hosts)
    await apply_and_check(SPEC, network, folder)
    assert {name: machine.process for name, machine in network.machines.items()} == processes
    await kill_everywhere(start, SPEC)


async def test_a_stopped_member_gets_its_list_before_its_start(start: Start) -> None:
    network = start.network
    remove(network, "infra2")
    network.machines["infra2"].process = None
    assert kinds(await make_plan(SPEC, network, start.folder)) == ["InstallFiles", "StartMember"]
    await kill_everywhere(start, SPEC)


async def test_a_list_that_is_damaged_on_its_way_is_put_back(start: Start) -> None:
    """The handshake still succeeds: only an answer shows that etcd has accepted the certificate."""
    world_of(SPEC, start.network, start.folder).pki.issue(["crl"], at_now(start.network))
    whole, folder = start.copy_to("once")
    await bring_up(SPEC, whole, folder)
    put_back = 0
    for cut in range(1, len(whole.commands) + 1):
        with start.copied(cut) as (network, folder):
            before = network.machines["infra2"].nodes[LISTS[0]].content
            network.at(cut, partial(damage, network, "infra1"))
            try:
                await bring_up(SPEC, network, folder)
            except EtcdupError as error:
                if "do not work on infra1" in error.message:
                    put_back += 1
                    lists = [machine.nodes[LISTS[0]].content for machine in network.machines.values()]
                    assert lists == [before] * 3
            network.restart_etcdup()
            await apply_and_check(SPEC, network, folder)
    assert put_back > 0


def at_now(network: FakeNetwork) -> datetime:
    return datetime.fromtimestamp(network.now(), UTC)


def write_list(ca: Ca, path: Path, *serials: str, form: str = "DER", version: int = 2) -> None:
    """Write a list that openssl makes."""
    folder = path.parent / "openssl-ca"
    folder.mkdir(exist_ok=True)
    entries = [
        f"R\t330101000000Z\t260101000000Z\t{serial.upper():0>40}\tunknown\t/CN=x" for serial in serials
    ]
    (folder / "index.txt").write_text("".join(f"{entry}\n" for entry in entries))
    (folder / "crlnumber").write_text("10\n")
    config = folder / "crl.cnf"
    config.write_text(
        "[ca]\ndefault_ca=one\n[one]\n"
        f"database={folder}/index.txt\ndefault_md=sha256\n"
        + (f"crlnumber={folder}/crlnumber\n" if version == 2 else "")
    )
    argv = ("-config", config, "-cert", ca.cert, "-keyfile", ca.key, "-crldays", "365")
    openssl("ca", "-gencrl", *argv, "-out", folder / "list.pem")
    openssl("crl", "-in", folder / "list.pem", "-outform", form, "-out", path)


PROVIDED = spec_of(3, TLS)
WITH_LIST = spec_of(3, TLS.replace("}", ", crl_file: crl.pem}"))


@pytest.fixture
async def provided(tmp_path: Path) -> Start:
    folder = tmp_path / "operator"
    folder.mkdir()
    ca = make_ca(folder / "ca")
    (folder / "ca.pem").write_bytes(ca.cert.read_bytes())
    write_leaf(folder, ca)
    network = machines_for(PROVIDED)
    await bring_up(PROVIDED, network, folder)
    network.restart_etcdup()
    return Start(network, folder)


async def test_a_provided_list_is_optional_and_sent_in_der(provided: Start) -> None:
    assert flags(provided.network) == {(None, None)}
    write_list(Ca(provided.folder / "ca"), provided.folder / "crl.pem", "abc", form="PEM")
    assert kinds(await make_plan(WITH_LIST, provided.network, provided.folder)) == [
        *["InstallFiles"] * 3, *ROLL
    ]  # fmt: skip
    network, folder = provided.copy_to("once")
    await apply_and_check(WITH_LIST, network, folder)
    assert flags(network) == {LISTS}
    content = network.machines["infra1"].nodes[LISTS[0]].content
    assert content is not None
    assert not content.startswith(b"-----")
    write_list(Ca(folder / "ca"), folder / "crl.pem", "abc", "def", form="PEM")
    assert kinds(await make_plan(WITH_LIST, network, folder)) == ["InstallFiles"] * 3
    await apply_and_check(WITH_LIST, network, folder)
    assert await kill_everywhere(provided, WITH_LIST) >= 12


@pytest.mark.parametrize("fault", ["damaged", "missing", "in use", "version 1"])
async def test_an_unusable_provided_list_changes_no_host(provided: Start, fault: str) -> None:
    path = provided.folder / "crl.pem"
    if fault == "damaged":
        path.write_bytes(b"damaged")
    if fault == "in use":
        world = world_of(PROVIDED, provided.network, provided.folder)
        write_list(Ca(provided.folder / "ca"), path, world.pki.observe().certs["peer/infra1"].serial)
    if fault == "version 1":
        write_list(Ca(provided.folder / "ca"), path, version=1)
    with pytest.raises(PkiError):
        await bring_up(WITH_LIST, provided.network, provided.folder)
    assert provided.network.commands == []


async def test_the_plan_names_only_lists_on_hosts_that_differ(start: Start) -> None:
    damage(start.network, "infra3")
    answer = await make_plan(SPEC, start.network, start.folder)
    assert isinstance(answer, Plan)
    (step,) = answer.steps
    assert isinstance(step, InstallFiles)
    assert (step.host, step.proof, [change.path for change in step.changes]) == (
        "infra3", "handshake", [LISTS[0]]
    )  # fmt: skip
