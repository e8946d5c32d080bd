"""The files of an adoption on the operator's machine: what etcdup issues for itself, and copies of foreign files."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.adopt.copies import Copy
from etcdup.core.certs.issue import CRL_ROLE
from etcdup.core.certs.required import desired_certs, why_crl_due, why_due
from etcdup.core.spec.model import Spec
from etcdup.errors import RefusedError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import AskPassphrase


def issue_own_files(spec: Spec, folder: Path, now_s: float, passphrase: AskPassphrase | None = None) -> None:
    """Issue the certificate of etcdup and the revocation list, with the key of the CA. Certificates of members wait.

    Raises PkiError. With provided files there is nothing to issue.
    """
    if spec.tls.mode != "managed":
        return
    now = datetime.fromtimestamp(now_s, UTC)
    pki = open_pki(spec, folder, passphrase)
    seen = pki.observe()
    own = next(wanted for wanted in desired_certs(spec) if wanted.role == "admin")
    roles = ["admin"] if why_due(own, seen.certs.get("admin"), seen.ca, now) else []
    roles += [CRL_ROLE] if why_crl_due(seen, now) else []
    if roles:
        pki.issue(roles, now)


def refuse_tls_faults(spec: Spec, folder: Path, copies: Iterable[Copy]) -> None:
    """Raise RefusedError if etcdup cannot use the copied files. The error names the files of the hosts."""
    faults = [each for each in open_pki(spec, folder).check(datetime.now(UTC)) if not each.is_warning]
    if not faults:
        return
    names = {str(folder / Path(each.target)): f"{each.host}:{each.path}" for each in copies}
    texts = [f"{fault} ({fault.hint})" if fault.hint else str(fault) for fault in faults]
    for path, name in names.items():
        texts = [text.replace(path, name) for text in texts]
    raise RefusedError(
        f"{len(texts)} of the certificates of the members cannot be used",
        detail="\n".join(texts),
        hint="correct them in the way they were made, then run the same command again",
    )
