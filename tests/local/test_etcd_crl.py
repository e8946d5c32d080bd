"""What etcd does with a certificate revocation list: the facts on which core/certs/revocation.py is built.

https://github.com/etcd-io/etcd/blob/v3.6.14/client/pkg/transport/listener_tls.go (checkCRL)
"""

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.etcd_certs import Pair
from tests.support.etcd_cluster import CLIENT_PORT, PEER_PORT, EtcdCluster
from tests.support.loopback_networks import own_network

DER, PEM = Encoding.DER, Encoding.PEM


def make_crl(*revoked: Pair, form: Encoding = DER, days: float = 7) -> bytes:
    """Return a list with the serial numbers of these certificates. A key that no member knows signs it."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(
        x509.Name([]), last_update=now - timedelta(days=30), next_update=now + timedelta(days=days)
    ).add_extension(x509.CRLNumber(1), critical=False)
    for pair in revoked:
        serial = x509.load_pem_x509_certificate(pair.cert).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(form)


@dataclass
class CrlCluster:
    """One member with revocation lists for both ports, and two client certificates."""

    cluster: EtcdCluster
    version: str
    first: Pair
    second: Pair

    @property
    def client_list(self) -> Path:
        return self.cluster.folder / "client.crl"

    @property
    def peer_list(self) -> Path:
        return self.cluster.folder / "peer.crl"

    def answers(self, pair: Pair, port: int = CLIENT_PORT) -> bool:
        """Return whether a new connection with this certificate gets an answer."""
        folder = self.cluster.folder
        pair.write(folder, "probe")
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "probe.pem", folder / "probe-key.pem")
        address = self.cluster.members["m1"].address
        with closing(http.client.HTTPSConnection(address, port, timeout=5, context=context)) as connection:
            try:
                connection.request("GET", "/version")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False


@pytest.fixture(scope="module")
def listed(
    binaries: Path, etcd_version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CrlCluster]:
    folder = tmp_path_factory.mktemp("crl")
    with own_network() as network:
        extra = (f"--client-crl-file={folder}/client.crl", f"--peer-crl-file={folder}/peer.crl")
        cluster = EtcdCluster(binaries, folder, network, 1, extra)
        addresses = [cluster.members["m1"].address, "127.0.0.1"]
        first, second = (cluster.authority.issue(name, addresses) for name in ("first", "second"))
        found = CrlCluster(cluster, etcd_version, first, second)
        found.client_list.write_bytes(make_crl())
        found.peer_list.write_bytes(make_crl())
        try:
            cluster.start()
            cluster.wait_healthy()
            yield found
        finally:
            cluster.stop()


@pytest.fixture(autouse=True)
def empty_lists(listed: CrlCluster) -> None:
    listed.client_list.write_bytes(make_crl())
    listed.peer_list.write_bytes(make_crl())
    assert listed.answers(listed.first)


def test_a_new_list_counts_for_the_next_connection_without_a_restart(listed: CrlCluster) -> None:
    listed.client_list.write_bytes(make_crl(listed.first))
    assert not listed.answers(listed.first)
    assert listed.answers(listed.second)
    assert listed.answers(listed.first, PEER_PORT), "the list of clients is not for peers"
    listed.client_list.write_bytes(make_crl())
    assert listed.answers(listed.first)


def test_peers_have_a_list_of_their_own(listed: CrlCluster) -> None:
    listed.peer_list.write_bytes(make_crl(listed.first))
    assert not listed.answers(listed.first, PEER_PORT)
    assert listed.answers(listed.second, PEER_PORT)
    assert listed.answers(listed.first)


def test_the_date_and_the_signature_of_a_list_do_not_count(listed: CrlCluster) -> None:
    """`make_crl` signs with a key that no member knows, and this list has expired."""
    listed.client_list.write_bytes(make_crl(listed.first, days=-7))
    assert not listed.answers(listed.first)
    assert listed.answers(listed.second)


def test_pem_is_read_before_3_6_only(listed: CrlCluster) -> None:
    listed.client_list.write_bytes(make_crl(listed.first, form=PEM))
    assert not listed.answers(listed.first)
    assert listed.answers(listed.second) == listed.version.startswith(("3.4.", "3.5."))


@pytest.mark.parametrize("content", [None, b"", b"damaged"], ids=["missing", "empty", "damaged"])
def test_without_a_readable_list_no_new_connection_is_served(
    listed: CrlCluster, content: bytes | None
) -> None:
    if content is None:
        listed.client_list.unlink()
    else:
        listed.client_list.write_bytes(content)
    assert not listed.answers(listed.first)
    assert not listed.answers(listed.second)


def test_a_member_starts_without_a_readable_list(listed: CrlCluster) -> None:
    """etcd does not check the list at its start. So a health check has to find a bad one."""
    listed.client_list.unlink()
    listed.cluster.members["m1"].stop()
    listed.cluster.start()
    assert not listed.answers(listed.first)
    listed.client_list.write_bytes(make_crl())
    listed.cluster.wait_healthy()


async def test_an_open_connection_continues(listed: CrlCluster) -> None:
    async with listed.cluster.client("m1") as client:
        await client.status(timeout_s=5)
        root = Pair(listed.cluster.credentials.cert, listed.cluster.credentials.key)
        listed.client_list.write_bytes(make_crl(root))
        assert not listed.answers(root)
        await client.status(timeout_s=5)


def test_the_json_gateway_connects_with_the_certificate_of_the_server(listed: CrlCluster) -> None:
    """A revoked server certificate breaks the gateway of its own member."""
    folder = listed.cluster.members["m1"].folder
    server = Pair((folder / "server.pem").read_bytes(), (folder / "server-key.pem").read_bytes())
    listed.client_list.write_bytes(make_crl(server))
    assert not listed.answers(server)
    assert listed.answers(listed.first)
