"""Certificates of the operator (`tls.mode: provided`). etcdup reads, checks and installs them, and changes none."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from etcdup.core.certs.required import Fault, ProvidedCert, check_provided, merge_faults
from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.layout import MEMBER_CERTS
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.crl import crl_der, parse_crl, revoked_serials, see_crl
from etcdup.ops.pki.files import exposure_faults
from etcdup.ops.pki.pki import Pki
from etcdup.ops.pki.usable import chain_faults, handshake_faults, signature_faults
from etcdup.ops.pki.x509 import (
    Pem,
    PrivateKey,
    UnusableFile,
    chain_of,
    is_key_of,
    parse_key,
    read_file,
    read_pair,
    see_cert,
)

T = TypeVar("T")


class _FileCache:
    """The files that were read: a file that serves several roles is read once."""

    def __init__(self) -> None:
        self._certs: dict[Path, Pem] = {}
        self._keys: dict[Path, PrivateKey] = {}

    def certs(self, path: Path) -> Pem:
        if path not in self._certs:
            self._certs[path] = Pem.read(path)
        return self._certs[path]

    def key(self, path: Path) -> PrivateKey:
        if path not in self._keys:
            self._keys[path] = parse_key(path, read_file(path))
        return self._keys[path]


def _read_or_fault(read: Callable[[], T]) -> T | UnusableFile:
    try:
        return read()
    except UnusableFile as unusable:
        return unusable


def _fault(unusable: UnusableFile, role: str) -> Fault:
    member = role.partition("/")[2]
    return Fault(str(unusable.path), unusable.reason, unusable.hint, (member,) if member else ())


def _cert_set(role: str, ca: Pem, pem: Pem, key_path: Path, key: PrivateKey) -> ProvidedCert:
    leaf, *intermediates = pem.certs
    chain = chain_of(leaf, intermediates, ca.certs)
    has_key = is_key_of(key, leaf)
    links = tuple(
        see_cert(ca if cert in ca.certs else pem, cert, (*intermediates, *ca.certs), has_key=True)
        for cert in chain
    )
    unusable = [*chain_faults(pem.path, leaf), *signature_faults(pem.path, leaf)]
    unusable += handshake_faults(pem.path, leaf, by_etcdup=not role.startswith("peer/"))
    unusable += [fault for cert in ca.certs for fault in chain_faults(ca.path, cert)]
    for cert in intermediates:
        unusable += [*chain_faults(pem.path, cert), *signature_faults(pem.path, cert)]
    return ProvidedCert(
        role=role,
        cert=see_cert(pem, leaf, chain, has_key=has_key),
        chain=links,
        ca=see_cert(ca, ca.certs[0], ca.certs, has_key=True),
        key_path=str(key_path),
        key_fits=has_key,
        unusable=tuple(unusable),
    )


class Provided(Pki):
    """The files that cluster.yaml names. One file may serve many roles; `{name}` in a path is the member name."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self._spec = spec
        self._folder = folder

    def observe(self) -> PkiSeen:
        sets, faults = self._read()
        if faults:
            raise PkiError(
                f"{len(faults)} of the provided TLS files are not usable",
                detail="\n".join(str(fault) for fault in faults),
                hint=faults[0].hint,
            )
        return PkiSeen(
            mode="provided",
            ca=next(iter(sets.values())).ca,
            certs={role: each.cert for role, each in sets.items()},
            files={role: (self._digest("cert", role), self._digest("key", role)) for role in sets},
            trust={"ca": self._digest("ca", "admin"), "peer-ca": self._digest("ca", "peer/")},
            crls={kind: see_crl(self._crl(kind), self._issuers(kind)) for kind in self._crl_kinds()},
        )

    def issue(self, roles: Iterable[str], now: datetime, *, new_keys: bool = False) -> None:
        del now, new_keys
        raise self._unsupported(", ".join(roles))

    def issue_consumer(
        self, name: str, now: datetime, *, renew: bool = False, role: str | None = None
    ) -> tuple[bytes, bytes]:
        del now, renew, role
        raise self._unsupported(f"client/{name}")

    def sign_consumer(self, name: str, csr: bytes, now: datetime, *, role: str | None = None) -> bytes:
        del csr, now, role
        raise self._unsupported(f"client/{name}")

    def pair(self, role: str) -> tuple[bytes, bytes]:
        return read_pair(*self.paths(role))

    def paths(self, role: str) -> tuple[Path, Path]:
        return self._path("cert", role), self._path("key", role)

    def ca_file(self, kind: str) -> bytes:
        return read_file(self._path("ca", "peer/" if kind == "peer-ca" else "server/"))

    def crl_file(self, kind: str) -> bytes:
        return crl_der(self._crl(kind))

    def _crl_kinds(self) -> list[str]:
        return [kind for kind in CRL_VARIABLES if self._crl_path(kind) is not None]

    def _crl_path(self, kind: str) -> Path | None:
        """Return the list of the CA that signs clients or peers. Peers with a CA of their own have a list of its own:
        certificates of two CAs can have the same serial number.
        """
        tls = self._spec.tls
        name = tls.peer_crl_file if kind == "peer-crl" and tls.peer_ca else tls.crl_file
        return self._folder / Path(name).expanduser() if name else None

    def _crl(self, kind: str) -> x509.CertificateRevocationList:
        path = self._crl_path(kind)
        assert path is not None, "only kinds with a path have a list"
        return parse_crl(path, read_file(path))

    def _issuers(self, kind: str) -> tuple[x509.Certificate, ...]:
        return Pem.read(self._path("ca", "peer/" if kind == "peer-crl" else "server/")).certs

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        return (self.ca_file("ca"), *self.pair("admin"))

    def archive_member(self, name: str) -> None:
        """Do nothing: the operator keeps or deletes these files."""

    def keep_shared(self, name: str) -> None:
        """Do nothing: the operator issues and revokes these certificates."""

    def rotate_ca(self, stage: str, now: datetime) -> None:
        del stage, now
        raise self._unsupported("a new CA")

    def revoke(self, serials: Iterable[str], now: datetime) -> None:
        del serials, now
        raise self._unsupported("a revocation list")

    def archived_certs(self) -> dict[str, CertSeen]:
        return {}

    def archive_consumer(self, name: str) -> Path:
        raise self._unsupported(f"client/{name}")

    def archived_consumers(self) -> tuple[Path, ...]:
        return ()

    def exposed_keys(self) -> tuple[Fault, ...]:
        return ()  # `check` reports them, before any host is changed.

    def restrict_keys(self) -> tuple[Fault, ...]:
        return ()

    def check(self, now: datetime) -> tuple[Fault, ...]:
        sets, faults = self._read()
        keys = dict.fromkeys(Path(each.key_path) for each in sets.values())
        exposed = [fault for key in keys for fault in exposure_faults(key)]
        return merge_faults([*faults, *check_provided(self._spec, tuple(sets.values()), now), *exposed])

    def _roles(self) -> list[str]:
        return [f"{kind}/{host.name}" for host in self._spec.hosts for kind in MEMBER_CERTS] + ["admin"]

    def _read(self) -> tuple[dict[str, ProvidedCert], tuple[Fault, ...]]:
        """Return the certificates of all roles whose files are readable, and the faults of the other files."""
        sets: dict[str, ProvidedCert] = {}
        faults: list[Fault] = []
        cache = _FileCache()
        for role in self._roles():
            read = self._read_role(role, cache)
            if isinstance(read, ProvidedCert):
                sets[role] = read
            else:
                faults += [_fault(unusable, role) for unusable in read]
        for kind in self._crl_kinds():
            crl = _read_or_fault(partial(self._crl, kind))
            faults += (
                [_fault(crl, "")] if isinstance(crl, UnusableFile) else self._crl_faults(kind, crl, sets)
            )
        return sets, merge_faults(faults)

    def _crl_faults(
        self, kind: str, crl: x509.CertificateRevocationList, sets: dict[str, ProvidedCert]
    ) -> list[Fault]:
        """Return a fault for each certificate in use that the list revokes: members would reject each other."""
        revoked = revoked_serials(crl)
        is_peer = kind == "peer-crl"
        return [
            Fault(
                str(self._crl_path(kind)),
                f"revokes {each.cert.path}, which is in use",
                "issue that certificate again and write it to the same file, then use the list",
                (each.member,) if each.member else (),
            )
            for role, each in sets.items()
            if role.startswith("peer/") == is_peer
            and revoked.intersection(cert.serial for cert in (each.cert, *each.chain))
        ]

    def _read_role(self, role: str, cache: _FileCache) -> ProvidedCert | list[UnusableFile]:
        ca = _read_or_fault(lambda: cache.certs(self._path("ca", role)))
        pem = _read_or_fault(lambda: cache.certs(self._path("cert", role)))
        key = _read_or_fault(lambda: cache.key(self._path("key", role)))
        if isinstance(ca, Pem) and isinstance(pem, Pem) and not isinstance(key, UnusableFile):
            return _cert_set(role, ca, pem, self._path("key", role), key)
        return [part for part in (ca, pem, key) if isinstance(part, UnusableFile)]

    def _path(self, what: str, role: str) -> Path:
        """Return the path that cluster.yaml names for the `ca`, `cert` or `key` of this role."""
        kind, _, name = role.partition("/")
        prefix = {"peer": "peer_", "health": "client_", "admin": "client_"}.get(kind, "")
        tls = self._spec.tls
        template: str | None = getattr(tls, f"{prefix}{what}", None) or getattr(tls, what)
        if template is None:
            raise UnusableFile(Path("cluster.yaml"), f"names no file in `tls.{what}`")
        member = name or self._spec.hosts[0].name
        return self._folder / Path(template.replace("{name}", member)).expanduser()

    def _digest(self, what: str, role: str) -> str:
        return sha256(read_file(self._path(what, role))).hexdigest()

    def _unsupported(self, what: str) -> PkiError:
        hint = "issue it with the CA that issued the other certificates. `etcdup certs own-ca DIR` makes a CA of etcdup"
        return PkiError(
            f"cannot issue {what}: with `tls.mode: provided` etcdup has no key of a CA", hint=hint
        )
