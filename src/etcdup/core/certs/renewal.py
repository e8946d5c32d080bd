"""The plan of `certs renew`: the steps of apply for certificates only, with `--days` also before they are due.

etcd reads certificate and key for each handshake (rule 12), so no running member is restarted. Stopped members are
started: if all certificates expire, the fault shows only at the next start, when no member can connect to another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.issue import by_reason, pki_without_due, refuse_untimely
from etcdup.core.certs.required import desired_certs, why_due
from etcdup.core.certs.trust import refuse_other_ca
from etcdup.core.host.content import CertContent, CrlContent
from etcdup.core.host.drift import file_changes, install_rank
from etcdup.core.host.files import pki_files
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.quorum import start_step
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.members.superseded import superseded_hosts
from etcdup.core.members.unproved import prove_steps
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.certificate_steps import IssueCertificates
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

# Role -> the fingerprint of the certificate that is replaced (empty if there is none), and the reason.
CertsToRenew = Mapping[str, tuple[str, str]]


def certs_to_renew(spec: Spec, observed: Observed, days: int | None) -> CertsToRenew:
    """Return the certificates to renew: those that are due and, with `days`, those that expire within `days` days."""
    chosen = {}
    for wanted in desired_certs(spec):
        seen = observed.pki.certs.get(wanted.role)
        reason = why_due(wanted, seen, observed.pki.ca, observed.at)
        if not reason and days is not None and seen and seen.not_after - observed.at < timedelta(days=days):
            reason = f"it has less than {days} days left"
        if reason:
            chosen[wanted.role] = (seen.fingerprint if seen else "", reason)
    return chosen


def plan_renewal(
    spec: Spec, observed: Observed, chosen: CertsToRenew, *, this_copy: bool = False
) -> Plan | Refusal:
    """Return the steps that are left to renew `chosen`. Certificates that were issued since then are left out.

    `this_copy`: the operator says that no newer copy of the PKI directory exists.
    """
    stale = () if this_copy else refuse_stale_pki(spec, observed)
    if reasons := stale or refuse_without_access(spec, observed) or refuse_leaf_issue(spec, observed):
        return Refusal(spec.name, reasons)
    past = superseded_hosts(spec, observed)
    starting = [
        start_step(host.name, observed, rules=(17, 68))
        for host, seen in _own_hosts(spec, observed)
        if seen.has_member
        and seen.marker
        and seen.marker.formed
        and is_stopped(observed, host.name)
        and host.name not in past
    ]
    issuing, installing = leaf_steps(spec, observed, chosen)
    if reasons := refuse_untimely((*issuing, *installing), spec, observed):
        return Refusal(spec.name, reasons)
    renewal = Plan(spec.name, (*issuing, *installing, *starting), _notes(spec, observed))
    return only_on_ready_hosts(renewal, spec, observed)


def leaf_steps(
    spec: Spec, observed: Observed, chosen: CertsToRenew, *, new_keys: bool = False
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return the steps that issue what is left of `chosen`, and the steps that install certificates on hosts."""
    certs = observed.pki.certs
    left = {
        role: why
        for role, (old, why) in chosen.items()
        if (certs[role].fingerprint if role in certs else "") == old
    }
    issuing: tuple[Step, ...] = ()
    if left:
        reason = "; ".join(by_reason(left))
        issuing = (
            IssueCertificates(
                roles=tuple(left),
                makes_authority=False,
                new_keys=new_keys,
                reason=reason,
                rules=(12, 18, 19, 20),
            ),
        )
    after = replace(observed, pki=pki_without_due(observed.pki, issuing))
    own = _own_hosts(spec, observed)
    installing = [step for host, seen in own for step in _install_steps(spec, host, seen, after)]
    installing.sort(key=partial(install_rank, observed))
    proofs = prove_steps(spec, observed, {step.host for step in installing})
    return issuing, (*proofs, *installing)


def replaces_leaves(plan: Plan) -> bool:
    """Return whether a plan replaces certificates that members serve.

    A change of mode or owner only has a diff, and does not count.
    """
    served = ("/server.pem", "/peer.pem")
    return any(
        change.action == "update" and not change.diff and change.path.endswith(served)
        for step in plan.steps
        if isinstance(step, InstallFiles)
        for change in step.changes
    )


def refuse_leaf_issue(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return the reasons why no certificate can be issued, or installed on a host."""
    if spec.tls.mode != "managed":
        return (
            Refused(
                "etcdup cannot renew certificates with `tls.mode: provided`: it has no key of the CA",
                hint="issue new certificates with your CA, put them into the same files, and run `etcdup apply`",
            ),
        )
    if observed.pki.ca is None:
        return (
            Refused(
                "the cluster has no CA yet",
                hint="run `etcdup apply`. It creates the CA and forms the cluster",
            ),
        )
    hosts = observed.reachable()
    return tuple(
        reason
        for host in spec.hosts
        if host.name in hosts
        for reason in refuse_other_ca(spec, hosts[host.name], observed)
    )


def _own_hosts(spec: Spec, observed: Observed) -> list[tuple[HostSpec, HostSeen]]:
    """Return the reachable hosts with the marker of their member. Other hosts get all their files from apply."""
    return [
        (host, seen)
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None and seen.is_marked(spec.name)
    ]


def _install_steps(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterable[InstallFiles]:
    """Yield a step for changed certificates and keys only. An unchanged key is written with its pair (rule 16)."""
    files = pki_files(host, layout_of(spec, host), observed.pki)
    read_again = (file for file in files if isinstance(file.content, CertContent | CrlContent))
    changes = file_changes(read_again, seen)
    if changes:
        reason = "etcd reads these files for each handshake, so no restart is needed"
        yield InstallFiles(
            host=host.name,
            version=str(spec.version),
            changes=changes,
            proof="handshake" if seen.unit.is_running else "",
            reason=reason,
            rules=(12, 16),
        )


def _notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    gone = observed.unreachable()
    return tuple(
        f"{host.name} cannot be reached and keeps its old certificates: {gone[host.name].why}"
        for host in spec.hosts
        if host.name in gone
    )
