"""The users of etcd with certificates of etcdup: what clients may do, and what the JSON gateway accepts."""

import asyncio
import base64
import contextlib
import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.pki.open import open_pki
from etcdup.remote.etcd.errors import AuthRequired, EtcdTimeout
from etcdup.remote.etcd.grpc_client import Access, Credentials
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


@contextlib.contextmanager
def enabled(cluster: EtcdCluster) -> Iterator[None]:
    cluster.etcdctl("m1", "auth", "enable")
    try:
        yield
    finally:
        cluster.etcdctl("m1", "auth", "disable")


def access(user: str, password: str | EtcdupError = "secret") -> Access:
    async def read() -> str:
        if isinstance(password, EtcdupError):
            raise password
        return password

    return Access(user, read)


async def test_a_password_gives_the_rights_that_the_certificate_does_not(users: UserCluster) -> None:
    """Neither the user of the certificate nor its absence matters, as long as the token is valid."""
    for pair in (users.credentials("stranger"), users.credentials("pg", "patroni")):
        with enabled(users.cluster):
            async with users.cluster.client("m1", credentials=pair, access=access("root")) as client:
                assert await client.refused_access(timeout_s=S) == ""
                assert (await client.status(timeout_s=S)).members
                await client.prove(b"etcdup/health/m1", b"1", timeout_s=S)
                assert (await client.hash_kv(timeout_s=S)).hash
                assert await client.user_roles("root", timeout_s=S) == ("root",)
                assert await client.user_roles("nobody", timeout_s=S) is None
                (member,) = await client.members(timeout_s=S)
                await client.update_peer_urls(member.member_id, member.peer_urls, timeout_s=S)
                await client.defragment(timeout_s=S)
                assert await client.alarms(timeout_s=S) == ()
                pieces = [piece async for piece in client.snapshot(timeout_s=S)]
                assert sum(map(len, pieces)) > 10_000
            async with (
                users.cluster.client("m1", credentials=pair, access=access("root")) as client,
                contextlib.aclosing(client.snapshot(timeout_s=S)) as first,
            ):
                assert await anext(first)


async def test_a_login_that_fails_is_named(users: UserCluster) -> None:
    pair = users.credentials("stranger")
    for user, password, why in (
        ("root", "wrong", "authentication failed"),
        ("nobody", "secret", "authentication failed"),
        ("kube-apiserver", "secret", "permission denied"),
        ("root", EtcdupError("it exited with status 1"), "it exited with status 1"),
    ):
        async with users.cluster.client("m1", credentials=pair, access=access(user, password)) as client:
            assert await client.refused_access(timeout_s=S) == ""
            await client.put(b"a", b"1", timeout_s=S)
            with enabled(users.cluster):
                assert why in await client.refused_access(timeout_s=S)
                assert (await client.status(timeout_s=S)).leader_id
                with pytest.raises(AuthRequired, match=why):
                    await client.put(b"a", b"1", timeout_s=S)
                with pytest.raises(AuthRequired):
                    [piece async for piece in client.snapshot(timeout_s=S)]
            await client.put(b"a", b"1", timeout_s=S)
    async with users.cluster.client("m1", access=access("root", "wrong")) as client:
        with enabled(users.cluster):  # The certificate is for root, and would be enough.
            assert "authentication failed" in await client.refused_access(timeout_s=S)


async def test_a_token_that_ended_is_renewed(users: UserCluster) -> None:
    """It ends with the member, after a time without a request, and when users are enabled again."""
    cluster, pair = users.cluster, users.credentials("stranger")
    async with cluster.client("m1", credentials=pair, access=access("root")) as client:
        with enabled(cluster):
            await client.put(b"a", b"1", timeout_s=S)
            cluster.members["m1"].stop(signal.SIGTERM)
            cluster.extra = ("--auth-token-ttl=1",)
            cluster.start("m1")
            cluster.wait_healthy("m1")
            assert (await client.status(timeout_s=S)).leader_id
            await client.put(b"a", b"2", timeout_s=S)
            first = client._login.token if client._login else ""
            await wait_until_ended(cluster, pair, first)
            assert await client.get(b"a", timeout_s=S) == b"2"
            cluster.etcdctl("m1", "user", "add", "another", "--no-password")
            cluster.etcdctl("m1", "user", "delete", "another")
            await client.put(b"a", b"3", timeout_s=S)
        with enabled(cluster):
            await client.put(b"a", b"4", timeout_s=S)


async def wait_until_ended(cluster: EtcdCluster, pair: Credentials, token: str) -> None:
    """Wait until etcd does not accept the token. Each request that it accepts makes the token last longer."""
    assert token
    async with cluster.client("m1", credentials=pair, access=access("root", EtcdupError("none"))) as client:
        assert client._login is not None
        while True:
            client._login.token = token
            try:
                await client.get(b"a", timeout_s=S)
            except AuthRequired:
                return
            await asyncio.sleep(3)


async def test_without_certificates_the_status_needs_a_user_too(binaries: Path, tmp_path: Path) -> None:
    """Since 3.5 a member answers nothing without a user, and it has none if clients need no certificate."""
    with own_network() as network:
        users = UserCluster(binaries, tmp_path, network)
        users.cluster.extra = ("--client-cert-auth=false", "--trusted-ca-file=")
        try:
            users.cluster.start()
            users.cluster.wait_healthy()
            users.add_users()
            users.cluster.etcdctl("m1", "auth", "enable")
            async with users.cluster.client("m1", access=access("root")) as client:
                assert (await client.status(timeout_s=S)).leader_id
                assert await client.refused_access(timeout_s=S) == ""
                await client.prove(b"etcdup/health/m1", b"1", timeout_s=S)
            async with users.cluster.client("m1", access=access("root", "wrong")) as client:
                if binaries.name == "3.4.23":
                    assert (await client.status(timeout_s=S)).leader_id
                else:
                    with pytest.raises(AuthRequired, match="authentication failed"):
                        await client.status(timeout_s=S)
        finally:
            users.cluster.stop()


async def test_a_token_of_data_before_a_restore_is_not_used_for_long(users: UserCluster) -> None:
    """A member waits until its log has the index in the token, which a restored member may never reach."""
    pair = users.credentials("stranger")
    with enabled(users.cluster):
        async with users.cluster.client("m1", credentials=pair, access=access("root")) as client:
            assert client._login is not None
            client._login.token = "abcdefghijklmnop.999999999"
            with contextlib.suppress(AuthRequired, EtcdTimeout):
                await client.get(b"a", timeout_s=1)
            await client.put(b"a", b"1", timeout_s=S)


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
