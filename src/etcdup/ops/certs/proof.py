"""Prove certificates by new TLS handshakes: that ports serve the new ones, and that members accept each other's.

The health of members proves neither. An open connection keeps the certificates that it began with (rule 17).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import CertInspection, LinkPort
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.errors import EtcdupError
from etcdup.ops.certs.link_probe import probe_link
from etcdup.ops.certs.links import probe_links
from etcdup.ops.certs.survey import inspect_served_certs
from etcdup.ops.world.health import Health, prove_whole
from etcdup.ops.world.wait import all_proved, wait_for_condition
from etcdup.ops.world.world import World

# Members retry a lost connection ten times a second. The rest of the time is for an election and a slow disk.
RECOVERY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ServedCert:
    """The certificate that a port serves. `why` is empty if and only if it is the operator's one for that port."""

    host: str
    port: int
    serial: str = ""
    until: datetime | None = None
    why: str = ""


async def prove_served(world: World, client: ClientFiles | None) -> tuple[ServedCert, ...]:
    """Return the certificates that both ports of every member serve, compared with those of the PKI."""
    pki = world.pki.observe()
    return tuple(compare_served(seen, pki) for seen in await inspect_served_certs(world, client))


def compare_served(seen: CertInspection, pki: PkiSeen) -> ServedCert:
    """Return the served certificate, and why it is not the one of the PKI."""
    if seen.facts is None:
        return ServedCert(seen.host, seen.port, why=f"no TLS handshake: {seen.why}")
    cert, wanted = seen.facts.cert, pki.certs.get(seen.role)
    same = wanted is not None and wanted.fingerprint == cert.fingerprint
    why = "" if same else "serves another certificate than the new one"
    return ServedCert(seen.host, seen.port, seen.facts.serial, cert.not_after, why)


def raise_unproved(found: tuple[ServedCert, ...]) -> None:
    """Raise an EtcdupError that names every port with another certificate, if there is one."""
    wrong = [f"{each.host}:{each.port}: {each.why}" for each in found if each.why]
    if wrong:
        raise EtcdupError(
            wrong[0] if len(wrong) == 1 else f"{len(wrong)} ports do not serve the new certificates",
            detail="\n".join(wrong) if len(wrong) > 1 else "",
            hint="run `etcdup certs list` to see all certificates; etcd reads its files for each handshake, so make "
            "sure that its settings name the files in /etc/etcd/pki",
        )


async def prove_links(world: World, observed: Observed, client: ClientFiles | None) -> int:
    """Prove every link in both directions, and return the number of handshakes. Raises EtcdupError.

    Each port must serve the operator's certificate and accept it as a client certificate. Each member's host must
    reach both ports of every other member (rules 16, 17).
    """
    served = await prove_served(world, client)
    raise_unproved(served)
    ports = [(host, port) for host in world.spec.hosts for port in get_args(LinkPort)]
    own = await asyncio.gather(*(probe_link(world, host, host, port) for host, port in ports))
    between = await probe_links(world, observed)
    broken = [
        f"{host.name} ({port} port): {why}" for (host, port), why in zip(ports, own, strict=True) if why
    ]
    broken += [link.problem for link in between if link.why]
    if broken:
        raise EtcdupError(
            broken[0] if len(broken) == 1 else f"{len(broken)} connections failed a new TLS handshake",
            detail="\n".join(broken) if len(broken) > 1 else "",
            hint="etcdup changes nothing more; run `etcdup certs list` to see all certificates, or `etcdup apply` to "
            "restore the files on the hosts",
        )
    return len(served) + len(own) + len(between)


async def wait_until_recovered(world: World, observed: Observed) -> tuple[Health, ...]:
    """Wait until all members are healthy again, and return their health proofs. Raises EtcdupError.

    Members that lost their connections to each other need this time. If a host is unreachable there is no wait, since
    its member has its old certificates.
    """
    if not observed.unreachable():
        names = tuple(host.name for host in world.spec.hosts)
        await wait_for_condition(world, observed, all_proved(world), RECOVERY_TIMEOUT_S, names)
    return await prove_whole(world, observed)
