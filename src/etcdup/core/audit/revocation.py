"""Check the revocation lists: on each host, in each running process, and their dates (rule 110)."""

from collections.abc import Iterator

from etcdup.core.audit.findings import Evidence, Finding, as_sentence
from etcdup.core.certs.required import crl_ageing
from etcdup.core.certs.revocation import owners_of, retired_certs, revoke_hint, revoke_retired_hint
from etcdup.core.host.drift import crl_changes
from etcdup.core.host.files import crl_kinds
from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.core.members.member_list import member_list, stray_members
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec

_APPLY = "Run `etcdup apply`."


def revocation_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Yield what is wrong with the revocation lists."""
    observed = evidence.observed
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.is_marked(spec.name):
            layout = layout_of(spec, host)
            yield from _file_findings(spec, host, seen, observed)
            yield from _process_findings(seen, layout, observed)
    yield from _date_findings(spec, observed)
    yield from _former_findings(spec, observed)
    yield from _shared_findings(observed)


def _file_findings(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterator[Finding]:
    named = set(seen.unit.environment.values())
    for change in crl_changes(spec, host, seen, observed.pki):
        is_missing = change.action == "create"
        if is_missing and change.path not in named:
            continue  # `_process_findings` reports a process that reads no list.
        differs = "has another mode or owner" if change.diff else "is not the revocation list of the PKI"
        yield Finding(
            "wrong",
            seen.host,
            f"{change.path} {'does not exist' if is_missing else differs}.",
            "Without a readable file, etcd rejects every new connection. With an older file, it accepts revoked "
            "certificates.",
            _APPLY,
            (110,),
            code="revocation-list-wrong",
        )


def _process_findings(seen: HostSeen, layout: Layout, observed: Observed) -> Iterator[Finding]:
    if not seen.unit.is_running:
        return
    running = seen.unit.environment
    wanted = {CRL_VARIABLES[kind]: layout.crl(kind) for kind in crl_kinds(observed.pki)}
    if unread := [name for name, path in wanted.items() if running.get(name) != path]:
        yield Finding(
            "wrong",
            seen.host,
            f"The member runs without {' and '.join(unread)}.",
            "It accepts revoked certificates.",
            f"{_APPLY} It restarts one member after the other.",
            (110,),
            code="revocation-list-unread",
        )


def _date_findings(spec: Spec, observed: Observed) -> Iterator[Finding]:
    for crl in dict.fromkeys(observed.pki.crls.values()):
        if not (reason := crl_ageing(crl, observed.at)):
            continue
        fix = _APPLY if spec.tls.mode == "managed" else f"Make a new list with your CA, then: {_APPLY}"
        yield Finding(
            "advice",
            "",
            f"The revocation list {reason.removeprefix('it ')}.",
            "etcd uses it after that date too. Other programs that read it may reject every certificate.",
            fix,
            (110,),
            code="revocation-list-expires",
        )


def _former_findings(spec: Spec, observed: Observed) -> Iterator[Finding]:
    """Yield the members that left, and whose certificates other members still accept."""
    members = member_list(observed)
    if not members or stray_members(spec, members):
        return  # The plan that removes a member also revokes its certificates.
    # A host that was renamed in cluster.yaml has the certificates of its previous name until the next apply.
    present = {seen.marker.member for seen in observed.reachable().values() if seen.marker}
    for name in owners_of(retired_certs(spec, observed)):
        if name in present and name not in observed.leaving:
            continue
        yield Finding(
            "advice",
            "",
            f"The members accept the certificates of {name}, which has left the cluster.",
            "A person with the disk of that host can connect.",
            as_sentence(revoke_retired_hint((name,), observed)),
            (110,),
            code="certificates-not-revoked",
        )


def _shared_findings(observed: Observed) -> Iterator[Finding]:
    """Yield the members that were replaced without the CA key: the new member has the certificates of the old one."""
    for name in observed.pki.shared:
        yield Finding(
            "advice",
            "",
            f"The members accept the certificates of {name} that its replaced member has, too.",
            "A person with the disk of that host can connect.",
            as_sentence(revoke_hint((name,))),
            (110,),
            code="certificates-not-revoked",
        )
