"""A snapshot uses the client port directly if this machine can reach it, and SSH forwarding otherwise."""

from etcdup.core.spec.model import HostSpec, Spec
from etcdup.ops.pki.pki import Pki
from etcdup.ops.world.open import MemberClients
from etcdup.remote.etcd.grpc_client import Credentials
from etcdup.remote.local import LocalHost
from tests.support.etcd_cluster import CLIENT_PORT, EtcdCluster

S = 10.0
CLOSED = 2399


class ForwardingHost(LocalHost):
    """A host whose SSH forwarding leads to the client port, even if this machine cannot reach the port directly."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.forwarded = 0

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        self.forwarded += 1
        return address, CLIENT_PORT


class KnownMembers(MemberClients):
    """Member clients with the credentials of the cluster instead of those of a PKI."""

    known: Credentials

    def _read_credentials(self, name: str) -> Credentials:
        return self.known


async def test_the_connection_is_direct_if_the_port_is_open_and_through_ssh_otherwise(
    cluster: EtcdCluster,
) -> None:
    for port, is_direct in ((CLIENT_PORT, True), (CLOSED, False)):
        place = HostSpec(name="m1", address=cluster.members["m1"].address, client_port=port)
        spec = Spec(name="prod", version="3.6.14", hosts=(place,))
        host = ForwardingHost("m1")
        members = KnownMembers(spec, {"m1": host}, Pki.open(spec, cluster.folder))
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
