"""Revoke certificates: sign a new revocation list, and install it on all members.

etcd reads the list for each handshake, so no member is restarted. `certs revoke` revokes what the operator names. A
certificate of a member or of etcdup gets a replacement with a new key first. The list is signed when the host of that
member has the new pair: a list that rejects a certificate in use would cost the member its peers, also after a kill.

The ordinary plan revokes the certificates of members that left in its last steps, and those of a member that is
replaced before its successor is added. The certificates in the PKI show what is left to do, so the next apply completes
an interrupted run.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.inventory import archived_name
from etcdup.core.certs.renewal import leaf_steps, refuse_leaf_issue
from etcdup.core.certs.required import desired_certs
from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.membership_guards import refuse_revoke_former
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.plan.certificate_steps import RevokeCertificates
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import FileChange, Step
from etcdup.core.spec.layout import MEMBER_CERTS, layout_of
from etcdup.core.spec.model import Spec

REVOKED = "it is revoked"
# The kinds of roles of certificates of members, present and former ones.
MEMBER_KINDS = ("former", "renewed", *MEMBER_CERTS)


@dataclass(frozen=True)
class ToRevoke:
    """A certificate that the operator wants to revoke, with its role as `certs list` shows it."""

    role: str
    cert: CertSeen

    @property
    def owner(self) -> str:
        """The member or the consumer that it was issued for."""
        return _owner(self.role)

    @property
    def is_peer(self) -> bool:
        """Whether it is for connections between members, for example `peer/infra1` or `renewed/infra1/peer-HASH`."""
        kind, _, rest = self.role.partition("/")
        of_kind = rest.rpartition("/")[2] if kind in ("former", "renewed") else kind
        return of_kind.partition("-")[0] == "peer"


def certs_to_revoke(name: str, issued: Mapping[str, CertSeen], at: datetime) -> tuple[ToRevoke, ...]:
    """Return the certificates of this name that etcd still accepts, or has rejected since an earlier run.

    `name` is a role, a consumer with all its certificates, or a host with all its certificates. `issued` has all known
    certificates by role. Certificates that have expired or that no trusted CA signed are left out.
    """
    exact = name in issued
    chosen = {role for role in issued if (_has_key_of(role, name) if exact else _belongs(role, name))}
    return tuple(ToRevoke(role, issued[role]) for role in sorted(chosen) if _is_valid(issued[role], at))


def _is_valid(cert: CertSeen, at: datetime) -> bool:
    return cert.not_after > at and bool(cert.issuer_key)


def _has_key_of(role: str, name: str) -> bool:
    """Return whether it is this certificate, or one that it has replaced: a renewal keeps the key of a member."""
    kind, _, owner = name.partition("/")
    return role == name or (bool(owner) and role.startswith(f"renewed/{owner}/{kind}-"))


def _belongs(role: str, name: str) -> bool:
    kinds = ("client", "forgotten", "replaced", *MEMBER_KINDS)
    return role.partition("/")[0] in kinds and _owner(role) == name


def _owner(role: str) -> str:
    """Return the member or the consumer that a certificate was issued for."""
    return archived_name(role.split("/")[1])


def revoke_retired_steps(
    spec: Spec, observed: Observed, running: Collection[str], chosen: Sequence[ToRevoke]
) -> list[Step]:
    """Return the steps that revoke these certificates of members that left or were replaced.

    `running` are the hosts whose members run by then.
    """
    if not chosen or _why_later(observed):
        return []
    owners = ", ".join(owners_of(chosen))
    revoking = revoke_step(observed.pki, chosen, f"{owners}: no member uses these certificates any more")
    return [*revoking, *_list_steps(spec, observed.reachable(), running)]


def owners_of(chosen: Iterable[ToRevoke]) -> tuple[str, ...]:
    """Return the members or consumers of these certificates."""
    return tuple(dict.fromkeys(each.owner for each in chosen))


def unrevoked_notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return a note if the certificates of members that left or were replaced are not revoked. It blocks no removal."""
    names = owners_of(retired_certs(spec, observed))
    shared = observed.pki.shared
    why = _why_later(observed)
    notes = []
    if shared:
        notes.append(
            f"the certificates of {', '.join(shared)} are not revoked, and a replaced member has the same ones\n"
            f"hint: {revoke_hint(shared)}"
        )
    if names and why:
        notes.append(
            f"the certificates of {', '.join(names)} are not revoked: {why}\n"
            f"hint: {revoke_retired_hint(names, observed)}"
        )
    return tuple(notes)


def restored_notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return a note if a restore leaves certificates of members to revoke that the cluster does not have after it."""
    if _why_later(observed):
        return unrevoked_notes(spec, observed)
    names = ", ".join(owners_of(retired_certs(spec, observed)))
    note = f"the members accept the certificates of {names} until you run `etcdup apply`, which revokes them"
    return (note,) if names else ()


def restored_lines(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return what an operator has to do about these certificates after a restore, as sentences."""
    names = ", ".join(owners_of(retired_certs(spec, observed)))
    if not names or _why_later(observed):
        return ()
    return (
        f"Run `etcdup apply` next: it revokes the certificates of {names}. No host of the cluster uses them.",
    )


def _why_later(observed: Observed) -> str:
    """Return why no certificate can be revoked now, or nothing."""
    if observed.adopted:
        return "the take-over is not finished, so not every member has a revocation list"
    return observed.pki.cannot_sign


def revoke_retired_hint(names: Iterable[str], observed: Observed) -> str:
    """Return how to revoke the certificates of these members, which have left, later."""
    if observed.adopted:
        return "run `etcdup adopt --take-over`, and then `etcdup apply`, which revokes them"
    return revoke_hint(names)


def revoke_hint(names: Iterable[str]) -> str:
    """Return how to revoke the certificates of these members later."""
    commands = " and ".join(f"`etcdup certs revoke {name}`" for name in names)
    return f"run {commands} on a machine that has the CA key. $ETCDUP_CA_PASSPHRASE is its passphrase, if it has one"


def with_archived_member(pki: PkiSeen, name: str) -> PkiSeen:
    """Return the PKI as it is after the certificates of this member are archived."""
    archived = {role: cert for role, cert in _member_certs(pki).items() if role.split("/")[1] == name}
    former = {f"former/{name}/{cert.sha256}": cert for cert in archived.values()}
    return replace(
        pki,
        certs={role: cert for role, cert in pki.certs.items() if role not in archived},
        files={role: sums for role, sums in pki.files.items() if role not in archived},
        former={**{role: cert for role, cert in pki.former.items() if role not in archived}, **former},
    )


def revoked_by(plan: Plan, pki: PkiSeen) -> tuple[ToRevoke, ...]:
    """Return the certificates that a plan revokes, as the PKI has them before the plan is applied."""
    serials = {
        serial for step in plan.steps if isinstance(step, RevokeCertificates) for serial in step.serials
    }
    known = {**pki.former, **pki.certs}
    return tuple(ToRevoke(role, cert) for role, cert in sorted(known.items()) if cert.serial in serials)


def retired_certs(spec: Spec, observed: Observed) -> tuple[ToRevoke, ...]:
    """Return the certificates of members that left, and that members still accept.

    cluster.yaml decides which members leave. The guard of the step refuses while the member list still has one. A
    certificate that a member on an unreachable host may still use is left out.
    """
    own = {host.name for host in spec.hosts}
    return tuple(
        ToRevoke(role, cert)
        for role, cert in sorted(_member_certs(observed.pki).items())
        if not cert.is_revoked
        and _is_valid(cert, observed.at)
        and (role.startswith("former/") or _owner(role) not in own)
        and not _unreachable_users(spec, observed, _owner(role))
    )


def _member_certs(pki: PkiSeen) -> dict[str, CertSeen]:
    present = {role: cert for role, cert in pki.certs.items() if role.startswith(MEMBER_CERTS)}
    return {**pki.former, **present}


def _unreachable_users(spec: Spec, observed: Observed, name: str) -> tuple[str, ...]:
    """Return the unreachable hosts whose members may use certificates of this name.

    A member that came back may still have an archived one. A host may have another name in cluster.yaml since then.
    """
    certs = [cert for role, cert in _member_certs(observed.pki).items() if _owner(role) == name]
    names = {name, *(each for cert in certs for each in (*cert.addresses, *cert.dns_names))}
    return tuple(
        host.name
        for host in spec.hosts
        if host.name not in observed.reachable() and not names.isdisjoint((host.name, host.address))
    )


def _list_steps(spec: Spec, names: Collection[str], running: Collection[str]) -> tuple[InstallFiles, ...]:
    """Return the steps that give the new list to these hosts. Its content is not known yet, so each host gets it."""
    return tuple(
        InstallFiles(
            host=host.name,
            version=str(spec.version),
            changes=tuple(FileChange(layout_of(spec, host).crl(kind), "update") for kind in CRL_VARIABLES),
            proof="handshake" if host.name in running else "",
            reason="etcd reads the list for each handshake, so no restart is needed",
            rules=(110,),
        )
        for host in spec.hosts
        if host.name in names
    )


def plan_revocation(spec: Spec, observed: Observed, chosen: Sequence[ToRevoke]) -> Plan | Refusal:
    """Return the steps that are left to revoke these certificates."""
    reasons = _refuse_mode(spec) or refuse_stale_pki(spec, observed) or refuse_without_access(spec, observed)
    reasons = reasons or refuse_leaf_issue(spec, observed) or refuse_revocation(spec, observed, chosen)
    if reasons:
        return Refusal(spec.name, reasons)
    due = _to_replace(spec, observed.pki, chosen)
    issuing, installing = leaf_steps(spec, observed, due, new_keys=True)
    names = ", ".join(each.role for each in chosen)
    revoking = revoke_step(observed.pki, chosen, f"you requested it: {names}")
    marked = [name for name, seen in observed.reachable().items() if seen.is_marked(spec.name)]
    lists = _list_steps(spec, marked, observed.running()) if revoking else ()
    pairs = (*issuing, *installing)
    # The previous certificate of a member is archived, that of etcdup is not. So a killed run could forget its serial
    # number if a new certificate replaced it before.
    steps = (*revoking, *pairs, *lists) if "admin" in due else (*pairs, *revoking, *lists)
    return Plan(spec.name, steps, unreached_notes(spec, observed))


def _to_replace(spec: Spec, pki: PkiSeen, chosen: Sequence[ToRevoke]) -> dict[str, tuple[str, str]]:
    """Return the certificates in use that are revoked, or will be."""
    serials = {each.cert.serial for each in chosen}
    return {
        wanted.role: (cert.fingerprint, REVOKED if cert.is_revoked else "you requested to revoke it")
        for wanted in desired_certs(spec)
        if (cert := pki.certs.get(wanted.role)) is not None and (cert.is_revoked or cert.serial in serials)
    }


def revoke_step(pki: PkiSeen, chosen: Sequence[ToRevoke], reason: str) -> tuple[RevokeCertificates, ...]:
    """Return the step for the certificates that the list does not contain yet, or nothing."""
    listed = pki.crls["crl"].revoked if pki.crls else frozenset()
    left = [each for each in chosen if each.cert.serial not in listed]
    if not left:
        return ()
    roles, serials = (tuple(each.role for each in left), tuple(each.cert.serial for each in left))
    return (RevokeCertificates(roles=roles, serials=serials, reason=reason, rules=(110,)),)


def _refuse_mode(spec: Spec) -> tuple[Refused, ...]:
    if spec.tls.mode == "managed":
        return ()
    return (
        Refused(
            "etcdup cannot revoke certificates with `tls.mode: provided`: it has no key of the CA",
            hint="make a new revocation list with your CA, write it to the file of `tls.crl_file`, and run `etcdup "
            "apply`",
        ),
    )


def refuse_revocation(spec: Spec, observed: Observed, chosen: Sequence[ToRevoke]) -> tuple[Refused, ...]:
    """Refuse while a member reads no list, and if a member would lose a certificate that it uses."""
    return (*_refuse_unread(spec, observed), *refuse_in_use(spec, observed, [each.role for each in chosen]))


def _refuse_unread(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    running = observed.running()
    return tuple(
        Refused(
            f"{host.name} runs without a revocation list, so it would still accept the certificate",
            hint="run `etcdup apply` first, which restarts one member after the other with a list",
            host=host.name,
            rules=(110,),
        )
        for host in spec.hosts
        if (seen := running.get(host.name)) is not None
        and any(
            seen.unit.environment.get(variable) != layout_of(spec, host).crl(kind)
            for kind, variable in CRL_VARIABLES.items()
        )
    )


def refuse_in_use(spec: Spec, observed: Observed, roles: Iterable[str]) -> tuple[Refused, ...]:
    """Refuse to revoke certificates that a member may use and that etcdup cannot replace on its host.

    Only a quorum can confirm that a member has left.
    """
    own = {host.name for host in spec.hosts}
    names = sorted({_owner(role) for role in roles if role.partition("/")[0] in MEMBER_KINDS})
    users = dict.fromkeys(user for name in names for user in _unreachable_users(spec, observed, name))
    left = (
        reason for name in names if name not in own for reason in refuse_revoke_former(name, spec, observed)
    )
    return (*map(_refuse_unreachable, users), *dict.fromkeys(left))


def refuse_installed(spec: Spec, observed: Observed, serials: Collection[str]) -> tuple[Refused, ...]:
    """Refuse to revoke a certificate that a running member still has on its host, whatever its name in the PKI is."""
    known = {**observed.pki.former, **observed.pki.certs}.values()
    files, running = {cert.sha256 for cert in known if cert.serial in serials}, observed.running()
    return tuple(
        Refused(
            f"{host.name} still has {layout_of(spec, host).cert(kind)}, and its peers would reject it",
            hint="run `etcdup apply`, which installs the new certificate first",
            host=host.name,
            rules=(110,),
        )
        for host in spec.hosts
        if (seen := running.get(host.name)) is not None
        for kind in MEMBER_CERTS
        if (file := seen.files.get(layout_of(spec, host).cert(kind))) is not None and file.sha256 in files
    )


def _refuse_unreachable(name: str) -> Refused:
    return Refused(
        f"{name} cannot be reached, so its member would have no other certificate",
        hint=f"make {name} reachable. If the machine is lost, run `etcdup member replace {name} --address ADDRESS`, "
        "with the address of a new machine",
        host=name,
        rules=(31,),
    )


def unreached_notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return a note for each member that does not get the new list."""
    gone = observed.unreachable()
    return tuple(
        f"{host.name} cannot be reached: its member accepts the revoked certificates until the next `etcdup apply`"
        for host in spec.hosts
        if host.name in gone
    )
