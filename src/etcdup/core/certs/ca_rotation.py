"""Rotation of the CA of an existing cluster in the three phases of rule 15. Each phase is a run of its own.

    trust  create a new CA and trust both CAs: every member restarts, because etcd reads CA files only at its start
    sign   sign with the new CA: all certificates are issued again and replaced without a restart
    drop   trust the new CA only: every member restarts

Between the phases the clients must be changed. Before `sign` they must trust both CAs. Before `drop` they must use
certificates of the new CA. The PKI directory shows the current phase, and the processes of the members show how far it
is. There is no other state. `keep` is no phase: it goes back from an incomplete `drop` to the end of `sign`.
"""

from dataclasses import replace
from typing import Literal

from etcdup.core.certs.required import desired_certs, why_due
from etcdup.core.host.clocks import BACKDATED, host_clocks, refuse_clocks
from etcdup.core.host.files import ca_digest
from etcdup.core.members.quorum import healthy, refuse_corrupt_alarm
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec

RotationStage = Literal["trust", "sign", "drop", "keep"]
TRUST_VARIABLE = "ETCDUP_TRUST"

PROVIDED_CA_HINT = (
    "for a CA of etcdup, run `etcdup certs own-ca DIR`. For another CA of your own, put the old CA and the new CA into "
    "the file of `tls.ca`, keep the old certificates, and run `etcdup apply`. "
    "Then put the new certificates into their files and run it. "
    "Then put only the new CA into the file of `tls.ca` and run it"
)

STAGE_REASONS: dict[RotationStage, str] = {
    "trust": "etcd reads CA files only at its start, so all members must trust both CAs before the new one signs",
    "sign": "every member trusts both CAs, so certificates of either CA work",
    "drop": "no known certificate of the old CA is in use any more",
    "keep": "members that dropped the old CA reject clients with certificates of the old CA",
}


def rotation_stage(pki: PkiSeen) -> RotationStage | None:
    """Return the phase of the PKI; None if it has only one CA."""
    if pki.successor is None or pki.successor not in pki.trusted:
        return None
    signs = pki.ca is not None and pki.ca.key == pki.successor.key
    return "sign" if signs else "trust"


def awaits_own_ca(pki: PkiSeen) -> bool:
    """Return whether the members have provided certificates, and the CA that replaces theirs does not sign yet."""
    return pki.is_from_provided and rotation_stage(pki) == "trust"


def refuse_own_ca_of_waiting(observed: Observed) -> tuple[Refused, ...]:
    """Refuse to replace the provided CA of hosts that wait for their take-over: another tool has their files."""
    if not observed.pki.is_from_provided or not observed.adopted:
        return ()
    return (
        Refused(
            f"{', '.join(observed.adopted)}: the CA cannot be replaced before the take-over",
            hint="write the previous section `tls` back into cluster.yaml, and run `etcdup adopt --take-over` first",
            rules=(15,),
        ),
    )


def refuse_unsigned(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse new hosts while no CA can sign their certificates: the old one is provided, the new one is not trusted."""
    if not awaits_own_ca(observed.pki):
        return ()
    roles = {wanted.role for wanted in desired_certs(spec)} - observed.pki.certs.keys()
    names = [host.name for host in spec.hosts if roles & {f"server/{host.name}", f"peer/{host.name}"}]
    return tuple(
        Refused(
            f"{name} has no certificate in {spec.tls.dir}, and the new CA there does not sign yet",
            hint=f"take {name} out of cluster.yaml until `etcdup certs rotate-ca --consumers-have ca` is complete",
            host=name,
            rules=(15,),
        )
        for name in names
    )


def consumers_of_old_ca(pki: PkiSeen) -> tuple[str, ...]:
    """Return the consumers whose newest known certificate is of the old CA."""
    key = pki.ca.key if pki.ca else ""
    return tuple(
        role.partition("/")[2]
        for role, cert in pki.certs.items()
        if role.startswith("client/") and cert.issuer_key != key
    )


def hosts_dropping_old_ca(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the hosts that still have, or run with, a previous CA file, while the PKI has only one CA.

    These hosts show that the phase `drop` is not complete.
    """
    pki = observed.pki
    if rotation_stage(pki) is not None or not pki.past:
        return ()
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and (_has_past_file(spec, host, seen, pki) or runs_with_other_ca(seen, pki))
    )


def hosts_without_new_ca(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the hosts whose member runs without the CA files of the present phase."""
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and runs_with_other_ca(seen, observed.pki)
    )


def has_past_ca_file(spec: Spec, name: str, observed: Observed) -> bool:
    """Return whether the next start of the member on this host still trusts the old CA."""
    seen = observed.reachable().get(name)
    return seen is not None and _has_past_file(spec, spec.host(name), seen, observed.pki)


def is_dropping(spec: Spec, observed: Observed) -> bool:
    """Return whether the phase `drop` is not complete: a host has a previous CA file, or files that are not proved."""
    hosts = observed.reachable()
    unproved = any(host.name in hosts and hosts[host.name].is_unproved for host in spec.hosts)
    is_past = rotation_stage(observed.pki) is None and bool(observed.pki.past)
    return bool(hosts_dropping_old_ca(spec, observed)) or (is_past and unproved)


def _has_past_file(spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen) -> bool:
    """Return whether the host has a previous CA file. After `keep`, a previous file can also be the wanted one."""
    file = seen.files.get(layout_of(spec, host).ca())
    return file is not None and file.sha256 in pki.past - set(pki.trust.values())


def runs_with_other_ca(seen: HostSeen, pki: PkiSeen) -> bool:
    """Return whether the running process was started with another CA file than the wanted one (rule 14)."""
    return seen.unit.is_running and seen.unit.environment.get(TRUST_VARIABLE) != ca_digest(pki)


def refuse_rotate_ca(stage: RotationStage, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow a phase if all hosts are reachable, all members are healthy, and all run with the current CA file."""
    if stage == "keep":
        return _refuse_keep_old(spec, observed)
    if spec.tls.mode != "managed":
        message = "etcdup cannot rotate the CA with `tls.mode: provided`: it has no key of the CA"
        return (Refused(message, hint=PROVIDED_CA_HINT),)
    if observed.pki.ca is None:
        return (
            Refused(
                "the cluster has no CA yet",
                hint="run `etcdup apply`. It creates the CA and forms the cluster",
            ),
        )
    reasons = [
        *refuse_clocks(host_clocks(spec, observed), BACKDATED.total_seconds()),
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
    """Allow `keep` whenever a `drop` is incomplete.

    All certificates are of the new CA, and all members trust that CA before and after `keep`.
    """
    if hosts_dropping_old_ca(spec, observed):
        return ()
    return (
        Refused(
            "etcdup cannot keep the old CA: no member is dropping a CA now",
            hint="run `etcdup certs rotate-ca` to see the phase of the rotation. When no member trusts the old CA, "
            "the rotation is complete",
        ),
    )


def _refuse_unreachable(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    gone = observed.unreachable()
    hint = (
        "bring the host back, then run the same command again. If the host is lost, take it out of cluster.yaml and "
        "run `etcdup apply` first. A host that keeps the previous CA file would be rejected by the other members"
    )
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
            f"{host.name}: the member is not healthy",
            hint="run `etcdup status` to see why. If certificates have expired, run `etcdup certs renew`",
            host=host.name,
            rules=(15, 17),
        )
        for host in spec.hosts
        if host.name in reachable and host.name not in well
    )


def _refuse_other_ca_file(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    return tuple(
        Refused(
            f"{host.name} runs with another CA file than the one that it must have",
            hint="run `etcdup apply`, which completes the current phase",
            host=host.name,
            rules=(14, 15),
        )
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and runs_with_other_ca(seen, observed.pki)
    )


def _refuse_expired_ca(observed: Observed) -> tuple[Refused, ...]:
    """Refuse a rotation with an expired CA: no handshake proves a phase, and a restart breaks the links (rule 17)."""
    ca = observed.pki.ca
    if ca is None or observed.at < ca.not_after:
        return ()
    message = f"the CA expired on {ca.not_after:%Y-%m-%d %H:%M} UTC: no new handshake succeeds"
    return (
        Refused(
            message,
            hint="restore the newest backup (`etcdup backup list`) into a new cluster with another `tls.dir`",
        ),
    )


def _refuse_old_leaves(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    pki = observed.pki
    missing = [w.role for w in desired_certs(spec) if why_due(w, pki.certs.get(w.role), pki.ca, observed.at)]
    if not missing:
        return ()
    hint = "run `etcdup apply`. It issues these certificates and installs them on the hosts"
    return (
        Refused(
            f"these certificates are not of the new CA yet: {', '.join(missing)}", hint=hint, rules=(15,)
        ),
    )


def _refuse_old_consumers(pki: PkiSeen) -> tuple[Refused, ...]:
    """Refuse if a consumer has only a certificate of the old CA.

    etcd does not report the certificates of its clients. Only the certificates that etcdup issued are known.
    """
    return tuple(
        Refused(
            f"the consumer {name} has only a certificate of the old CA, and the members would reject it",
            hint=f"run `etcdup certs issue {name}` (with --csr if the key is on the client) and install the "
            f"certificate there. If the client does not exist any more, run `etcdup certs forget {name}`",
            rules=(15,),
        )
        for name in consumers_of_old_ca(pki)
    )


def pki_with_old_ca(spec: Spec, observed: Observed) -> PkiSeen:
    """Return the PKI as it will be when the old CA is trusted again. The CA file with both CAs is still on hosts."""
    pki, hosts = observed.pki, observed.reachable()
    digest = next(
        (
            file.sha256
            for name in hosts_dropping_old_ca(spec, observed)
            if (file := hosts[name].files.get(layout_of(spec, spec.host(name)).ca()))
            and file.sha256 in pki.past
        ),
        "",
    )
    # The first entry represents the old CA, whose certificate is in no file of the PKI any more.
    trusted = (*pki.trusted, *pki.trusted)
    past, trust = pki.past | set(pki.trust.values()), dict.fromkeys(pki.trust, digest)
    return replace(pki, successor=pki.trusted[0], trusted=trusted, trust=trust, past=past)


def pki_after_stage(stage: RotationStage, pki: PkiSeen) -> PkiSeen:
    """Return the PKI as it will be after the phase. The digest of a CA file that is not written yet is empty."""
    authority = pki.ca
    assert authority is not None, "refuse_rotate_ca allows no rotation without a CA"
    unwritten = dict.fromkeys(pki.trust, "")
    if stage == "sign":
        assert pki.successor is not None, "the phase `trust` has created it"
        return replace(pki, ca=pki.successor)
    trusted: tuple[CertSeen, ...] = pki.trusted if stage == "trust" else (authority,)
    return replace(
        pki,
        trust=unwritten,
        trusted=trusted,
        past=pki.past | set(pki.trust.values()),
        is_from_provided=pki.is_from_provided and stage != "drop",
    )
