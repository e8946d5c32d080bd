"""The steps that issue certificates, and the PKI without the certificates that are due."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from etcdup.core.certs.ca_rotation import awaits_own_ca
from etcdup.core.certs.required import DesiredCert, desired_certs, why_crl_due
from etcdup.core.certs.required import why_due as due_certificate
from etcdup.core.host.clocks import BACKDATED, host_clocks, refuse_clocks
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.plan.certificate_steps import IssueCertificates, RotateAuthority
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec

# The role of the revocation list in IssueCertificates. One list is for clients and for peers.
CRL_ROLE = "crl"


def certificate_steps(spec: Spec, observed: Observed, taken: Collection[str] = ()) -> list[Step]:
    """Return the step that issues missing and due certificates, the revocation list, and the CA if there is none.

    A host that waits for its take-over gets its certificates then: it is one of `taken`. While hosts wait, one that
    cannot be reached may wait too.
    """
    if spec.tls.mode != "managed" or awaits_own_ca(observed.pki):
        return []
    pki, waiting = observed.pki, set(observed.adopted).difference(taken)
    if observed.adopted:
        waiting |= observed.unreachable().keys()
    why = {
        wanted.role: reason
        for wanted in desired_certs(spec)
        if wanted.role.partition("/")[2] not in waiting
        if (reason := _why_due(wanted, observed))
    }
    if crl_reason := why_crl_due(pki, observed.at):
        why[CRL_ROLE] = crl_reason
    if not why:
        return []
    first = pki.ca is None
    reason = "the cluster has no CA yet" if first else "; ".join(by_reason(_named(why)))
    return [IssueCertificates(roles=tuple(why), makes_authority=first, reason=reason, rules=(18, 19, 20))]


def _why_due(wanted: DesiredCert, observed: Observed) -> str | None:
    """Return why this certificate must be issued, or None. Those of the member that it replaces are archived."""
    pki, (kind, _, name) = observed.pki, wanted.role.partition("/")
    of_host = [
        role for role in pki.certs if role.partition("/")[2] == name and not role.startswith("client/")
    ]
    if kind != "admin" and not of_host and any(role.startswith(f"former/{name}/") for role in pki.former):
        return "a new member gets certificates of its own"
    return due_certificate(wanted, pki.certs.get(wanted.role), pki.ca, observed.at)


def _named(why: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons by the words for each file."""
    return {"the revocation list" if role == CRL_ROLE else role: reason for role, reason in why.items()}


def pki_without_due(pki: PkiSeen, issuing: Sequence[Step]) -> PkiSeen:
    """Return the PKI without the files that are about to be written.

    The content of the new files is not known yet. So each host with an old file gets a step that installs the new one.
    """
    due = {role for step in issuing if isinstance(step, IssueCertificates) for role in step.roles}
    if not due:
        return pki
    files = {role: sums for role, sums in pki.files.items() if role not in due}
    return replace(pki, files=files, crls={} if CRL_ROLE in due else pki.crls)


def refuse_untimely(steps: Iterable[Step], spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse steps that issue or install certificates while a clock differs by more than certificates are backdated.

    A host whose clock is behind would reject the new certificates (rule 94).
    """
    if not any(_needs_right_clock(step) for step in steps):
        return ()
    return refuse_clocks(host_clocks(spec, observed), BACKDATED.total_seconds())


def _needs_right_clock(step: Step) -> bool:
    if isinstance(step, InstallFiles):
        return any(change.path.endswith(".pem") and not change.diff for change in step.changes)
    return isinstance(step, IssueCertificates | RotateAuthority)


def by_reason(why: Mapping[str, str]) -> Iterator[str]:
    """Yield `server/infra4, peer/infra4: it does not exist yet`: each reason once, with its roles."""
    for text in dict.fromkeys(why.values()):
        yield f"{', '.join(role for role in why if why[role] == text)}: {text}"
