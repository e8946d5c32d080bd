"""The contract of Host, tested with each kind of real host and with the fake."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.remote import local
from etcdup.remote.host import Host
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh import ssh
from etcdup.testing.host import FakeHost
from etcdup.testing.network import FakeNetwork
from tests.remote.host_contract import HOST_PROMISES, Promise, named
from tests.remote.real_host_contract import REAL_HOST_PROMISES
from tests.support.sshd import Sshd
from tests.support.sudo_users import PASSWORD, Users

PASSWORD_GIVEN = Secrets(environ={"ETCDUP_SUDO_PASSWORD": PASSWORD})
NO_SECRETS = Secrets(environ={})

CONNECTIONS = ("local", "ssh", "ssh-sudo", "ssh-sudo-password")


@pytest.fixture(params=CONNECTIONS)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    opened = await _open(request.param, request)
    yield opened
    await opened.close()


async def _open(door: str, request: pytest.FixtureRequest) -> Host:
    if door == "local":
        spec = HostSpec(name="infra1", address="127.0.0.1", local=True)
        return await local.connect_local(spec, SshSpec(), secrets=NO_SECRETS)
    sshd: Sshd = request.getfixturevalue("sshd")
    if door == "ssh":
        return await ssh.connect(sshd.host(), sshd.ssh(), secrets=NO_SECRETS)
    users: Users = request.getfixturevalue("users")
    user = users.passwordless if door == "ssh-sudo" else users.with_password
    return await ssh.connect(sshd.host(), sshd.ssh(user=user, sudo=True), secrets=PASSWORD_GIVEN)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    path = tmp_path / "on the host"
    path.mkdir()
    return str(path)


@pytest.mark.parametrize("promise", HOST_PROMISES + REAL_HOST_PROMISES, ids=named)
async def test_contract(promise: Promise, host: Host, folder: str) -> None:
    await promise(host, folder)


@pytest.mark.parametrize("promise", HOST_PROMISES, ids=named)
async def test_contract_of_the_fake(promise: Promise) -> None:
    machine = FakeNetwork(any_program=True).add("infra1")
    machine.make_dir("/folder")
    await promise(FakeHost(machine), "/folder")
