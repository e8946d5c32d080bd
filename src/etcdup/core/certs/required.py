"""The certificates that a cluster needs, the reasons to issue one again, and the checks of provided ones.

One CA signs for clients and peers. All peer certificates have the same common name, and no other certificate has it
(rule 20). So a client certificate cannot send raft messages.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from etcdup.core.observed.pki import CertSeen, CrlSeen, PkiSeen
from etcdup.core.spec.address import is_any_address
from etcdup.core.spec.model import HostSpec, Spec, is_ip
from etcdup.core.spec.names import peer_common_name

SERVER_AUTH = "serverAuth"
CLIENT_AUTH = "clientAuth"
ANY_USAGE = "any"
# A server is a client of itself (the JSON gateway) and peers connect to each other, so both need both (rule 19).
BOTH = (SERVER_AUTH, CLIENT_AUTH)
# The superuser of etcd. If users are enabled in etcd, the common name of a client certificate is its user name.
ADMIN_USER = "root"
HEALTH_USER = "etcd-health"
EXPIRES_SOON = timedelta(days=7)  # rule 17


@dataclass(frozen=True)
class DesiredCert:
    """A certificate as it must be. Roles have the names of PkiSeen; the role of a consumer is `client/NAME`."""

    role: str
    common_name: str
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    usages: tuple[str, ...] = (CLIENT_AUTH,)


def desired_certs(spec: Spec) -> tuple[DesiredCert, ...]:
    """Return the certificates that a managed cluster needs: three for each member, and one for the operator."""
    members = (cert for host in spec.hosts for cert in _member_certs(spec, host))
    return (*members, DesiredCert("admin", ADMIN_USER))


def desired_consumer_cert(name: str, *, gateway: bool = False) -> DesiredCert:
    """Return the certificate of a consumer of the cluster, such as kube-apiserver.

    That of a client of the JSON gateway has no common name. It has no alternative name either: etcd compares these with
    the address of the client (rule 18).
    """
    return DesiredCert(f"client/{name}", "" if gateway else name)


def _member_certs(spec: Spec, host: HostSpec) -> tuple[DesiredCert, ...]:
    dns_names, addresses = _names(host)
    return (
        DesiredCert(f"server/{host.name}", host.name, dns_names, addresses, BOTH),
        DesiredCert(f"peer/{host.name}", peer_common_name(spec), dns_names, addresses, BOTH),
        DesiredCert(f"health/{host.name}", HEALTH_USER),
    )


def _names(host: HostSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the DNS names and addresses at which a member is reached, or from which it connects (rule 18)."""
    every = (host.address, *_own_listen_address(host), host.name, "localhost", "127.0.0.1", "::1")
    return tuple(n for n in dict.fromkeys(every) if not is_ip(n)), tuple(filter(is_ip, dict.fromkeys(every)))


def _own_listen_address(host: HostSpec) -> tuple[str, ...]:
    """Return the address that etcd binds, if it is set and is one address. No certificate has all addresses."""
    listen = host.listen_address
    return (listen,) if listen and not is_any_address(listen) else ()


def verified_name(host: HostSpec, cert: CertSeen | None) -> str:
    """Return the name that the certificate of a running member must contain. `cert` is the one in the PKI.

    The IP address comes first: a member whose address in cluster.yaml becomes a DNS name has the same IP address in its
    old certificate and in its new one.
    """
    listen = host.listen_address
    return listen if listen and cert is not None and listen in cert.addresses else host.address


def with_previous_addresses(wanted: DesiredCert, seen: CertSeen | None) -> DesiredCert:
    """Return the wanted peer certificate with the addresses of the existing one added.

    A host with a second address can still connect to its peers from the first one. The peers reject a connection from
    an address that is not in the certificate (rule 18).
    """
    if seen is None or not wanted.role.startswith("peer/") or seen.common_name != wanted.common_name:
        return wanted
    return replace(wanted, addresses=tuple(dict.fromkeys((*wanted.addresses, *seen.addresses))))


def why_due(
    wanted: DesiredCert, seen: CertSeen | None, authority: CertSeen | None, now: datetime
) -> str | None:
    """Return why this certificate must be issued, or issued again; None if it is good. The text follows its name.

    `seen.key` is empty if no matching private key exists. `seen.issuer_key` is empty if no trusted CA signed it.
    """
    if authority is None:
        return "there is no CA yet"
    if seen is None:
        return "it does not exist yet"
    return _why_unfit(wanted, seen, authority) or why_ageing(seen, now)


def why_crl_due(pki: PkiSeen, now: datetime) -> str | None:
    """Return why the revocation list of a managed PKI must be signed again, or None. etcd does not read its dates."""
    crl = pki.crls.get("crl")
    if pki.ca is None:
        return "there is no CA yet"
    if crl is None and pki.is_from_provided:
        return None
    if crl is None:
        return "it does not exist yet"
    if crl.issuer_key != pki.ca.key:
        return "it was signed by another CA"
    return crl_ageing(crl, now)


def crl_ageing(crl: CrlSeen, now: datetime) -> str | None:
    """Return why a revocation list must be signed again because of its end, or None. It may have no end."""
    if crl.next_update is None or now < crl.this_update:
        return None
    return _why_ageing(crl.this_update, crl.next_update, now)


def _why_unfit(wanted: DesiredCert, seen: CertSeen, authority: CertSeen) -> str | None:
    if seen.is_revoked:
        return "it is revoked"
    if not seen.key:
        return "its key is missing or does not match"
    if seen.issuer_key != authority.key:
        return "it was signed by another CA"
    if seen.common_name not in _accepted_names(wanted):
        return f"its common name is `{seen.common_name}`, not `{wanted.common_name}`"
    if missing := [n for n in (*wanted.addresses, *wanted.dns_names) if not _is_named(n, seen)]:
        return f"it does not contain {', '.join(missing)}"
    if missing := [u for u in wanted.usages if u not in seen.usages]:
        return f"it has no extended key usage {', '.join(missing)}"
    return None


def _accepted_names(wanted: DesiredCert) -> tuple[str, ...]:
    """Return the common names that need no new certificate. A consumer keeps its form until it is renewed."""
    kind, _, name = wanted.role.partition("/")
    return (wanted.common_name, name, "") if kind == "client" else (wanted.common_name,)


def why_ageing(seen: CertSeen, now: datetime) -> str | None:
    """Return why a certificate is due because of its validity, or None."""
    return _why_ageing(seen.not_before, seen.not_after, now)


def _why_ageing(begins: datetime, ends: datetime, now: datetime) -> str | None:
    if now >= ends:
        return f"it expired on {_day(ends)}"
    if now < begins:
        return f"it is not valid before {_day(begins)}"
    if (ends - now) * 3 < ends - begins:
        return f"it expires on {_day(ends)}: less than a third of its lifetime is left"
    return None


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _is_named(name: str, cert: CertSeen) -> bool:
    """Return whether a client that connects to this name accepts the certificate. `*` is one whole first label."""
    if is_ip(name):
        return name in cert.addresses
    wildcard = "*." + name.partition(".")[2]
    return not {name, wildcard}.isdisjoint(dns.lower() for dns in cert.dns_names)


@dataclass(frozen=True)
class Fault:
    """A fault of a file of the PKI. The message follows the file name.

    `members` are the affected members; empty if only the operator is affected.
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
    """A provided certificate in one role, with a role name as in PkiSeen.

    `chain` has the certificates from its issuer to one of the CA file; empty if there is no such chain. `unusable` are
    the faults because of which etcd or etcdup's client cannot use the kind of key, signature or extension.
    """

    role: str
    cert: CertSeen
    chain: tuple[CertSeen, ...]
    ca: CertSeen
    key_path: str
    key_fits: bool
    unusable: tuple[Fault, ...] = ()

    @property
    def member(self) -> str:
        return self.role.partition("/")[2]

    @property
    def is_server(self) -> bool:
        """Return whether clients or peers connect to a port with this certificate."""
        return self.role.startswith(("server/", "peer/"))


def check_provided(spec: Spec, sets: tuple[ProvidedCert, ...], now: datetime) -> tuple[Fault, ...]:
    """Return all faults that make these certificates unusable for this cluster."""
    found: list[Fault] = []
    for each in sets:
        faults = [*each.unusable, *_trust_faults(each), *_usage_faults(each), *_name_faults(spec, each)]
        faults += [fault for cert in (each.cert, *each.chain) for fault in validity_faults(cert, now)]
        members = (each.member,) if each.member else ()
        found += [replace(fault, members=members) for fault in faults]
    return merge_faults(found)


def merge_faults(faults: list[Fault]) -> tuple[Fault, ...]:
    """Return each fault once, with all affected members. One file can be used by all members."""
    first: dict[str, Fault] = {}
    members: dict[str, dict[str, None]] = {}
    for fault in faults:
        first.setdefault(str(fault), fault)
        members.setdefault(str(fault), {}).update(dict.fromkeys(fault.members))
    return tuple(replace(fault, members=tuple(members[text])) for text, fault in first.items())


def _trust_faults(each: ProvidedCert) -> list[Fault]:
    faults = []
    if not each.key_fits:
        hint = f"put the key of {each.cert.path} there"
        faults.append(Fault(each.key_path, f"is not the key of {each.cert.path}", hint))
    for issuer in each.chain or (each.ca,):
        if not issuer.is_ca:
            message = f"contains the certificate of `{issuer.common_name}`, which is not a CA certificate"
            faults.append(
                Fault(issuer.path, message, "put the certificate of the CA there, which has `CA:TRUE`")
            )
    if not each.chain and each.ca.is_ca and not each.unusable:
        hint = (
            "put the CA that signed it into the CA file. Put intermediate certificates into the certificate file, "
            "after the first certificate"
        )
        faults.append(Fault(each.cert.path, f"was not signed by the CA in {each.ca.path}", hint))
    return faults


def _usage_faults(each: ProvidedCert) -> list[Fault]:
    """Return missing extended key usages. Without the extension all are allowed. Issuers can restrict them too."""
    needed = BOTH if each.is_server else (CLIENT_AUTH,)
    hint = f"issue it for {' and '.join(needed)}"
    if each.is_server:
        hint += ". A member is server and client with it"
    faults = []
    for cert in (each.cert, *each.chain):
        missing = [usage for usage in needed if not {usage, ANY_USAGE}.intersection(cert.usages)]
        if cert.usages and missing:
            faults.append(Fault(cert.path, f"has no extended key usage {', '.join(missing)}", hint))
    return faults


def _name_faults(spec: Spec, each: ProvidedCert) -> list[Fault]:
    if not each.is_server:
        return []
    host = spec.host(each.member)
    return [
        Fault(
            each.cert.path,
            f"does not contain the {_kind(name)} {name} of {host.name}",
            _name_hint(host, name),
        )
        for name in _needed_names(host, each.role)
        if not _is_named(name, each.cert)
    ]


def _name_hint(host: HostSpec, name: str) -> str:
    """Return the hint. A member with a DNS name needs its IP address too: etcd has only that of a connection."""
    hint = "issue it with the addresses of all members in its subject alternative names"
    if is_ip(name) and not is_ip(host.address):
        return f"{hint}, also the IP addresses: etcd accepts a peer by the IP address from which it connects"
    return hint


def _kind(name: str) -> str:
    return "address" if is_ip(name) else "name"


def _needed_names(host: HostSpec, role: str) -> list[str]:
    """Return the names at which a member is reached; for a peer also the addresses from which it connects (rule 18)."""
    names = [host.address]
    if role.startswith("peer/"):
        names += _own_listen_address(host)
        # To each address in 127.0.0.0/8, the kernel connects from 127.0.0.1.
        names += ["127.0.0.1"] if is_ip(host.address) and host.address.startswith("127.") else []
    return list(dict.fromkeys(names))


def validity_faults(cert: CertSeen, now: datetime, *, soon: timedelta = EXPIRES_SOON) -> list[Fault]:
    """Return the faults of the validity: not valid yet, expired, or a warning if it expires soon."""
    whose = f"contains the certificate of `{cert.common_name}`, which " if cert.common_name else ""
    if now < cert.not_before:
        hint = "check the clock of this machine, and the clock of the machine that issued it"
        return [Fault(cert.path, f"{whose}is not valid before {_day(cert.not_before)}", hint)]
    if now >= cert.not_after:
        return [Fault(cert.path, f"{whose}expired on {_day(cert.not_after)}", "issue it again")]
    if cert.not_after - now < soon:
        message = f"{whose}expires on {_day(cert.not_after)}"
        return [Fault(cert.path, message, "issue it again", is_warning=True)]
    return []
