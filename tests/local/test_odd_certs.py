"""etcdup reports exactly those provided certificates with which its client cannot connect to a real member."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Credentials, Etcd, EtcdClient
from tests.ops.pki.test_provided import open_provided
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.odd_certs import ODD_CERTS, OddCert
from tests.support.openssl import Ca, make_ca


@pytest.fixture(scope="module", params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def binaries(request: pytest.FixtureRequest) -> Path:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return etcd_binaries(request.param)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return make_ca(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def cluster(binaries: Path, ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Run a member that trusts this CA too. It reads its certificate in each handshake."""
    with etcd_cluster(
        binaries, tmp_path_factory.mktemp("odd"), size=1, more_ca=ca.cert.read_bytes()
    ) as running:
        yield running


@pytest.mark.parametrize("odd", ODD_CERTS.values(), ids=ODD_CERTS)
def test_a_certificate_is_usable_as_reported(
    cluster: EtcdCluster, ca: Ca, odd: OddCert, tmp_path: Path
) -> None:
    member = cluster.members["m1"]
    cert, key = member.folder / "server.pem", member.folder / "server-key.pem"
    odd.write(ca, cert, key, member.address)
    credentials = Credentials(ca=ca.cert.read_bytes(), cert=cert.read_bytes(), key=key.read_bytes())
    reason = asyncio.run(why_not_connected(member.target, credentials))
    assert (reason == "") == (odd.fault == ""), reason
    faults = check(tmp_path, ca, odd)
    assert len(faults) == (1 if odd.fault else 0), faults
    assert odd.fault in "".join(faults)


async def why_not_connected(target: str, credentials: Credentials) -> str:
    """Return the error of etcdup's client; empty if a request through it works."""
    try:
        client: EtcdClient = Etcd("m1", target, target.partition(":")[0], credentials)
    except EtcdRpcError as error:
        return str(error)
    try:
        await client.status(timeout_s=2)
    except EtcdRpcError as error:
        return str(error)
    finally:
        await client.close()
    return ""


def check(folder: Path, ca: Ca, odd: OddCert) -> list[str]:
    """Return the faults of the same certificate in a cluster.yaml."""
    shutil.copy(ca.cert, folder / "ca.pem")
    addresses = ",IP:".join(("192.168.8.66", "192.168.8.67", "192.168.8.68"))
    odd.write(ca, folder / "kubernetes.pem", folder / "kubernetes-key.pem", addresses)
    return [str(fault) for fault in open_provided(folder).check(datetime.now(UTC))]
