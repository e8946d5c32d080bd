"""Whether certificates are valid now, and what the operator does about those that are not."""

from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.model import Spec


def is_valid(cert: CertSeen, observed: Observed) -> bool:
    """Return whether the certificate is valid at the time of the observation, by the clock of this machine."""
    return cert.not_before <= observed.at < cert.not_after


def untimely_roles(name: str, observed: Observed) -> tuple[str, ...]:
    """Return the roles of this member whose certificate has expired or is not valid yet: `server`, `peer`."""
    certs = {role: observed.pki.certs.get(f"{role}/{name}") for role in ("server", "peer")}
    return tuple(role for role, cert in certs.items() if cert is not None and not is_valid(cert, observed))


def validity_hint(spec: Spec) -> str:
    """Return what the operator does about certificates that have expired or are not valid yet."""
    if spec.tls.mode == "managed":
        return "run `etcdup certs renew`"
    return "put valid certificates into the files of `tls` in cluster.yaml, then run `etcdup apply`"
