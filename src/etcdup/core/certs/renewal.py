"""The plan of `certs renew`: what apply would do about certificates alone, and before their time if asked.

Leaf pairs are read anew for every handshake (rule 12), so nothing that runs is restarted. Members that are stopped
are started: certificates that have all expired are found out at the next start, when no member finds another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from etcdup.core.certs.issue import by_reason, pki_without_due
from etcdup.core.certs.required import desired_certs, why_due
from etcdup.core.certs.trust import refuse_other_ca
from etcdup.core.host.content import CertContent
from etcdup.core.host.drift import file_changes
from etcdup.core.host.files import desired_files
from etcdup.core.members.quorum import start_step
from etcdup.core.members.superseded import superseded_hosts
from etcdup.core.observed.model import HostSeen, Observed
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import InstallFiles, IssueCertificates
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

# Role -> the fingerprint of the certificate that is to be replaced (empty where there is none), and why.
CertsToRenew = Mapping[str, tuple[str, str]]


def certs_to_renew(spec: Spec, observed: Observed, days: int | None) -> CertsToRenew:
    """What is to be issued anew: what apply finds due, and, with `days`, what has less than that left."""
    chosen = {}
    for wanted in desired_certs(spec):
        seen = observed.pki.certs.get(wanted.role)
        reason = why_due(wanted, seen, observed.pki.ca, observed.at)
        if not reason and days is not None and seen and seen.not_after - observed.at < timedelta(days=days):
            reason = f"it has less than {days} days left"
        if reason:
            chosen[wanted.role] = (seen.fingerprint if seen else "", reason)
    return chosen


def plan_renewal(spec: Spec, observed: Observed, chosen: CertsToRenew) -> Plan | Refusal:
    """What is left of renewing `chosen`, which was settled on a first look: what was issued since is done with."""
    if reasons := refuse_leaf_issue(spec, observed):
        return Refusal(spec.name, reasons)
    past = superseded_hosts(spec, observed)
    starting = [
        start_step(host.name, rules=(17, 68))
        for host, seen in _own_hosts(spec, observed)
        if seen.has_member
        and seen.marker
        and seen.marker.formed
        and is_stopped(observed, host.name)
        and host.name not in past
    ]
    issuing, installing = leaf_steps(spec, observed, chosen)
    return Plan(spec.name, (*issuing, *installing, *starting), _notes(spec, observed))


def leaf_steps(
    spec: Spec, observed: Observed, chosen: CertsToRenew
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """What is left of issuing `chosen`, and of bringing hosts the leaves that they lack."""
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
                roles=tuple(left), makes_authority=False, reason=reason, rules=(12, 18, 19, 20)
            ),
        )
    after = replace(observed, pki=pki_without_due(observed.pki, issuing))
    hosts = _own_hosts(spec, observed)
    return issuing, tuple(step for host, seen in hosts for step in _install_steps(spec, host, seen, after))


def replaces_leaves(plan: Plan) -> bool:
    """Whether a plan of any kind puts other certificates in the place of those that members serve: a file that only
    gets its mode or owner back has a diff."""
    served = ("/server.pem", "/peer.pem")
    return any(
        change.action == "update" and not change.diff and change.path.endswith(served)
        for step in plan.steps
        if isinstance(step, InstallFiles)
        for change in step.changes
    )


def refuse_leaf_issue(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Why no leaf can be issued here, or brought to some host."""
    if spec.tls.mode != "managed":
        return (
            Refused(
                "the CA is not etcdup's: with `tls.mode: provided` it renews nothing",
                hint="have them issued by that CA, put them in the old ones' places, and `etcdup apply`",
            ),
        )
    if observed.pki.ca is None:
        return (Refused("this cluster has no CA yet", hint="`etcdup apply` makes it with the cluster"),)
    hosts = observed.reachable()
    return tuple(
        reason
        for host in spec.hosts
        if host.name in hosts
        for reason in refuse_other_ca(spec, hosts[host.name], observed)
    )


def _own_hosts(spec: Spec, observed: Observed) -> list[tuple[HostSpec, HostSeen]]:
    """Hosts that can be reached and bear this cluster's mark: others get all of their files from apply."""
    return [
        (host, seen)
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None and seen.is_marked(spec.name)
    ]


def _install_steps(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterable[Step]:
    """Leaf pairs and nothing else; a key that goes on is written as it was (rule 16)."""
    files = desired_files(spec, host, layout_of(spec, host), "", observed.pki)
    changes = file_changes((file for file in files if isinstance(file.content, CertContent)), seen)
    if changes:
        reason = "etcd reads them anew for each handshake: no restart"
        yield InstallFiles(
            host=host.name, version=str(spec.version), changes=changes, reason=reason, rules=(12, 16)
        )


def _notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    gone = observed.unreachable()
    return tuple(
        f"{host.name} cannot be reached and keeps its old certificates: {gone[host.name].why}"
        for host in spec.hosts
        if host.name in gone
    )
