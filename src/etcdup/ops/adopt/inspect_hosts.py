"""Inspect hosts whose etcd something else manages. It only reads: nothing on a host is changed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from etcdup.core.adopt.member import FilesToRead, files_to_read, member_processes
from etcdup.core.adopt.model import HostProcesses, Inspected, Process, Unreadable
from etcdup.core.adopt.parse_files import Files, parse_files
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.refusals import refuse_files, refuse_host, refuse_unreadable
from etcdup.core.adopt.scripts import files_argv, processes_argv
from etcdup.core.certs.inventory import CertFacts
from etcdup.core.observed.connections import connections_argv, parse_connections
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import HostSpec, Spec, SshSpec
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.visible import one_line
from etcdup.errors import HostKeyUnknown, PkiError
from etcdup.ops.pki.x509 import cert_facts, parse_certs
from etcdup.remote.fleet import Connect, Fleet, open_fleet
from etcdup.remote.host import Host
from etcdup.remote.secrets import SshSecrets

INSPECTION_TIMEOUT_S = 60.0
# A host has a few hundred processes and sockets. The output of an inspection is smaller than this.
INSPECTION_BYTES = 4 << 20


async def inspect_hosts(
    hosts: Sequence[HostSpec],
    ssh: SshSpec,
    secrets: SshSecrets,
    connect: Connect,
    meanwhile: Callable[[], None] = lambda: None,
    *,
    to_tls: bool = False,
) -> dict[str, Inspected | tuple[Refused, ...]]:
    """Return what is on each host, or why it cannot be adopted. Raise RemoteError if a host is not reachable.

    `meanwhile` runs in a thread while the hosts answer. `to_tls`: http between the members is no reason.
    """
    async with open_hosts(hosts, ssh, secrets, connect) as fleet:
        work = fleet.each(fleet.hosts, partial(inspect_host, to_tls=to_tls))
        found, _ = await asyncio.gather(work, asyncio.to_thread(meanwhile))
    for each in found.values():
        if isinstance(each, Exception):
            raise each
    # The order is that of the hosts, not that of their answers: two runs give the same draft.
    ordered = {host.name: found[host.name] for host in hosts}
    return {name: each for name, each in ordered.items() if not isinstance(each, Exception)}


@asynccontextmanager
async def open_hosts(
    hosts: Sequence[HostSpec], ssh: SshSpec, secrets: SshSecrets, connect: Connect
) -> AsyncIterator[Fleet]:
    """Connect to all of these hosts. Raise RemoteError if one is not reachable."""
    # The connections need no cluster. They take the hosts and the settings of SSH from a Spec.
    spec = Spec(name="adopt", version=max(NEWEST.values()), hosts=tuple(hosts), ssh=ssh)
    async with open_fleet(spec, secrets, connect=connect) as fleet:
        for error in fleet.unreachable.values():
            if isinstance(error, HostKeyUnknown):
                error.hint = (
                    f"run `ssh {error.host}` once, and compare the fingerprint with the console of the host"
                )
            raise error
        yield fleet


async def inspect_host(host: Host, *, to_tls: bool = False) -> Inspected | tuple[Refused, ...]:
    """Return what is on this host, or why it cannot be adopted. Raise RemoteError."""
    try:
        result = await host.run(processes_argv(), timeout_s=INSPECTION_TIMEOUT_S, most_bytes=INSPECTION_BYTES)
        first = parse_processes(host.name, result.check().stdout)
        if refused := refuse_host(first, to_tls=to_tls):
            return refused
        return await _inspect_files(host, first, member_processes(first)[0])
    except Unreadable as fault:
        return (refuse_unreadable(host.name, str(fault)),)


async def _inspect_files(
    host: Host, first: HostProcesses, process: Process
) -> Inspected | tuple[Refused, ...]:
    wanted = files_to_read(process)
    argv = files_argv(
        process.pid,
        process.root,
        certs=wanted.certs,
        keys=wanted.keys,
        folders=wanted.folders,
        urls=wanted.urls,
        tls=wanted.tls,
    )
    read, connected = await asyncio.gather(
        host.run(argv, timeout_s=INSPECTION_TIMEOUT_S),
        host.run(connections_argv(wanted.ports), timeout_s=INSPECTION_TIMEOUT_S),
    )
    files = parse_files(read.check().stdout)
    certs, faults = _read_certs(files)
    inspected = Inspected(
        first=first,
        process=process,
        answer=files.answer,
        certs=certs,
        keys=files.keys,
        folders=files.folders,
        connections=parse_connections(connected.check().stdout),
        faults=(*faults, *_missing(wanted, files)),
    )
    return refuse_files(inspected, wanted.folders) or inspected


def _read_certs(files: Files) -> tuple[Mapping[str, tuple[CertFacts, ...]], tuple[str, ...]]:
    """Return the certificates by path, and what could not be read."""
    certs, faults = {}, []
    for path, pem in files.pems.items():
        content = pem.encode(errors="replace")
        try:
            parsed = parse_certs(Path(path), content)
            certs[path] = tuple(cert_facts(path, content, cert, parsed) for cert in parsed[:16])
        except PkiError as fault:
            faults.append(one_line(fault.message, 300))
    return certs, tuple(faults)


def _missing(wanted: FilesToRead, files: Files) -> list[str]:
    return [f"{path} has no certificate" for path in wanted.certs if path not in files.pems]
