"""Real etcd members on loopback with TLS, started and stopped by pid.

    with etcd_cluster(etcd_binaries("3.6.14"), tmp_path) as cluster:
        async with cluster.client("m1") as client: ...

A cluster has its own network (loopback_networks.py), so that several clusters can run at once, also in other test
processes. Members have different addresses, and always the standard ports of etcd.
"""

import contextlib
import http.client
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.remote.etcd.grpc_client import Access, Credentials, Etcd
from tests.support.etcd_certs import Authority
from tests.support.loopback_networks import own_network

CLIENT_PORT = 2379
PEER_PORT = 2380

# All server certificates have this address, but no member listens on it: for a server_name in IPv6.
IPV6_OF_ALL = "2001:db8::77"

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


class MemberFailed(Exception):
    """A member ended or did not become healthy. The message has the end of its log."""


@dataclass
class Member:
    """One member: its address, its folder, and its process while it runs."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def client_url(self) -> str:
        return f"https://{self.address}:{CLIENT_PORT}"

    @property
    def peer_url(self) -> str:
        return f"https://{self.address}:{PEER_PORT}"

    @property
    def target(self) -> str:
        return f"{self.address}:{CLIENT_PORT}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process with SIGSTOP in the block. To the other members it is like a frozen machine."""
        assert self.process is not None, f"{self.name} is not running"
        self.process.send_signal(signal.SIGSTOP)
        _wait_until_stopped(self.process.pid)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process, also if it is paused. Without a process, do nothing."""
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def _wait_until_stopped(pid: int) -> None:
    """Wait until each thread is stopped. On a busy computer, some threads run for a moment after SIGSTOP."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(_thread_state(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.005)


def _thread_state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


class EtcdCluster:
    """Members m1, m2, ... of one version. The client certificate has the common name `root`, a user of etcd's auth."""

    def __init__(
        self, binaries: Path, folder: Path, network: int, size: int, extra: Sequence[str] = ()
    ) -> None:
        self.binaries = binaries
        self.folder = folder
        self.authority = Authority()
        self.token = secrets.token_hex(4)
        self.extra = tuple(extra)
        self._network = network
        root = self.authority.issue("root")
        root.write(folder, "root")
        (folder / "ca.pem").write_bytes(self.authority.pem)
        self.credentials = Credentials(ca=self.authority.pem, cert=root.cert, key=root.key)
        self.members = {f"m{number}": self._create_member(number) for number in range(1, size + 1)}

    def _create_member(self, number: int) -> Member:
        member = Member(f"m{number}", f"127.77.{self._network}.{number}", self.folder / f"m{number}")
        member.folder.mkdir()
        # The kernel uses the source address 127.0.0.1 to connect to 127.77.x.y, and peers check it (rule 18).
        peer = self.authority.issue(member.name, [member.address, "127.0.0.1"])
        server = self.authority.issue(member.name, [member.address, IPV6_OF_ALL], [f"{member.name}.example"])
        peer.write(member.folder, "peer")
        server.write(member.folder, "server")
        return member

    def new_member(self) -> Member:
        """Return one more member, which is not started and not in the member list."""
        member = self._create_member(len(self.members) + 1)
        self.members[member.name] = member
        return member

    def discard(self, member: Member) -> None:
        """End a member that was removed from the member list, and delete its folder."""
        member.stop(signal.SIGKILL)
        shutil.rmtree(member.folder)
        del self.members[member.name]

    def start(self, *names: str, initial: Mapping[str, str] | None = None) -> None:
        """Start members without waiting for them. A member that joins needs `initial`: peer URLs by name."""
        for position, name in enumerate(names or tuple(self.members)):
            if position == 1:
                time.sleep(0.1)  # members that connect to each other at the same instant wait 1 s (rule 2)
            member = self.members[name]
            with (member.folder / "log").open("ab") as log:
                member.process = subprocess.Popen(
                    [
                        *_die_with_parent(),
                        str(self.binaries / "etcd"),
                        *self._flags(member, initial),
                        *self.extra,
                    ],
                    cwd=member.folder,
                    env=_clean_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def _flags(self, member: Member, initial: Mapping[str, str] | None) -> list[str]:
        listed = initial or {each.name: each.peer_url for each in self.members.values()}
        flags = {
            "name": member.name,
            "data-dir": member.folder / "data",
            "listen-client-urls": member.client_url,
            "advertise-client-urls": member.client_url,
            "listen-peer-urls": member.peer_url,
            "initial-advertise-peer-urls": member.peer_url,
            "initial-cluster": ",".join(f"{name}={url}" for name, url in listed.items()),
            "initial-cluster-token": self.token,
            "initial-cluster-state": "existing" if initial else "new",
            "heartbeat-interval": 100,
            "election-timeout": 1000,
            "logger": "zap",
            "log-level": "warn",
        }
        return [f"--{key}={value}" for key, value in flags.items()] + self._tls_flags(member)

    def _tls_flags(self, member: Member) -> list[str]:
        flags = ["--client-cert-auth", "--peer-client-cert-auth"]
        for prefix, role in (("", "server"), ("peer-", "peer")):
            flags += [
                f"--{prefix}cert-file={member.folder / role}.pem",
                f"--{prefix}key-file={member.folder / role}-key.pem",
                f"--{prefix}trusted-ca-file={self.folder / 'ca.pem'}",
            ]
        return flags

    def wait_healthy(self, *names: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until /health of each member, a read through the quorum, returns 200."""
        ends = time.monotonic() + timeout_s
        for name in names or tuple(self.members):
            member = self.members[name]
            while not self._is_healthy(member):
                if time.monotonic() > ends or (member.process and member.process.poll() is not None):
                    raise MemberFailed(f"{name} is not healthy; the end of its log:\n{member.log[-3000:]}")
                time.sleep(0.05)

    def _is_healthy(self, member: Member) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / "root.pem", self.folder / "root-key.pem")
        with contextlib.closing(
            http.client.HTTPSConnection(member.address, CLIENT_PORT, timeout=3, context=context)
        ) as connection:
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == http.HTTPStatus.OK
            except OSError:
                return False

    def stop(self) -> None:
        for member in self.members.values():
            member.stop(signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def client(
        self,
        name: str,
        *,
        target: str = "",
        server_name: str = "",
        credentials: Credentials | None = None,
        access: Access | None = None,
    ) -> AsyncIterator[Etcd]:
        """Yield a client of one member. Arguments that are not given have their correct values."""
        member = self.members[name]
        client = Etcd(
            name,
            target or member.target,
            server_name or member.address,
            credentials or self.credentials,
            access,
        )
        try:
            yield client
        finally:
            await client.close()

    def etcdctl(self, name: str, *arguments: str) -> str:
        """Run etcdctl of the same version as user root, and return its output."""
        argv = [
            str(self.binaries / "etcdctl"),
            f"--endpoints={self.members[name].client_url}",
            f"--cacert={self.folder / 'ca.pem'}",
            f"--cert={self.folder / 'root.pem'}",
            f"--key={self.folder / 'root-key.pem'}",
            *arguments,
        ]
        env = _clean_environment() | {"ETCDCTL_API": "3"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=30).stdout


@contextlib.contextmanager
def etcd_cluster(
    binaries: Path, folder: Path, size: int = 3, extra: Sequence[str] = (), more_ca: bytes = b""
) -> Iterator[EtcdCluster]:
    """Yield a healthy cluster, and end all its members after the block.

    `extra` are flags of etcd. Members also trust the CA `more_ca`.
    """
    with own_network() as network:
        cluster = EtcdCluster(binaries, folder, network, size, extra)
        (folder / "ca.pem").write_bytes(cluster.authority.pem + more_ca)
        try:
            cluster.start()
            cluster.wait_healthy()
            yield cluster
        finally:
            cluster.stop()


def run_tool(binaries: Path, *arguments: str) -> str:
    """Run etcdutl, or etcdctl before 3.5, and return its output."""
    tool = next(path for path in (binaries / "etcdutl", binaries / "etcdctl") if path.exists())
    env = _clean_environment() | {"ETCDCTL_API": "3"}
    done = subprocess.run(
        [tool, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _clean_environment() -> dict[str, str]:
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("ETCD") and key != "NOTIFY_SOCKET"
    }


def _die_with_parent() -> tuple[str, ...]:
    """Return a prefix of the command that ends a member with its parent thread, even if the tests are killed."""
    return ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
