"""Which TLS section a draft has: whether the CA is etcd's own, and whether its key was found on a host."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etcdup.core.adopt.member import TLS_FILES, Member, ca_keys
from etcdup.core.adopt.notes import Notes
from etcdup.core.adopt.settings import is_on
from etcdup.core.adopt.values import Key
from etcdup.core.certs.inventory import CertFacts
from etcdup.core.spec.visible import one_line

# Directories whose CA signs certificates of other programs too.
_SHARED_FOLDERS = ("/etc/kubernetes/ssl/", "/etc/kubernetes/cert/", "/etc/pki/tls/", "/etc/ssl/certs/")
_KUBERNETES_PKI, _OWN_PKI = "/etc/kubernetes/pki/", "/etc/kubernetes/pki/etcd/"


@dataclass(frozen=True)
class Authority:
    """The CA that a member trusts for clients or for peers. `key_path` is empty if no key file was found."""

    path: str
    cert: CertFacts | None
    key_path: str
    is_single: bool = True

    @property
    def key(self) -> str:
        """The identity of the CA: its public key."""
        return self.cert.cert.key if self.cert else self.path

    @property
    def is_root(self) -> bool:
        """Whether the file has one certificate, and that one is a root. Others are used as provided."""
        return self.cert is not None and self.is_single and self.cert.subject == self.cert.issuer

    @property
    def is_shared(self) -> bool:
        """Whether other programs have certificates of this CA. The directory and the name show it."""
        path = self.path
        if path.startswith(_SHARED_FOLDERS) or (
            path.startswith(_KUBERNETES_PKI) and not path.startswith(_OWN_PKI)
        ):
            return True
        subject = self.cert.subject.lower() if self.cert else ""
        return "kubernetes" in subject or "etcd" not in f"{path.lower()} {subject}"


def tls_keys(
    members: Sequence[Member], notes: Notes, *, is_dry_run: bool, with_ca_key: bool
) -> Iterator[Key]:
    """Yield the keys below `tls`. Clients that have no certificate now need none in the draft."""
    found = holder_of_ca_key(members)
    if found and with_ca_key:
        yield from _managed_keys(*found, members, notes, is_dry_run=is_dry_run)
    else:
        yield from _provided_keys(members, notes, is_dry_run=is_dry_run)
    if not all(is_on(each.settings, "client-cert-auth") for each in members):
        yield Key("client_auth", "optional", members[0].origin("client-cert-auth"))


def holder_of_ca_key(members: Sequence[Member]) -> tuple[Member, Authority] | None:
    """Return a member whose host has the key of the CA, if etcdup can issue certificates with it.

    The CA must be one root that signs for all clients and peers, and for etcd only.
    """
    clients, one_ca = _authorities(members)
    holders = [(m, a) for m, a in zip(members, clients, strict=True) if a.key_path and a.is_root]
    return holders[0] if one_ca and holders and not clients[0].is_shared else None


def _authorities(members: Sequence[Member]) -> tuple[list[Authority], bool]:
    """Return the CA for the clients of each member, and whether it is the CA for all clients and peers."""
    clients = [authority_of(each, "") for each in members]
    peers = [authority_of(each, "peer-") for each in members]
    return clients, len({each.key for each in (*clients, *peers)}) == 1


def _managed_keys(
    holder: Member, authority: Authority, members: Sequence[Member], notes: Notes, *, is_dry_run: bool
) -> Iterator[Key]:
    names = ", ".join(each.name for each in members if authority_of(each, "").key_path)
    if is_dry_run:
        where = f"{authority.key_path} on {names}"
        text = f"the key of the CA is {where}. With `--with-ca-key`, `adopt` copies it into `tls.dir`"
        notes.decide.append(("", text))
    yield Key("mode", "managed", f"the CA is etcd's own, and {holder.name} has its key")
    yield Key("dir", "./pki", "default of etcdup")


def _provided_keys(members: Sequence[Member], notes: Notes, *, is_dry_run: bool) -> Iterator[Key]:
    clients, one_ca = _authorities(members)
    if found := holder_of_ca_key(members):
        where = f"{found[1].key_path} on {found[0].name}"
        text = f"the key of the CA is {where}. Without `--with-ca-key`, etcdup cannot issue certificates"
        notes.decide.append(("", text))
    else:
        _note_provided(clients[0], one_ca, any(each.key_path for each in clients), notes)
    yield Key("mode", "provided", "etcdup has no key of the CA")
    yield from _files(members[0], "", "")
    if not one_ca or members[0].path("peer-cert-file") != members[0].path("cert-file"):
        yield from _files(members[0], "peer-", "peer_")
    if is_dry_run:
        text = (
            "`adopt` copies the files that `tls` names to this machine, with the private keys of the members"
        )
        notes.decide.append(("", text))


def authority_of(member: Member, prefix: str) -> Authority:
    """Return the CA for clients, or that for peers with the prefix `peer-`."""
    path = member.path(f"{prefix}trusted-ca-file")
    certs = member.inspected.certs.get(path, ())
    key = next((each for each in ca_keys(path) if each in member.inspected.keys), "")
    return Authority(path, certs[0] if certs else None, key, is_single=len(certs) == 1)


def _note_provided(authority: Authority, one_ca: bool, has_key: bool, notes: Notes) -> None:
    if not one_ca:
        notes.decide.append(
            ("", "clients and peers have certificates of different CAs, or the members differ in the CA")
        )
    elif authority.is_shared:
        subject = (
            one_line(authority.cert.subject, 200)
            if authority.cert
            else authority.path or "that of the system"
        )
        notes.decide.append(
            (
                "",
                f"the CA ({subject}) is not only etcd's: each holder of one of its certificates can connect to etcd",
            )
        )
    elif not has_key:
        notes.decide.append(
            ("", "no key of the CA was found on the hosts, so etcdup cannot issue certificates")
        )


def _files(member: Member, prefix: str, key_prefix: str) -> Iterator[Key]:
    """Yield where copies of the files are. The inspection copies nothing."""
    for flag, name in zip(TLS_FILES, ("ca", "cert", "key"), strict=True):
        path = member.path(prefix + flag)
        copy = {"ca": f"./pki/{key_prefix}ca.pem", "cert": f"./pki/{key_prefix}{{name}}.pem"}
        yield Key(
            f"{key_prefix}{name}",
            copy.get(name, f"./pki/{key_prefix}{{name}}-key.pem"),
            f"a copy of {path or 'a file that etcd does not have'} of each host",
        )
