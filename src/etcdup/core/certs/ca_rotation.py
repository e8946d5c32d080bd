"""Another CA for a cluster that exists, in the three phases of rule 15, each a run of its own.

    trust  a new CA is made and trusted beside the old one: every member restarts, since CA files are read at start only
    sign   the new CA signs: every leaf is issued anew and swapped without a restart
    drop   the new CA is trusted alone: every member restarts

Between them consumers act: before `sign` they must trust both, before `drop` they must show certificates of the new
one. Which phase it is, the PKI folder says; how far it came, the members' processes do. There is no other memory.
`keep` is no phase: it is the way back from a `drop` that is not whole, to where `sign` had come.
"""

from dataclasses import replace
from typing import Literal

from etcdup.core.certs.required import desired_certs, why_due
from etcdup.core.host.files import ca_digest
from etcdup.core.members.quorum import healthy, refuse_corrupt_alarm
from etcdup.core.observed.model import CertSeen, HostSeen, Observed, PkiSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

RotationStage = Literal["trust", "sign", "drop", "keep"]
TRUST_VARIABLE = "ETCDUP_TRUST"

STAGE_REASONS: dict[RotationStage, str] = {
    "trust": "members read CA files only as they start, so both are trusted before either is needed",
    "sign": "every member trusts both CAs: no link minds which of them signed",
    "drop": "nothing that is known of shows a certificate of the old CA any more",
    "keep": "members that dropped the old CA turn its clients away",
}


def rotation_stage(pki: PkiSeen) -> RotationStage | None:
    """The phase that the PKI is in; None where one CA is all there is."""
    if pki.successor is None or pki.successor not in pki.trusted:
        return None
    signs = pki.ca is not None and pki.ca.key == pki.successor.key
    return "sign" if signs else "trust"


def consumers_of_old_ca(pki: PkiSeen) -> tuple[str, ...]:
    """Consumers whose newest certificate, as far as is known here, none but the old CA signed."""
    key = pki.ca.key if pki.ca else ""
    return tuple(
        role.partition("/")[2]
        for role, cert in pki.certs.items()
        if role.startswith("client/") and cert.issuer_key != key
    )


def hosts_dropping_old_ca(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Hosts that still have, or run with, what this PKI trusted before, while it has one CA alone: the end of a
    rotation that is not whole yet."""
    pki = observed.pki
    if rotation_stage(pki) is not None or not pki.past:
        return ()
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and (_has_past_file(spec, host, seen, pki) or runs_with_other_ca(seen, pki))
    )


def _has_past_file(spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen) -> bool:
    """The one that is wanted now may have been there before as well, if an old CA was kept once."""
    file = seen.files.get(layout_of(spec, host).ca())
    return file is not None and file.sha256 in pki.past - set(pki.trust.values())


def runs_with_other_ca(seen: HostSeen, pki: PkiSeen) -> bool:
    """Whether its process was started with another CA file than the one wanted now (rule 14)."""
    return seen.unit.is_running and seen.unit.environment.get(TRUST_VARIABLE) != ca_digest(pki)


def refuse_rotate_ca(stage: RotationStage, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """A turn wants every host in reach and every member well, each running with the trust that the last one gave it."""
    if stage == "keep":
        return _refuse_keep_old(spec, observed)
    if spec.tls.mode != "managed":
        hint = (
            "put the old CA and the new one into the file of `tls.ca` and `etcdup apply`; then new leaves, and "
            "apply; then the new CA alone, and apply"
        )
        return (Refused("the CA is not etcdup's: with `tls.mode: provided` it makes no other", hint=hint),)
    if observed.pki.ca is None:
        return (Refused("this cluster has no CA yet", hint="`etcdup apply` makes it with the cluster"),)
    reasons = [
        *_refuse_unreachable(spec, observed),
        *_refuse_unhealthy(spec, observed),
        *_refuse_other_ca_file(spec, observed),
        *refuse_corrupt_alarm(observed),
        *_refuse_expired_ca(observed),
    ]
    if stage == "drop":
        reasons += [*_refuse_old_leaves(spec, observed), *_refuse_old_consumers(observed.pki)]
    return tuple(reasons)


def _refuse_keep_old(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """The way back is open in any trouble: every leaf is of the new CA, which all members trust before and after it."""
    if hosts_dropping_old_ca(spec, observed):
        return ()
    return (
        Refused(
            "no CA is being dropped: there is none to be kept",
            hint="`etcdup certs rotate-ca` says where a change of CA is; once no member trusts the old CA, it is over",
        ),
    )


def _refuse_unreachable(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    gone = observed.unreachable()
    hint = "bring it back, or take it out of cluster.yaml and apply: a host left behind would be cut off"
    return tuple(
        Refused(
            f"{host.name} cannot be reached: {gone[host.name].why}", hint=hint, host=host.name, rules=(15,)
        )
        for host in spec.hosts
        if host.name in gone
    )


def _refuse_unhealthy(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    well, reachable = healthy(observed), observed.reachable()
    return tuple(
        Refused(
            f"the member {host.name} is not healthy",
            hint="`etcdup status` says why; `etcdup certs renew` heals certificates that have expired",
            host=host.name,
            rules=(15, 17),
        )
        for host in spec.hosts
        if host.name in reachable and host.name not in well
    )


def _refuse_other_ca_file(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    return tuple(
        Refused(
            f"{host.name} runs with another CA file than the one it should have",
            hint="`etcdup apply` finishes the phase that was begun",
            host=host.name,
            rules=(14, 15),
        )
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and runs_with_other_ca(seen, observed.pki)
    )


def _refuse_expired_ca(observed: Observed) -> tuple[Refused, ...]:
    """A CA that has ended signs nothing that anybody takes, and no link would survive a restart (rule 17)."""
    ca = observed.pki.ca
    if ca is None or observed.at < ca.not_after:
        return ()
    message = f"the CA expired on {ca.not_after:%Y-%m-%d %H:%M} UTC: no new handshake succeeds, and none proves a phase"
    return (Refused(message, hint="take a backup, and make the cluster anew from it with another `tls.dir`"),)


def _refuse_old_leaves(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    pki = observed.pki
    late = [w.role for w in desired_certs(spec) if why_due(w, pki.certs.get(w.role), pki.ca, observed.at)]
    if not late:
        return ()
    hint = "`etcdup apply` issues them and brings them to the hosts"
    return (Refused(f"not of the new CA yet: {', '.join(late)}", hint=hint, rules=(15,)),)


def _refuse_old_consumers(pki: PkiSeen) -> tuple[Refused, ...]:
    """etcd does not tell who is connected with what: what was issued here is all that can be known."""
    return tuple(
        Refused(
            f"the consumer {name} has only a certificate of the old CA, and would be locked out",
            hint=f"`etcdup certs issue {name}` and bring it there (with --csr, if its key is there); "
            f"or, if it is no more, `etcdup certs forget {name}`",
            rules=(15,),
        )
        for name in consumers_of_old_ca(pki)
    )


def pki_with_old_ca(spec: Spec, observed: Observed) -> PkiSeen:
    """The PKI once the old CA is trusted again: the file of both is the one that hosts still have."""
    pki, places = observed.pki, observed.reachable()
    digest = next(
        (
            file.sha256
            for name in hosts_dropping_old_ca(spec, observed)
            if (file := places[name].files.get(layout_of(spec, spec.host(name)).ca()))
            and file.sha256 in pki.past
        ),
        "",
    )
    trusted = (*pki.trusted, *pki.trusted)  # the old one, whose facts no file here tells yet, and the new one
    past, trust = pki.past | set(pki.trust.values()), dict.fromkeys(pki.trust, digest)
    return replace(pki, successor=pki.trusted[0], trusted=trusted, trust=trust, past=past)


def pki_after_stage(stage: RotationStage, pki: PkiSeen) -> PkiSeen:
    """The PKI as it will be, as far as that can be told: the digest of a CA file that is yet to be written is not."""
    authority = pki.ca
    assert authority is not None, "guarded"
    unwritten = dict.fromkeys(pki.trust, "")
    if stage == "sign":
        assert pki.successor is not None, "made by `trust`"
        return replace(pki, ca=pki.successor)
    trusted: tuple[CertSeen, ...] = pki.trusted if stage == "trust" else (authority,)
    return replace(pki, trust=unwritten, trusted=trusted, past=pki.past | set(pki.trust.values()))
