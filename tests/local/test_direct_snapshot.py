"""A snapshot does not use SSH if the member's client port is reachable from here, and uses SSH otherwise."""

from etcdup.core.spec.model import HostSpec, Spec
from etcdup.ops.pki.open import open_pki
from etcdup.ops.world.member_clients import MemberClients
from etcdup.remote.etcd.grpc_client import Credentials
from etcdup.remote.local import LocalHost
from tests.support.etcd_cluster import CLIENT_PORT, EtcdCluster

S = 10.0
CLOSED = 2399


class ForwardingHost(LocalHost):
    """A host whose SSH connection reaches the member's port in any case."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.forwarded = 0

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        self.forwarded += 1
        return address, CLIENT_PORT


class KnownMembers(MemberClients):
    """Clients with the credentials of the test cluster instead of those of a PKI."""

    known: Credentials

    def _read_credentials(self, name: str) -> Credentials:
        return self.known


async def test_ssh_is_used_only_if_the_client_port_is_not_reachable(cluster: EtcdCluster) -> None:
    for port, is_direct in ((CLIENT_PORT, True), (CLOSED, False)):
        member = HostSpec(name="m1", address=cluster.members["m1"].address, client_port=port)
        spec = Spec(name="prod", version="3.6.14", hosts=(member,))
        host = ForwardingHost("m1")
        members = KnownMembers(spec, {"m1": host}, open_pki(spec, cluster.folder))
        members.known = cluster.credentials
        try:
            client = await members.connect_directly("m1")
            assert (client is not await members.connect("m1")) == is_direct
            assert (await client.status(timeout_s=S)).version
            content = b"".join([piece async for piece in client.snapshot(timeout_s=S)])
            assert len(content) % 512 == 32
        finally:
            await members.close()
        assert host.forwarded == 1
