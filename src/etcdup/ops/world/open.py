"""Open the real World: connections to the hosts, clients of the members, the PKI and the wall clock."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import LinkPort
from etcdup.core.observed.host import Unreachable
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.visible import one_line
from etcdup.core.versions.version_steps import snapshot_folder
from etcdup.errors import (
    AuthFailed,
    EtcdupError,
    HostKeyChanged,
    HostKeyUnknown,
    LoginUnusable,
    PkiError,
    RemoteError,
    SudoFailed,
)
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import AskPassphrase, Pki
from etcdup.ops.polling import WallClock
from etcdup.ops.world.binaries import Archives, Report
from etcdup.ops.world.member_clients import MemberClients
from etcdup.ops.world.metrics import NoMetrics, read_metrics
from etcdup.ops.world.ports import resolve_port
from etcdup.ops.world.superseded_record import record_path
from etcdup.ops.world.world import World
from etcdup.remote.etcd.grpc_client import Access
from etcdup.remote.etcd.tls import context_for_ca
from etcdup.remote.fleet import Connect, connect, open_fleet
from etcdup.remote.host import Host
from etcdup.remote.secrets import SshSecrets


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

        probes = _Probes(spec, pki, fleet.hosts)
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
                obtain_archive=Archives(spec, folder, report, fleet.hosts).obtain,
                served_cert=probes.served_cert,
                why_no_answer=probes.why_no_answer,
                read_metrics=probes.read_metrics,
                check_route=probes.check_route,
                connect_host=connect_host,
                snapshots=folder / Path(snapshot_folder(spec)).expanduser(),  # noqa: ASYNC240 (reads $HOME)
                superseded_file=record_path(folder, spec.name),
            )
        finally:
            await ahead
            await members.close()


class _Probes:
    """Connections to ports of the members, apart from their clients. `hosts` are those that SSH reaches."""

    def __init__(self, spec: Spec, pki: Pki, hosts: Mapping[str, Host]) -> None:
        self._spec = spec
        self._pki = pki
        self._hosts = hosts

    async def check_route(self, host: HostSpec) -> None:
        await self._reach(host, "client")

    async def served_cert(self, host: HostSpec, port: LinkPort) -> str:
        from etcdup.remote.etcd.handshake import fetch_served_cert, fingerprint_of

        address, reached = await self._reach(host, port)
        client = ClientFiles("", *map(str, self._pki.paths("admin"))) if port == "client" else None
        return fingerprint_of(await fetch_served_cert(address, reached, client))

    async def why_no_answer(self, host: HostSpec, port: LinkPort, cert: Path, key: Path) -> str:
        from etcdup.remote.etcd import request

        try:
            context = context_for_ca(self._pki.ca_file("ca" if port == "client" else "peer-ca"))
            context.load_cert_chain(cert, key)
            address, reached = await self._reach(host, port)
        except (EtcdupError, OSError) as error:
            return str(error)
        return await request.why_no_answer(address, reached, host.address, context)

    async def read_metrics(self, name: str, settings: Mapping[str, str]) -> str:
        if name not in self._hosts:
            raise NoMetrics("its host cannot be reached")
        return await read_metrics(self._hosts[name], settings, partial(_metrics_tls, self._pki))

    async def _reach(self, host: HostSpec, port: LinkPort) -> tuple[str, int]:
        number = self._spec.client_port(host) if port == "client" else self._spec.peer_port(host)
        return await resolve_port(host, number, self._hosts.get(host.name))


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


_ANSWERED = (HostKeyUnknown, HostKeyChanged, AuthFailed, LoginUnusable, SudoFailed)


def as_unreachable(name: str, error: RemoteError) -> Unreachable:
    why = one_line(error.message.removeprefix(f"{name}: "))
    unknown_key = isinstance(error, HostKeyUnknown)
    answered = isinstance(error, _ANSWERED)
    return Unreachable(name, why, error.hint, has_unknown_key=unknown_key, answered=answered)
