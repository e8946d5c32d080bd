"""Replace provided files by new ones of another CA: in three steps, and never in one step."""

import shutil
from pathlib import Path

import pytest

from etcdup.core.certs.renewal import replaces_leaves
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.testing.network import FakeNetwork
from tests.flows.test_rotate_ca import kinds
from tests.support.fake_world import bring_up, machines_for, make_plan, spec_of
from tests.support.openssl import Ca, make_ca, make_cert, make_key
from tests.support.texts import Texts

TLS = "tls: {mode: provided, ca: ca.pem, cert: etcd.pem, key: etcd-key.pem}\n"
SPEC = spec_of(3, TLS)
ADDRESSES = tuple(host.address for host in SPEC.hosts)
ROLL = ["InstallFiles", "RestartMember"] * 3


def write_leaf(folder: Path, ca: Ca, key: str = "ec-pkcs8") -> None:
    make_cert(ca, folder / "etcd.pem", make_key(folder / "etcd-key.pem", key), addresses=ADDRESSES)


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    network = machines_for(SPEC)
    old = make_ca(tmp_path / "old")
    make_ca(tmp_path / "new", "next-ca")
    shutil.copy(old.cert, tmp_path / "ca.pem")
    write_leaf(tmp_path, old)
    await bring_up(SPEC, network, tmp_path)
    return network


async def plan_spec(network: FakeNetwork, folder: Path) -> Plan | Refusal:
    return await make_plan(SPEC, network, folder)


async def apply_spec(network: FakeNetwork, folder: Path) -> list[str]:
    steps = kinds(await plan_spec(network, folder))
    await bring_up(SPEC, network, folder)
    assert kinds(await plan_spec(network, folder)) == []
    return steps


async def test_another_ca_takes_three_steps(network: FakeNetwork, tmp_path: Path) -> None:
    old, new = Ca(tmp_path / "old"), Ca(tmp_path / "new")
    (tmp_path / "ca.pem").write_bytes(old.cert.read_bytes() + new.cert.read_bytes())
    assert await apply_spec(network, tmp_path) == ROLL
    write_leaf(tmp_path, new, "rsa-pkcs1")
    assert await apply_spec(network, tmp_path) == ["InstallFiles"] * 3
    shutil.copy(new.cert, tmp_path / "ca.pem")
    assert await apply_spec(network, tmp_path) == ROLL


async def test_leaves_of_the_same_ca_need_no_restart(network: FakeNetwork, tmp_path: Path) -> None:
    """But they need a proof of the served certificates. A corrected file mode does not need one."""
    network.machines["infra1"].nodes["/etc/etcd/pki/server.pem"].mode = 0o600
    answer = await plan_spec(network, tmp_path)
    assert isinstance(answer, Plan)
    assert kinds(answer) == ["InstallFiles"]
    assert not replaces_leaves(answer)
    write_leaf(tmp_path, Ca(tmp_path / "old"), "ec-sec1")
    answer = await plan_spec(network, tmp_path)
    assert isinstance(answer, Plan)
    assert replaces_leaves(answer)
    assert await apply_spec(network, tmp_path) == ["InstallFiles"] * 3


async def test_another_ca_in_one_step_is_refused(texts: Texts, network: FakeNetwork, tmp_path: Path) -> None:
    new = Ca(tmp_path / "new")
    shutil.copy(new.cert, tmp_path / "ca.pem")
    write_leaf(tmp_path, new)
    answer = await plan_spec(network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_new_leaves_wait_for_the_last_restart_with_both_cas(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    """A member that has the CA file with both CAs, but was not restarted, trusts only the old CA (rule 14)."""
    old, new = Ca(tmp_path / "old"), Ca(tmp_path / "new")
    both = old.cert.read_bytes() + new.cert.read_bytes()
    (tmp_path / "ca.pem").write_bytes(both)
    for name in ("ca.pem", "peer-ca.pem"):
        network.machines["infra2"].nodes[f"/etc/etcd/pki/{name}"].content = both
    write_leaf(tmp_path, new)
    refusal = await plan_spec(network, tmp_path)
    assert isinstance(refusal, Refusal)
    texts(refusal)
