"""What `certs revoke` did, as text and as data. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint
from etcdup.core.certs.revocation import ToRevoke
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec
from etcdup.ops.certs.rejection import Rejection


def render_rejections(found: Sequence[Rejection], paint: Paint) -> str:
    """Return one line for each member and certificate."""
    return "".join(f"{each.host} {_verdict(each, paint)}\n" for each in found)


def render_rejected(found: Sequence[Rejection], paint: Paint) -> str:
    """Return one line for each member, and one for each handshake that was not possible."""
    counts = Counter(each.host for each in found if each.rejected)
    untried = [each for each in found if not each.rejected]
    lines = (
        f"{host} {paint('green', 'rejects')} {count_text(count, 'revoked certificate')} in new handshakes\n"
        for host, count in counts.items()
    )
    return "".join(lines) + render_rejections(untried, paint)


def _verdict(each: Rejection, paint: Paint) -> str:
    if each.rejected:
        return f"{paint('green', 'rejects')} {each.role} in a new handshake"
    if each.rejected is None:
        return f"{paint('yellow', 'was not tried with')} {each.role}: {each.why}"
    return f"{paint('red', 'may accept')} {each.role}: {each.why}"


def revocation_json(
    spec: Spec, observed: Observed, chosen: Sequence[ToRevoke], steps: int, found: Sequence[Rejection]
) -> dict[str, Any]:
    """Return what `certs revoke` did. `rejected` is null if no handshake was tried; `why` is then the reason."""
    crl = observed.pki.crls.get("crl")
    return {
        "format": 1,
        "cluster": spec.name,
        "revoked": [
            {
                "role": each.role,
                "serial": each.cert.serial,
                "fingerprint": each.cert.fingerprint,
                "not_after": each.cert.not_after.isoformat(),
            }
            for each in chosen
        ],
        "list": crl.number if crl else None,
        "steps_done": steps,
        "handshakes": [
            {"host": each.host, "role": each.role, "rejected": each.rejected, "why": each.why or None}
            for each in found
        ],
    }
