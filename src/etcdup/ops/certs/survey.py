"""Inspect every certificate of a cluster: in the PKI, on each host's disk, and as each port serves it."""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import ARCHIVED_KINDS, CA_ROLES, CertInspection
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.layout import MEMBER_CERTS, Layout, layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.errors import EtcdupError, ForwardForbidden, PkiError, RemoteError
from etcdup.ops.pki.x509 import Pem, cert_facts, parse_certs
from etcdup.ops.world.ports import resolve_port
from etcdup.ops.world.world import World
from etcdup.remote.etcd.handshake import HandshakeFailed, fetch_served_cert


async def inspect_certs(world: World, observed: Observed, client: ClientFiles | None) -> list[CertInspection]:
    """Inspect all places at the same time. `client` is the certificate for handshakes with client ports."""
    authorities = _trusted_cas(world)
    inspections: list[Awaitable[list[CertInspection]]] = []
    for host in world.spec.hosts:
        inspections.append(_inspect_disk(world, host, observed, authorities))
        inspections.append(_inspect_port(world, host, "server", client, authorities))
        inspections.append(_inspect_port(world, host, "peer", None, authorities))
    here = [*_certs_in_pki(world, observed.pki, authorities), *_archived_certs(world, observed, authorities)]
    return here + [each for found in await asyncio.gather(*inspections) for each in found]


async def inspect_served_certs(world: World, client: ClientFiles | None) -> list[CertInspection]:
    """Inspect the certificates that both ports of each member serve, by a new handshake (rule 17)."""
    authorities = _trusted_cas(world)
    inspections = [
        _inspect_port(world, host, kind, client if kind == "server" else None, authorities)
        for host in world.spec.hosts
        for kind in ("server", "peer")
    ]
    return [each for found in await asyncio.gather(*inspections) for each in found]


def _trusted_cas(world: World) -> tuple[x509.Certificate, ...]:
    found: list[x509.Certificate] = []
    for kind in CA_ROLES:
        try:
            found += parse_certs(Path(kind), world.pki.ca_file(kind))
        except PkiError:
            continue  # there is no CA yet; the inspection of the PKI reports that
    return tuple(dict.fromkeys(found))


def _certs_in_pki(
    world: World, pki: PkiSeen, authorities: Sequence[x509.Certificate]
) -> Iterator[CertInspection]:
    for kind in CA_ROLES:
        try:
            content = world.pki.ca_file(kind)
        except PkiError as error:
            yield CertInspection(kind, "operator", why=error.message)
            continue
        for cert in parse_certs(Path(kind), content):
            path = pki.ca.path if pki.ca else kind
            yield CertInspection(kind, "operator", facts=cert_facts(path, content, cert, authorities))
    for role, seen in pki.certs.items():
        pem = Pem.read(Path(seen.path))
        facts = cert_facts(seen.path, pem.content, pem.certs[0], (*pem.certs[1:], *authorities))
        yield CertInspection(role, "operator", facts=facts)


def _archived_certs(
    world: World, observed: Observed, authorities: Sequence[x509.Certificate]
) -> Iterator[CertInspection]:
    """Yield the archived certificates of consumers and of former members that etcd still accepts.

    They have not expired, and a trusted CA signed them.
    """
    for role, cert in world.pki.archived_certs().items():
        if role.startswith(ARCHIVED_KINDS) and cert.issuer_key and cert.not_after > observed.at:
            pem = Pem.read(Path(cert.path))
            facts = cert_facts(cert.path, pem.content, pem.certs[0], authorities)
            yield CertInspection(role, "operator", facts=facts)


async def _inspect_disk(
    world: World, host: HostSpec, observed: Observed, authorities: Sequence[x509.Certificate]
) -> list[CertInspection]:
    seen = observed.hosts[host.name]
    if not isinstance(seen, HostSeen):
        return [CertInspection("", "host", host.name, why=f"{host.name} cannot be reached: {seen.why}")]
    if seen.marker is not None and seen.marker.adopted == "waiting":
        return []  # its etcd has the files of another tool: what it serves is inspected
    layout = layout_of(world.spec, host)
    files = [(kind, layout.ca("peer" if kind == "peer-ca" else "server")) for kind in CA_ROLES]
    files += [(f"{kind}/{host.name}", layout.cert(kind)) for kind in MEMBER_CERTS]
    reads = [_inspect_file(world, host.name, role, path, authorities) for role, path in files]
    found = [each for certs in await asyncio.gather(*reads) for each in certs]
    return found + [
        CertInspection(f"{kind}/{host.name}", "host", host.name, why="its key is not the key in the PKI")
        for kind in MEMBER_CERTS
        if _has_another_key(seen, layout, kind, observed.pki)
    ]


def _has_another_key(seen: HostSeen, layout: Layout, kind: str, pki: PkiSeen) -> bool:
    there, ours = seen.files.get(layout.key(kind)), pki.files.get(f"{kind}/{seen.host}")
    return there is not None and ours is not None and there.sha256 != ours[1]


async def _inspect_file(
    world: World, host: str, role: str, path: str, authorities: Sequence[x509.Certificate]
) -> list[CertInspection]:
    try:
        content = await world.hosts[host].read(path)
        if content is None:
            return [CertInspection(role, "host", host, why=f"{path} does not exist")]
        certs = parse_certs(Path(PurePosixPath(path).name), content)
    except (RemoteError, PkiError) as error:
        return [CertInspection(role, "host", host, why=error.message.removeprefix(f"{host}: "))]
    shown = certs if role in CA_ROLES else certs[:1]  # the chain after a leaf belongs to its issuer
    return [
        CertInspection(role, "host", host, facts=cert_facts(path, content, cert, (*certs, *authorities)))
        for cert in shown
    ]


async def _inspect_port(
    world: World,
    host: HostSpec,
    kind: str,
    client: ClientFiles | None,
    authorities: Sequence[x509.Certificate],
) -> list[CertInspection]:
    spec = world.spec
    port = spec.client_port(host) if kind == "server" else spec.peer_port(host)
    role = f"{kind}/{host.name}"
    try:
        served = await fetch_served_cert(*await resolve_target(world, host, port), client)
        (cert,) = parse_certs(Path(kind), served.public_bytes(Encoding.PEM))  # reads all fields
    except ForwardForbidden as error:
        return [CertInspection(role, "served", host.name, port, why=error.message, hint=error.hint)]
    except (HandshakeFailed, EtcdupError) as error:
        return [CertInspection(role, "served", host.name, port, why=str(error))]
    facts = cert_facts(f"{host.name}:{port}", b"", cert, authorities)
    return [CertInspection(role, "served", host.name, port, facts)]


async def resolve_target(world: World, host: HostSpec, port: int) -> tuple[str, int]:
    """Return the address and port for a connection, through the host's SSH connection if there is one."""
    return await resolve_port(host, port, world.hosts.get(host.name))
