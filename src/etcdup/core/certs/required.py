"""Which certificates a cluster needs, when one must be issued anew, and whether provided ones will do.

One CA signs for clients and peers. Peers are told apart by their common name, the same on every peer
certificate and on no other (rule 20), so no client certificate can speak raft.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from etcdup.core.observed.model import CertSeen
from etcdup.core.spec.model import HostSpec, Spec, is_ip
from etcdup.core.spec.names import peer_common_name

SERVER_AUTH = "serverAuth"
CLIENT_AUTH = "clientAuth"
ANY_USAGE = "any"
# Servers dial themselves (the JSON gateway) and peers dial each other, so both need both (rule 19).
BOTH = (SERVER_AUTH, CLIENT_AUTH)
# etcd's superuser, should the cluster's owner turn auth on: a client's common name is its user there.
ADMIN_USER = "root"
HEALTH_USER = "etcd-health"
EXPIRES_SOON = timedelta(days=7)  # rule 17


@dataclass(frozen=True)
class DesiredCert:
    """A certificate as it must be. Roles are named as in PkiSeen; a consumer's is `client/NAME`."""

    role: str
    common_name: str
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    usages: tuple[str, ...] = (CLIENT_AUTH,)


def desired_certs(spec: Spec) -> tuple[DesiredCert, ...]:
    """Every certificate that a managed cluster needs: three a member, and the operator's own."""
    members = (cert for host in spec.hosts for cert in _member_certs(spec, host))
    return (*members, DesiredCert("admin", ADMIN_USER))


def desired_consumer_cert(name: str) -> DesiredCert:
    """The certificate of a consumer of the cluster, such as kube-apiserver."""
    return DesiredCert(f"client/{name}", name)


def _member_certs(spec: Spec, host: HostSpec) -> tuple[DesiredCert, ...]:
    dns_names, addresses = _names(host)
    return (
        DesiredCert(f"server/{host.name}", host.name, dns_names, addresses, BOTH),
        DesiredCert(f"peer/{host.name}", peer_common_name(spec), dns_names, addresses, BOTH),
        DesiredCert(f"health/{host.name}", HEALTH_USER),
    )


def _names(host: HostSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """DNS names and addresses that a member is dialled by, and dials its peers from (rule 18)."""
    every = (host.address, host.listen_address or host.address, host.name, "localhost", "127.0.0.1", "::1")
    return tuple(n for n in dict.fromkeys(every) if not is_ip(n)), tuple(filter(is_ip, dict.fromkeys(every)))


def with_previous_addresses(wanted: DesiredCert, seen: CertSeen | None) -> DesiredCert:
    """A peer's certificate keeps the addresses that it had: a host that got a second one may go on dialling its peers
    from the first, and they turn away whoever comes from an address that the certificate lacks (rule 18)."""
    if seen is None or not wanted.role.startswith("peer/") or seen.common_name != wanted.common_name:
        return wanted
    return replace(wanted, addresses=tuple(dict.fromkeys((*wanted.addresses, *seen.addresses))))


def why_due(
    wanted: DesiredCert, seen: CertSeen | None, authority: CertSeen | None, now: datetime
) -> str | None:
    """Why this certificate must be issued (anew), in words that follow its name; None if it will do.

    In what is seen, an empty `key` says that no private key fitting the certificate lies beside it, an empty
    `issuer_key` that none of the trusted CAs signed it.
    """
    if authority is None:
        return "there is no CA yet"
    if seen is None:
        return "there is none yet"
    return _why_unfit(wanted, seen, authority) or _why_ageing(seen, now)


def _why_unfit(wanted: DesiredCert, seen: CertSeen, authority: CertSeen) -> str | None:
    if not seen.key:
        return "its key is missing or does not fit it"
    if seen.issuer_key != authority.key:
        return "it was signed by another CA"
    if seen.common_name != wanted.common_name:
        return f"it is called `{seen.common_name}`, not `{wanted.common_name}`"
    if lacking := [n for n in (*wanted.addresses, *wanted.dns_names) if not _is_named(n, seen)]:
        return f"its names lack {', '.join(lacking)}"
    if lacking := [u for u in wanted.usages if u not in seen.usages]:
        return f"its usages lack {', '.join(lacking)}"
    return None


def _why_ageing(seen: CertSeen, now: datetime) -> str | None:
    if now >= seen.not_after:
        return f"it expired on {_day(seen.not_after)}"
    if now < seen.not_before:
        return f"it is not valid before {_day(seen.not_before)}"
    if (seen.not_after - now) * 3 < seen.not_after - seen.not_before:
        return f"it expires on {_day(seen.not_after)}: less than a third of its life is left"
    return None


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _is_named(name: str, cert: CertSeen) -> bool:
    """Whether a client that dials this name accepts the certificate. `*` stands for one whole first label."""
    if is_ip(name):
        return name in cert.addresses
    any_first = "*." + name.partition(".")[2]
    return not {name, any_first}.isdisjoint(dns.lower() for dns in cert.dns_names)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file of the PKI; the message follows the file's name.

    `members` are those that it concerns, none where it concerns the operator alone.
    """

    file: str
    message: str
    hint: str = ""
    members: tuple[str, ...] = ()
    is_warning: bool = False

    def __str__(self) -> str:
        return f"{self.file} {self.message}"


@dataclass(frozen=True)
class ProvidedCert:
    """A provided certificate in one role (named as in PkiSeen).

    `chain` leads from its issuer to a certificate of the CA file; empty if there is no such way.
    """

    role: str
    cert: CertSeen
    chain: tuple[CertSeen, ...]
    ca: CertSeen
    key_path: str
    key_fits: bool

    @property
    def member(self) -> str:
        return self.role.partition("/")[2]

    @property
    def is_dialled(self) -> bool:
        return self.role.startswith(("server/", "peer/"))


def check_provided(spec: Spec, sets: tuple[ProvidedCert, ...], now: datetime) -> tuple[Fault, ...]:
    """Everything that would keep these certificates from serving this cluster, all at once."""
    found: list[Fault] = []
    for each in sets:
        faults = [*_trust_faults(each), *_usage_faults(each), *_name_faults(spec, each)]
        faults += [fault for cert in (each.cert, *each.chain) for fault in validity_faults(cert, now)]
        members = (each.member,) if each.member else ()
        found += [replace(fault, members=members) for fault in faults]
    return merge_faults(found)


def merge_faults(faults: list[Fault]) -> tuple[Fault, ...]:
    """The faults, each once: a file that serves all members is not at fault once for each of them."""
    first: dict[str, Fault] = {}
    members: dict[str, dict[str, None]] = {}
    for fault in faults:
        first.setdefault(str(fault), fault)
        members.setdefault(str(fault), {}).update(dict.fromkeys(fault.members))
    return tuple(replace(fault, members=tuple(members[text])) for text, fault in first.items())


def _trust_faults(each: ProvidedCert) -> list[Fault]:
    faults = []
    if not each.key_fits:
        hint = f"give the key that {each.cert.path} was made for"
        faults.append(Fault(each.key_path, f"is not the key of {each.cert.path}", hint))
    for issuer in each.chain or (each.ca,):
        if not issuer.is_ca:
            message = f"holds the certificate of `{issuer.common_name}`, which is not a CA's"
            faults.append(
                Fault(issuer.path, message, "give the CA's own certificate, the one with `CA:TRUE`")
            )
    if not each.chain and each.ca.is_ca:
        hint = "give the CA that signed it; intermediate certificates belong into its file, after the first"
        faults.append(Fault(each.cert.path, f"was not signed by the CA in {each.ca.path}", hint))
    return faults


def _usage_faults(each: ProvidedCert) -> list[Fault]:
    """Without the extension every use is allowed; with one, the issuers' count too."""
    needed = BOTH if each.is_dialled else (CLIENT_AUTH,)
    hint = f"have it issued for {' and '.join(needed)}"
    if each.is_dialled:
        hint += ": members dial each other, and themselves, with it"
    faults = []
    for cert in (each.cert, *each.chain):
        lacking = [usage for usage in needed if not {usage, ANY_USAGE}.intersection(cert.usages)]
        if cert.usages and lacking:
            faults.append(Fault(cert.path, f"lacks the extended key usage {', '.join(lacking)}", hint))
    return faults


def _name_faults(spec: Spec, each: ProvidedCert) -> list[Fault]:
    if not each.is_dialled:
        return []
    host = spec.host(each.member)
    hint = "issue it with every member's address in its subject alternative names"
    return [
        Fault(each.cert.path, f"lacks the {'address' if is_ip(name) else 'name'} {name} of {host.name}", hint)
        for name in _dialled_names(host, each.role)
        if not _is_named(name, each.cert)
    ]


def _dialled_names(host: HostSpec, role: str) -> list[str]:
    """What a member is dialled by; a peer certificate also needs what the member dials from (rule 18)."""
    names = [host.address]
    if role.startswith("peer/"):
        names += [host.listen_address] if host.listen_address else []
        # Within 127.0.0.0/8 the kernel dials from 127.0.0.1.
        names += ["127.0.0.1"] if is_ip(host.address) and host.address.startswith("127.") else []
    return list(dict.fromkeys(names))


def validity_faults(cert: CertSeen, now: datetime, *, soon: timedelta = EXPIRES_SOON) -> list[Fault]:
    """Whether a certificate is valid now, and will be for a while."""
    whose = f"holds the certificate of `{cert.common_name}`, which"
    if now < cert.not_before:
        hint = "check this machine's clock, and the one it was issued on"
        return [Fault(cert.path, f"{whose} is not valid before {_day(cert.not_before)}", hint)]
    if now >= cert.not_after:
        return [Fault(cert.path, f"{whose} expired on {_day(cert.not_after)}", "have it issued anew")]
    if cert.not_after - now < soon:
        message = f"{whose} expires on {_day(cert.not_after)}"
        return [Fault(cert.path, message, "have it issued anew", is_warning=True)]
    return []
