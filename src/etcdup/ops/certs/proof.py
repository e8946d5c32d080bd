"""The proof of a renewal: a new handshake on both ports of each member shows the operator's own leaf (rule 17).

Health proves nothing here: connections that are open live on with whatever certificate they began with.
"""

from dataclasses import dataclass
from datetime import datetime

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import CertInspection
from etcdup.core.observed.model import Observed, PkiSeen
from etcdup.errors import EtcdupError
from etcdup.ops.certs.survey import inspect_served_certs
from etcdup.ops.world.health import Health, prove_whole
from etcdup.ops.world.wait import all_proved, wait_until
from etcdup.ops.world.world import World

# Members that lost each other try again ten times a second; an election and a slow disk fit in as well.
RECOVERY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ServedCert:
    """What one port serves. `why` is empty exactly when that is the operator's certificate for it."""

    host: str
    port: int
    serial: str = ""
    until: datetime | None = None
    why: str = ""


async def prove_served(world: World, client: ClientFiles | None) -> tuple[ServedCert, ...]:
    """Both ports of every member."""
    pki = world.pki.observe()
    return tuple(compare_served(seen, pki) for seen in await inspect_served_certs(world, client))


def compare_served(seen: CertInspection, pki: PkiSeen) -> ServedCert:
    if seen.facts is None:
        return ServedCert(seen.host, seen.port, why=f"no handshake: {seen.why}")
    cert, wanted = seen.facts.cert, pki.certs.get(seen.role)
    same = wanted is not None and wanted.fingerprint == cert.fingerprint
    why = "" if same else "still serves another certificate than the new one"
    return ServedCert(seen.host, seen.port, seen.facts.serial, cert.not_after, why)


async def wait_until_recovered(world: World, observed: Observed) -> tuple[Health, ...]:
    """Proof of every member, after as long as members need that had lost each other. Raises EtcdupError.

    Where a host cannot be reached nobody waits: its member has its old certificates.
    """
    if not observed.unreachable():
        names = tuple(host.name for host in world.spec.hosts)
        await wait_until(world, observed, all_proved(world), RECOVERY_TIMEOUT_S, names)
    return await prove_whole(world, observed)


def raise_unproved(found: tuple[ServedCert, ...]) -> None:
    """Names every port that does not serve what it should."""
    wrong = [f"{each.host}:{each.port}: {each.why}" for each in found if each.why]
    if wrong:
        raise EtcdupError(
            wrong[0] if len(wrong) == 1 else f"{len(wrong)} ports do not serve the new certificates",
            detail="\n".join(wrong) if len(wrong) > 1 else "",
            hint="`etcdup certs list` shows what is where; etcd reads its files anew for each handshake, "
            "so see that it reads those of /etc/etcd/pki",
        )
