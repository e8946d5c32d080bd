"""Several fleets on one connection to each host."""

from etcdup.core.spec.model import HostSpec, Spec
from etcdup.remote.fleet import open_fleet
from etcdup.remote.secrets import Secrets
from etcdup.remote.shared_logins import SharedLogins
from etcdup.remote.ssh.ssh import SshHost
from tests.support.sshd import Sshd

NO_SECRETS = Secrets(environ={})


def spec(sshd: Sshd, name: str, **ssh: object) -> Spec:
    host = HostSpec(name=name, address="127.0.0.1")
    return Spec(name="test", version="3.6.14", hosts=(host,), ssh=sshd.ssh(**ssh))


async def client_of(spec: Spec, logins: SharedLogins) -> str:
    """Return the port of this machine from which a fleet is connected, and the name of its host."""
    async with open_fleet(spec, NO_SECRETS, connect=logins.connect) as fleet:
        (host,) = fleet.hosts.values()
        result = await host.run(["sh", "-c", 'echo "$SSH_CLIENT"'])
        return f"{result.host} {result.check().stdout}"


async def test_the_second_fleet_has_the_connection_of_the_first_one_under_another_name(sshd: Sshd) -> None:
    async with SharedLogins() as logins:
        first = await client_of(spec(sshd, "infra1"), logins)
        second = await client_of(spec(sshd, "infra2"), logins)
        assert first.split()[1:] == second.split()[1:]
        assert (first.split()[0], second.split()[0]) == ("infra1", "infra2")


async def test_other_settings_of_ssh_have_a_connection_of_their_own(sshd: Sshd) -> None:
    async with SharedLogins() as logins:
        first = await client_of(spec(sshd, "infra1"), logins)
        assert first != await client_of(spec(sshd, "infra1", connect_timeout="9s"), logins)


async def test_a_lost_connection_is_replaced(sshd: Sshd) -> None:
    async with SharedLogins() as logins:
        first = await client_of(spec(sshd, "infra1"), logins)
        (owner,) = logins._open.values()
        assert isinstance(owner, SshHost)
        await owner.close()
        assert first != await client_of(spec(sshd, "infra1"), logins)
