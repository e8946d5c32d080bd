"""Prove by new handshakes that members reject revoked certificates, and still accept the others."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.certs.inventory import LinkPort
from etcdup.core.certs.revocation import ToRevoke
from etcdup.core.host.drift import crl_changes
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import HostSpec
from etcdup.errors import EtcdupError, PkiError
from etcdup.ops.files import write_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE
from etcdup.ops.pki.x509 import read_pair
from etcdup.ops.world.world import World


@dataclass(frozen=True)
class Rejection:
    """Whether a member rejects a revoked certificate. `rejected` is None if no handshake was possible.

    `why` is the reason for None, or what is wrong.
    """

    host: str
    role: str
    rejected: bool | None
    why: str = ""


@contextmanager
def keep_pairs(chosen: Sequence[ToRevoke]) -> Iterator[Mapping[str, tuple[Path, Path]]]:
    """Yield a private copy of each certificate with its key, by serial number. A new key may replace the old one.

    A certificate whose key is not on this machine is left out.
    """
    with TemporaryDirectory(prefix="etcdup-revoke-") as folder:
        pairs = {}
        for each in chosen:
            cert, key = (Path(folder) / f"{each.cert.serial}{suffix}.pem" for suffix in ("", "-key"))
            source = Path(each.cert.path)
            try:
                content = read_pair(source, source.with_name(f"{source.stem}-key.pem"))
            except PkiError:
                continue
            write_file(key, content[1], KEY_MODE)
            write_file(cert, content[0], CERT_MODE)
            pairs[each.cert.serial] = (cert, key)
        yield pairs


async def prove_rejected(
    world: World, observed: Observed, chosen: Sequence[ToRevoke], pairs: Mapping[str, tuple[Path, Path]]
) -> tuple[Rejection, ...]:
    """Return for each member and each certificate whether the member rejects it.

    One member gets one handshake after the other: a plan may revoke the certificates of many former members.
    """

    async def prove(host: HostSpec) -> list[Rejection]:
        return [await _prove(world, host, observed, each, pairs) for each in chosen]

    found = await asyncio.gather(*map(prove, world.spec.hosts))
    return tuple(chain.from_iterable(found))


async def _prove(
    world: World,
    host: HostSpec,
    observed: Observed,
    each: ToRevoke,
    pairs: Mapping[str, tuple[Path, Path]],
) -> Rejection:
    seen = observed.reachable().get(host.name)
    if seen is None:
        return Rejection(host.name, each.role, False, f"{host.name} cannot be reached")
    if not seen.unit.is_running:
        return Rejection(host.name, each.role, None, "its member does not run")
    if each.cert.serial not in pairs:
        wrong = _why_wrong_list(world, host, observed)
        why = wrong or "its key is not on this machine; the member has the list that revokes it"
        return Rejection(host.name, each.role, False if wrong else None, why)
    port: LinkPort = "peer" if each.is_peer else "client"
    if port == "client" and world.spec.tls.client_auth == "optional":
        return Rejection(host.name, each.role, None, "clients need no certificate (`client_auth: optional`)")
    if not await world.why_no_answer(host, port, *pairs[each.cert.serial]):
        return Rejection(host.name, each.role, False, "it accepts the certificate")
    # A port that cannot be reached rejects nothing. So it must serve its own member after that.
    own = world.pki.paths(f"{'peer' if each.is_peer else 'server'}/{host.name}")
    if why := await world.why_no_answer(host, port, *own):
        return Rejection(host.name, each.role, None, f"its {port} port serves no client: {why}")
    return Rejection(host.name, each.role, True)


def _why_wrong_list(world: World, host: HostSpec, observed: Observed) -> str:
    changes = crl_changes(world.spec, host, observed.reachable()[host.name], observed.pki)
    return next((f"{change.path} is not the newest list" for change in changes if not change.diff), "")


def raise_accepted(found: Sequence[Rejection]) -> None:
    """Raise an EtcdupError that names every member that may still accept a revoked certificate."""
    accepting = [each for each in found if each.rejected is False]
    wrong = [f"{each.host} may accept {each.role}: {each.why}" for each in accepting]
    if wrong:
        hosts = ", ".join(dict.fromkeys(each.host for each in accepting))
        raise EtcdupError(
            wrong[0] if len(wrong) == 1 else f"{hosts} may accept revoked certificates",
            detail="\n".join(wrong) if len(wrong) > 1 else "",
            hint="make all hosts reachable, then run `etcdup apply`: it installs the revocation list on all hosts",
        )
