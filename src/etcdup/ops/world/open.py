"""The real World: connections to the hosts, the members' API through them, the PKI, the wall clock."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from etcdup.core.observed.model import Binaries, HostSeen, Observed, Unreachable
from etcdup.core.plan.plan import Refusal
from etcdup.core.spec.model import HostSpec, Spec, bracketed
from etcdup.core.spec.version import Version
from etcdup.core.versions.advisories import refuse_version
from etcdup.core.versions.version_steps import snapshot_folder, versions_ahead
from etcdup.errors import PkiError, RemoteError
from etcdup.ops.pki.pki import AskPassphrase, Pki
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Credentials, Etcd, EtcdClient
from etcdup.remote.fleet import open_fleet
from etcdup.remote.host import Host
from etcdup.remote.secrets import SshSecrets

# What a member listens on that listens on every address of its host.
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

LOOPBACK = "127.0.0.1"

# How long a member may take to answer past SSH before it is asked through it.
DIRECT_TIMEOUT_S = 2.0

Report = Callable[[str], None]


class WallClock:
    """The time as this machine has it."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def open_world(
    spec: Spec, folder: Path, *, secrets: SshSecrets, passphrase: AskPassphrase | None, report: Report
) -> AsyncIterator[World]:
    """Reaches every host at once. One that cannot be reached is in `unreachable` and hides no other.

    `folder` is cluster.yaml's own; `report` is told of downloads.
    """
    pki = Pki.open(spec, folder, passphrase)
    ahead = asyncio.create_task(asyncio.to_thread(_import_ahead))
    async with open_fleet(spec, secrets) as fleet:
        members = MemberClients(spec, fleet.hosts, pki)
        unreachable = {name: _unreachable(name, error) for name, error in fleet.unreachable.items()}

        async def meet(host: HostSpec) -> None:
            await fleet.connect_host(host)
            members.places[host.name] = host
            if host.name in fleet.unreachable:
                unreachable[host.name] = _unreachable(host.name, fleet.unreachable[host.name])

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
                connect_host=meet,
                snapshots=folder / Path(snapshot_folder(spec)).expanduser(),  # noqa: ASYNC240 (reads $HOME)
            )
        finally:
            await ahead
            await members.close()


def _import_ahead() -> None:
    """Import grpc, which the first client needs, while etcdup connects to the hosts and observes them."""
    import_module("etcdup.remote.etcd.grpc_library")


def _unreachable(name: str, error: RemoteError) -> Unreachable:
    return Unreachable(name, error.message.removeprefix(f"{name}: "), error.hint)


async def resolve_binaries(world: World, observed: Observed, folder: Path, report: Report) -> Observed:
    """Where each version on the way comes from, asked only when a host lacks it. Raises InstallError."""
    wanted = {host.name for host in world.spec.hosts}
    seen = {name: host for name, host in observed.reachable().items() if name in wanted}
    settled = []
    for version in versions_ahead(world.spec, observed):
        arches = frozenset(host.arch for host in seen.values() if str(version) not in host.versions)
        if arches:
            settled.append(await _resolve(world, world.spec.at(version), seen, arches, folder, report))
    world.binaries = tuple(settled)
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
    from etcdup.ops.install import (
        install,  # with all that downloads need: 50 ms that most runs have no use for
    )

    return await install.resolve(
        spec, folder, arches, world.hosts, seen, cache=install.cache_dir(), report=report
    )


class MemberClients:
    """One client a member, made when it is first asked for."""

    def __init__(self, spec: Spec, hosts: Mapping[str, Host], pki: Pki) -> None:
        self.places = {host.name: host for host in spec.hosts}
        self._spec = spec
        self._hosts = hosts
        self._pki = pki
        self._clients: dict[str, Etcd] = {}
        self._straight: dict[str, Etcd] = {}
        self._credentials: Credentials | None = None
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect(self, name: str) -> EtcdClient:
        """Raises EtcdRpcError where there is no certificate to speak with, RemoteError where there is no way."""
        async with self._making[name]:
            if name not in self._clients:
                self._credentials = self._credentials or self._read_credentials(name)
                place = self.places[name]
                target = await resolve_member_target(self._spec, place, self._hosts.get(name))
                self._clients[name] = Etcd(
                    name, target, server_name=place.address, credentials=self._credentials
                )
            return self._clients[name]

    async def connect_directly(self, name: str) -> EtcdClient:
        """Past SSH, which takes as long again for what is large, where the member's own port lets this machine in;
        else as `client`. Its certificate tells the member from whoever else has that address here."""
        through = await self.connect(name)
        if name not in self._straight:
            place, credentials = self.places[name], self._credentials
            assert credentials is not None, "`client` has read them"
            target = await resolve_member_target(self._spec, place, None)
            self._straight[name] = Etcd(name, target, server_name=place.address, credentials=credentials)
        try:
            await self._straight[name].status(timeout_s=DIRECT_TIMEOUT_S)
        except EtcdRpcError:
            return through
        return self._straight[name]

    async def connect_temporary(self, name: str, port: int, credentials: Credentials) -> EtcdClient:
        address, forwarded = await self._hosts[name].forward(LOOPBACK, port)
        return Etcd(name, f"{address}:{forwarded}", server_name=LOOPBACK, credentials=credentials)

    async def close(self) -> None:
        clients = (*self._clients.values(), *self._straight.values())
        await asyncio.gather(*(client.close() for client in clients))

    def _read_credentials(self, name: str) -> Credentials:
        try:
            if "admin" not in self._pki.observe().files:
                raise EtcdRpcError(
                    name, "the PKI has no admin certificate yet", hint="`etcdup apply` makes it"
                )
            return Credentials(*self._pki.credentials())
        except PkiError as error:
            raise EtcdRpcError(name, error.message, detail=error.detail, hint=error.hint) from None


async def resolve_member_target(spec: Spec, host: HostSpec, reached: Host | None) -> str:
    """`address:port` at which this machine reaches the member's API.

    Through the host's SSH connection where there is one; else straight to the member, so that a dead SSH
    still shows whether the member answers.
    """
    port = spec.client_port(host)
    if reached is None or host.local:
        return f"{bracketed(host.address)}:{port}"
    listen = host.listen_address or host.address
    address, forwarded = await reached.forward(ANY_ADDRESS.get(listen, listen), port)
    return f"{bracketed(address)}:{forwarded}"


class Archives:
    """etcd's archive for each architecture: obtained once, while every host that needs it waits."""

    def __init__(self, spec: Spec, folder: Path, report: Report) -> None:
        self._spec = spec
        self._folder = folder
        self._report = report
        self._paths: dict[tuple[str, Version], Path] = {}
        self._obtaining: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def obtain(self, binaries: Binaries, arch: str) -> Path:
        """Raises InstallError."""
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
