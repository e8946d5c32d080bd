"""Open the real World: connections to the hosts, clients of the members, the PKI and the wall clock."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import LinkPort
from etcdup.core.certs.required import verified_name
from etcdup.core.observed.model import Binaries, HostSeen, Observed, Unreachable
from etcdup.core.plan.plan import Refusal
from etcdup.core.spec.address import LOOPBACK
from etcdup.core.spec.model import HostSpec, Spec, bracketed
from etcdup.core.spec.version import Version
from etcdup.core.spec.visible import one_line
from etcdup.core.versions.advisories import refuse_version
from etcdup.core.versions.version_steps import snapshot_folder, versions_ahead
from etcdup.errors import EtcdupError, ForwardForbidden, HostKeyUnknown, PkiError, RemoteError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import AskPassphrase, Pki, missing_admin
from etcdup.ops.polling import WallClock
from etcdup.ops.world.metrics import NoMetrics, reached_address, read_metrics
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.superseded_record import record_path
from etcdup.ops.world.world import World
from etcdup.remote.etcd.errors import EtcdRpcError, EtcdUnavailable
from etcdup.remote.etcd.grpc_client import Access, Credentials, Etcd, EtcdClient
from etcdup.remote.etcd.tls import context_for_ca
from etcdup.remote.fleet import Connect, connect, open_fleet
from etcdup.remote.host import Host
from etcdup.remote.secrets import SshSecrets

# How long etcdup waits for a member without SSH, before it uses the SSH connection.
DIRECT_TIMEOUT_S = 2.0

Report = Callable[[str], None]


@asynccontextmanager
async def open_world(
    spec: Spec,
    folder: Path,
    *,
    secrets: SshSecrets,
    passphrase: AskPassphrase | None,
    report: Report,
    access: Access | None,
    connect: Connect = connect,
) -> AsyncIterator[World]:
    """Connect to all hosts at the same time. A host that is not reachable is in `unreachable`.

    `folder` is the folder of cluster.yaml. `report` receives the progress of downloads. `access` is the user of etcd as
    which the clients log in.
    """
    pki = open_pki(spec, folder, passphrase)
    ahead = asyncio.create_task(asyncio.to_thread(_import_ahead))
    async with open_fleet(spec, secrets, connect=connect) as fleet:
        members = MemberClients(spec, fleet.hosts, pki, access)
        unreachable = {name: as_unreachable(name, error) for name, error in fleet.unreachable.items()}

        async def connect_host(host: HostSpec) -> None:
            await fleet.connect_host(host)
            members.host_specs[host.name] = host
            if host.name in fleet.unreachable:
                unreachable[host.name] = as_unreachable(host.name, fleet.unreachable[host.name])

        async def reach(host: HostSpec, port: LinkPort) -> tuple[str, int]:
            number = spec.client_port(host) if port == "client" else spec.peer_port(host)
            return await resolve_port(host, number, fleet.hosts.get(host.name))

        async def served_cert(host: HostSpec, port: LinkPort) -> str:
            from etcdup.remote.etcd.handshake import fetch_served_cert, fingerprint_of

            address, reached = await reach(host, port)
            client = ClientFiles("", *map(str, pki.paths("admin"))) if port == "client" else None
            return fingerprint_of(await fetch_served_cert(address, reached, client))

        async def why_no_answer(host: HostSpec, port: LinkPort, cert: Path, key: Path) -> str:
            from etcdup.remote.etcd import request

            try:
                context = context_for_ca(pki.ca_file("ca" if port == "client" else "peer-ca"))
                context.load_cert_chain(cert, key)
                address, reached = await reach(host, port)
            except (EtcdupError, OSError) as error:
                return str(error)
            return await request.why_no_answer(address, reached, host.address, context)

        async def metrics_of(name: str, settings: Mapping[str, str]) -> str:
            if name not in fleet.hosts:
                raise NoMetrics("its host cannot be reached")
            return await read_metrics(fleet.hosts[name], settings, partial(_metrics_tls, pki))

        async def check_route(host: HostSpec) -> None:
            await reach(host, "client")

        try:
            yield World(
                spec=spec,
                hosts=fleet.hosts,
                unreachable=unreachable,
                pki=pki,
                clock=WallClock(),
                etcd=members.connect,
                connect_directly=members.connect_directly,
                connect_temporary=members.connect_temporary,
                obtain_archive=Archives(spec, folder, report).obtain,
                served_cert=served_cert,
                why_no_answer=why_no_answer,
                read_metrics=metrics_of,
                check_route=check_route,
                connect_host=connect_host,
                snapshots=folder / Path(snapshot_folder(spec)).expanduser(),  # noqa: ASYNC240 (reads $HOME)
                superseded_file=record_path(folder, spec.name),
            )
        finally:
            await ahead
            await members.close()


def _metrics_tls(pki: Pki) -> ssl.SSLContext:
    """Return a TLS context that does not check the name: the SSH host key already proves the host."""
    try:
        context = context_for_ca(pki.ca_file("ca"))
        context.check_hostname = False
        context.load_cert_chain(*pki.paths("admin"))
    except (PkiError, OSError) as error:
        raise NoMetrics(f"the certificate of etcdup cannot be read: {error}") from None
    return context


def _import_ahead() -> None:
    """Import grpc, which the first client needs, while etcdup connects to the hosts and observes them."""
    import_module("etcdup.remote.etcd.grpc_library")


def as_unreachable(name: str, error: RemoteError) -> Unreachable:
    why = one_line(error.message.removeprefix(f"{name}: "))
    return Unreachable(name, why, error.hint, has_unknown_key=isinstance(error, HostKeyUnknown))


async def resolve_binaries(world: World, observed: Observed, folder: Path, report: Report) -> Observed:
    """Find out where each version comes from that a host does not have yet. Raises InstallError.

    During a change of the minor version there may be several versions.
    """
    wanted = {host.name for host in world.spec.hosts}
    seen = {name: host for name, host in observed.reachable().items() if name in wanted}
    resolved = []
    for version in versions_ahead(world.spec, observed):
        arches = frozenset(host.arch for host in seen.values() if str(version) not in host.versions)
        if arches:
            resolved.append(await _resolve(world, world.spec.at(version), seen, arches, folder, report))
    world.binaries = tuple(resolved)
    return replace(observed, binaries=world.binaries)


async def _resolve(
    world: World,
    spec: Spec,
    seen: Mapping[str, HostSeen],
    arches: frozenset[str],
    folder: Path,
    report: Report,
) -> Binaries:
    if spec.install.source in ("release", "go") and (bad := refuse_version(spec, vouched=False)):
        raise_refusal(Refusal(spec.name, tuple(bad)))
    # The import takes 50 ms, for everything that downloads need. Most runs need no download.
    from etcdup.ops.install import install

    return await install.resolve(
        spec, folder, arches, world.hosts, seen, cache=install.cache_dir(), report=report
    )


class MemberClients:
    """One client for each member, made when it is first used, and again when etcdup's own certificate was replaced."""

    def __init__(self, spec: Spec, hosts: Mapping[str, Host], pki: Pki, access: Access | None = None) -> None:
        self._access = access
        self.host_specs = {host.name: host for host in spec.hosts}
        self._spec = spec
        self._hosts = hosts
        self._pki = pki
        self._clients: dict[str, Etcd] = {}
        self._direct: dict[str, Etcd] = {}
        self._credentials: Credentials | None = None
        self._stamp = 0
        self._replaced: list[Etcd] = []
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect(self, name: str) -> EtcdClient:
        """Return a client through the SSH connection to the host.

        Raises EtcdRpcError if there is no client certificate, and RemoteError if the port cannot be forwarded.
        """
        if name not in self.host_specs:
            raise EtcdUnavailable(name, "etcdup does not connect to a member that only the member list names")
        async with self._making[name]:
            self._forget_replaced_credentials()
            if name not in self._clients:
                self._credentials = self._credentials or self._read_credentials(name)
                host_spec = self.host_specs[name]
                target = await resolve_member_target(self._spec, host_spec, self._hosts.get(name))
                self._clients[name] = Etcd(
                    name, target, self._server_name(host_spec), self._credentials, self._access
                )
            return self._clients[name]

    async def connect_directly(self, name: str) -> EtcdClient:
        """Return a client that does not use SSH, or that of `connect` if the client port is not reachable from here.

        SSH doubles the time that large data takes. The member's certificate proves that the right member answers, even
        if another machine has the same address in the operator's network.
        """
        through = await self.connect(name)
        if name not in self._direct:
            host_spec, credentials = self.host_specs[name], self._credentials
            assert credentials is not None, "`connect` has read them"
            target = await resolve_member_target(self._spec, host_spec, None)
            server_name = self._server_name(host_spec)
            self._direct[name] = Etcd(name, target, server_name, credentials, self._access)
        try:
            await self._direct[name].status(timeout_s=DIRECT_TIMEOUT_S)
        except EtcdRpcError:
            return through
        return self._direct[name]

    async def connect_temporary(
        self, name: str, listen: str, port: int, credentials: Credentials
    ) -> EtcdClient:
        """Return a client of an etcd that listens on this address of the host, with a certificate for loopback."""
        address, forwarded = await self._hosts[name].forward(listen, port)
        return Etcd(name, f"{address}:{forwarded}", server_name=LOOPBACK, credentials=credentials)

    async def close(self) -> None:
        clients = (*self._clients.values(), *self._direct.values(), *self._replaced)
        await asyncio.gather(*(client.close() for client in clients))

    def _server_name(self, host: HostSpec) -> str:
        # Without `listen_address` the certificate does not matter. Reading the PKI takes milliseconds for each host.
        cert = self._pki.observe().certs.get(f"server/{host.name}") if host.listen_address else None
        return verified_name(host, cert)

    def _forget_replaced_credentials(self) -> None:
        """Make new clients if the certificate was replaced: members may reject the previous one."""
        try:
            stamp = self._pki.paths("admin")[0].stat().st_mtime_ns
        except (OSError, PkiError):
            return
        if self._credentials is not None and stamp != self._stamp:
            self._replaced += [*self._clients.values(), *self._direct.values()]
            self._clients.clear()
            self._direct.clear()
            self._credentials = None
        self._stamp = stamp

    def _read_credentials(self, name: str) -> Credentials:
        try:
            if "admin" not in (seen := self._pki.observe()).files:
                raise missing_admin(seen, self._spec.tls.dir)
            return Credentials(*self._pki.credentials())
        except PkiError as error:
            raise EtcdRpcError(name, error.message, detail=error.detail, hint=error.hint) from None


async def resolve_member_target(spec: Spec, host: HostSpec, reached: Host | None) -> str:
    """Return `address:port` at which this machine reaches the member's API.

    The connection goes through the host's SSH connection, if there is one. Without one it goes directly to the member,
    so that etcdup can report whether the member answers although SSH fails.
    """
    address, port = await resolve_port(host, spec.client_port(host), reached)
    return f"{bracketed(address)}:{port}"


async def resolve_port(host: HostSpec, port: int, reached: Host | None) -> tuple[str, int]:
    """Return the address and port for a connection, through the host's SSH connection if there is one.

    If sshd forbids that, it is the port of the member itself. Raises ForwardForbidden if that is not reachable either.
    """
    if reached is None or host.local:
        return host.address, port
    listen = host.listen_address or host.address
    try:
        return await reached.forward(reached_address(listen), port)
    except ForwardForbidden as error:
        await _require_direct(host, port, error)
        return host.address, port


async def _require_direct(host: HostSpec, port: int, forbidden: ForwardForbidden) -> None:
    """Connect to the port without SSH. Raises ForwardForbidden if that fails.

    A refused connection shows that packets arrive, and that no program listens on the port yet.
    """
    where = f"{bracketed(host.address)} port {port}"
    try:
        async with asyncio.timeout(DIRECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.address, port)
        writer.close()
    except ConnectionRefusedError:
        why, lasting = f"no program listens on {where}", False
    except (OSError, TimeoutError):
        why, lasting = f"this machine does not reach {where}", True
    else:
        return
    hint = f"{forbidden.hint}. Or open that port to this machine, then etcdup uses it without SSH"
    raise ForwardForbidden(host.name, f"{forbidden.message}, and {why}", hint=hint, lasting=lasting)


class Archives:
    """etcd's archive for each version and architecture. It is obtained once, and all hosts that need it wait."""

    def __init__(self, spec: Spec, folder: Path, report: Report) -> None:
        self._spec = spec
        self._folder = folder
        self._report = report
        self._paths: dict[tuple[str, Version], Path] = {}
        self._obtaining: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def obtain(self, binaries: Binaries, arch: str) -> Path:
        """Return the path of the archive on this machine. Raises InstallError."""
        async with self._obtaining[arch]:
            key = (arch, binaries.version)
            if key not in self._paths:
                from etcdup.ops.install import install

                found = await install.obtain(
                    binaries,
                    self._spec.at(binaries.version),
                    self._folder,
                    frozenset((arch,)),
                    cache=install.cache_dir(),
                    report=self._report,
                )
                self._paths[key] = found[arch].path
            return self._paths[key]
