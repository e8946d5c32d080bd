"""The certificates and revocation lists of the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class CertSeen:
    """The public content of a certificate. Extended key usages are named `serverAuth` and `clientAuth`.

    `sha256` is the hash of the whole file, `fingerprint` the hash of the certificate. `issuer_key` is the hash of the
    public key that signed it, `key` the hash of its own public key. `serial` is hexadecimal. `is_revoked` says whether
    the revocation list of this PKI contains it.
    """

    path: str
    sha256: str
    fingerprint: str
    common_name: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    usages: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer_key: str
    key: str
    is_ca: bool
    serial: str = ""
    is_revoked: bool = False

    @property
    def first_address(self) -> str:
        """Return the first address; empty if there is none. In a server certificate, it is the address of the host."""
        return next(iter((*self.addresses, *self.dns_names)), "")


@dataclass(frozen=True)
class CrlSeen:
    """The public facts of a certificate revocation list (CRL).

    `sha256` is the hash of the content that hosts get. `number` grows with each new list; 0 if the list has none.
    `issuer_key` is the hash of the public key that signed it; empty if that is no trusted CA. `revoked` are serial
    numbers, in hex.
    """

    sha256: str
    number: int
    this_update: datetime
    next_update: datetime | None
    issuer_key: str
    revoked: frozenset[str]


@dataclass(frozen=True)
class PkiSeen:
    """The operator's certificates. Keys of `certs` are roles: `server/infra1`, `peer/infra1`, `health/infra1`, `admin`.

    `files` maps a role to the sha256 of its certificate file and of its key file, as they are sent to hosts. `trust`
    maps `ca` and `peer-ca` to the sha256 of the CA file. The CA file contains the certificates of `trusted`: one CA, or
    two during a CA rotation. `successor` is the new CA of a rotation, or None. `past` has the sha256 of previous CA
    files. `changes` are the names of all changes of this directory, the last one at the end (certs/generation.py).
    `crls` has the revocation lists for clients (`crl`) and for peers (`peer-crl`), as far as they exist. `former` has
    the archived certificates of members: `former/infra3/server` of a member that left or was replaced, and
    `renewed/infra3/server-HASH` of a present one. `cannot_sign` is why etcdup cannot use the CA key, or empty.
    `shared` are the members whose present certificates a replaced member has, too: it was replaced without the CA key.
    `with_peer_names` is False while a member may have a peer certificate without the common name of peers: one that
    another tool made (members/waiting.py). `is_from_provided`: a rotation replaces a provided CA, whose key etcdup
    never had.
    """

    mode: str
    ca: CertSeen | None = None
    certs: Mapping[str, CertSeen] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    trust: Mapping[str, str] = field(default_factory=dict)
    trusted: tuple[CertSeen, ...] = ()
    successor: CertSeen | None = None
    past: frozenset[str] = frozenset()
    changes: tuple[str, ...] = ()
    crls: Mapping[str, CrlSeen] = field(default_factory=dict)
    with_peer_names: bool = True
    former: Mapping[str, CertSeen] = field(default_factory=dict)
    cannot_sign: str = ""
    shared: tuple[str, ...] = ()
    is_from_provided: bool = False
