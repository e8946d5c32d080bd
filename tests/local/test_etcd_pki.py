"""Real members run with the certificates of etcdup's PKI, and accept only peer certificates from peers."""

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.model import Spec
from etcdup.core.spec.names import peer_common_name
from etcdup.ops.pki.open import open_pki
from tests.support.etcd_cluster import PEER_PORT, EtcdCluster
from tests.support.loopback_networks import own_network


class PkiCluster:
    """Three members that run with the certificates of a managed PKI."""

    def __init__(self, binaries: Path, folder: Path, network: int) -> None:
        self.cluster = EtcdCluster(binaries, folder, network, 3)
        hosts = [{"name": each.name, "address": each.address} for each in self.cluster.members.values()]
        spec = Spec.model_validate({"name": "sealed", "version": "3.6.14", "hosts": hosts})
        self.cluster.extra = (f"--peer-cert-allowed-cn={peer_common_name(spec)}",)
        self.pki = open_pki(spec, folder)
        self.pki.issue([each.role for each in desired_certs(spec)], datetime.now(UTC))
        self.pki.issue_consumer("kube-apiserver", datetime.now(UTC))
        self._write_files(folder)

    def _write_files(self, folder: Path) -> None:
        (folder / "ca.pem").write_bytes(self.pki.ca_file("ca"))
        paths = {"admin": folder / "root"}
        for member in self.cluster.members.values():
            for kind in ("server", "peer"):
                paths[f"{kind}/{member.name}"] = member.folder / kind
        for role, path in paths.items():
            cert, key = self.pki.pair(role)
            path.with_name(f"{path.name}.pem").write_bytes(cert)
            path.with_name(f"{path.name}-key.pem").write_bytes(key)

    def request_as_peer(self, role: str, address: str) -> int:
        """Return the HTTP status of a request to the peer port, sent with the certificate of this role."""
        pki = self.cluster.folder / "pki"
        kind, _, name = role.partition("/")
        pair = (
            pki / "clients" / (name or kind) if kind in ("admin", "client") else pki / "members" / name / kind
        )
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        context.load_cert_chain(f"{pair}.pem", f"{pair}-key.pem")
        connection = http.client.HTTPSConnection(address, PEER_PORT, timeout=5, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/version")
            return connection.getresponse().status


@pytest.fixture(scope="module")
def sealed(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PkiCluster]:
    with own_network() as network:
        sealed = PkiCluster(binaries, tmp_path_factory.mktemp("sealed"), network)
        try:
            sealed.cluster.start()
            sealed.cluster.wait_healthy()
            yield sealed
        finally:
            sealed.cluster.stop()


def test_the_operator_reads_and_writes_through_every_member(sealed: PkiCluster) -> None:
    for name in sealed.cluster.members:
        sealed.cluster.etcdctl(name, "put", "key", name)
        assert name in sealed.cluster.etcdctl(name, "get", "key")
        assert "bad certificate" not in sealed.cluster.members[name].log


@pytest.mark.parametrize("role", ["admin", "client/kube-apiserver", "health/m1", "server/m1"])
def test_no_other_certificate_of_the_ca_is_accepted_from_peers(sealed: PkiCluster, role: str) -> None:
    """Rule 20, with one CA for clients and peers."""
    address = sealed.cluster.members["m2"].address
    assert sealed.request_as_peer("peer/m1", address) == http.HTTPStatus.OK
    with pytest.raises(OSError, match=r"(?i)alert|reset|closed|EOF|broken"):
        sealed.request_as_peer(role, address)
