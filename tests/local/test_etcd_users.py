"""The users of etcd with certificates of etcdup: what clients may do, and what the JSON gateway accepts."""

import base64
import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.open import open_pki
from etcdup.remote.etcd.errors import AuthRequired
from etcdup.remote.etcd.grpc_client import Credentials
from tests.support.etcd_cluster import CLIENT_PORT, EtcdCluster
from tests.support.loopback_networks import own_network

S = 10.0
ROLE = ("role", "grant-permission", "--prefix=true", "patroni", "readwrite", "/service/")


class UserCluster:
    """One member with the certificates of a managed PKI, and with users."""

    def __init__(self, binaries: Path, folder: Path, network: int) -> None:
        self.cluster = EtcdCluster(binaries, folder, network, 1)
        (member,) = self.cluster.members.values()
        spec = Spec.model_validate(
            {"name": "prod", "version": "3.6.14", "hosts": [{"name": "m1", "address": member.address}]}
        )
        self.pki = open_pki(spec, folder)
        self.pki.issue([each.role for each in desired_certs(spec)], datetime.now(UTC))
        self.cluster.credentials = Credentials(*self.pki.credentials())
        (folder / "ca.pem").write_bytes(self.pki.ca_file("ca"))
        for role, path in (
            ("admin", folder / "root"),
            ("server/m1", member.folder / "server"),
            ("peer/m1", member.folder / "peer"),
        ):
            cert, key = self.pki.pair(role)
            path.with_name(f"{path.name}.pem").write_bytes(cert)
            path.with_name(f"{path.name}-key.pem").write_bytes(key)

    def add_users(self) -> None:
        for command in (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("role", "add", "patroni"),
            ROLE,
            ("user", "add", "patroni:secret"),
            ("user", "grant-role", "patroni", "patroni"),
            ("user", "add", "kube-apiserver:secret"),
        ):
            self.cluster.etcdctl("m1", *command)

    def credentials(self, name: str, role: str | None = None) -> Credentials:
        cert, key = self.pki.issue_consumer(name, datetime.now(UTC), role=role)
        return Credentials(self.pki.ca_file("ca"), cert, key)

    def post(self, name: str, path: str, body: dict[str, str], token: str = "") -> tuple[int, str]:
        """Send a request to the JSON gateway with the certificate of this consumer."""
        context = ssl.create_default_context(cafile=str(self.cluster.folder / "ca.pem"))
        context.load_cert_chain(*self.pki.paths(f"client/{name}"))
        address = self.cluster.members["m1"].address
        connection = http.client.HTTPSConnection(address, CLIENT_PORT, timeout=S, context=context)
        with contextlib.closing(connection):
            headers = {"Authorization": token} if token else {}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def users(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    with own_network() as network:
        made = UserCluster(binaries, tmp_path_factory.mktemp("users"), network)
        try:
            made.cluster.start()
            made.cluster.wait_healthy()
            made.add_users()
            yield made
        finally:
            made.cluster.stop()


async def test_the_role_root_is_recognised(users: UserCluster) -> None:
    """HashKV is refused in all versions; a read proves the quorum even if it is refused."""
    clients = {
        name: users.credentials(name, role)
        for name, role in (("stranger", None), ("kube-apiserver", None), ("pg", "patroni"))
    }
    expected = {"stranger": "not found", "kube-apiserver": "permission denied", "pg": "name is empty"}
    for pair in clients.values():
        async with users.cluster.client("m1", credentials=pair) as client:
            assert await client.refused_access(timeout_s=S) == ""
    users.cluster.etcdctl("m1", "auth", "enable")
    try:
        async with users.cluster.client("m1") as root:
            assert await root.refused_access(timeout_s=S) == ""
            assert await root.user_roles("root", timeout_s=S) == ("root",)
            assert await root.user_roles("kube-apiserver", timeout_s=S) == ()
            assert await root.user_roles("stranger", timeout_s=S) is None
        for name, pair in clients.items():
            async with users.cluster.client("m1", credentials=pair) as client:
                assert expected[name] in await client.refused_access(timeout_s=S)
                assert (await client.status(timeout_s=S)).leader_id
                with pytest.raises(AuthRequired):
                    await client.get(b"etcdup/health/m1", timeout_s=S)
    finally:
        users.cluster.etcdctl("m1", "auth", "disable")


def test_with_users_the_gateway_accepts_only_certificates_without_a_name(users: UserCluster) -> None:
    """A Patroni with a password: with a common name in its certificate it could not even log in."""
    users.credentials("named", "client")
    users.credentials("patroni")
    request = {"key": encoded("/service/a/leader"), "value": encoded("pg1")}
    for name in ("named", "patroni"):
        assert users.post(name, "/v3/kv/put", request)[0] == http.HTTPStatus.OK
    users.cluster.etcdctl("m1", "auth", "enable")
    try:
        login = {"name": "patroni", "password": "secret"}
        status, text = users.post("named", "/v3/auth/authenticate", login)
        assert status == http.HTTPStatus.BAD_REQUEST
        assert "CommonName of client" in text
        status, text = users.post("patroni", "/v3/auth/authenticate", login)
        assert status == http.HTTPStatus.OK
        token = json.loads(text)["token"]
        assert users.post("patroni", "/v3/kv/put", request, token)[0] == http.HTTPStatus.OK
        outside = {"key": encoded("/registry/a"), "value": encoded("1")}
        assert users.post("patroni", "/v3/kv/put", outside, token)[0] == http.HTTPStatus.FORBIDDEN
    finally:
        users.cluster.etcdctl("m1", "auth", "disable")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
