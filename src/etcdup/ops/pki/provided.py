"""Certificates of the operator (`tls.mode: provided`). etcdup reads, checks and installs them, and changes none."""

from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from etcdup.core.certs.required import Fault, ProvidedCert, check_provided, merge_faults
from etcdup.core.observed.model import PkiSeen
from etcdup.core.spec.layout import MEMBER_CERTS
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.files import exposure_faults
from etcdup.ops.pki.pki import Pki
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
    return ProvidedCert(
        role=role,
        cert=see_cert(pem, leaf, chain, has_key=has_key),
        chain=links,
        ca=see_cert(ca, ca.certs[0], ca.certs, has_key=True),
        key_path=str(key_path),
        key_fits=has_key,
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
        )

    def issue(self, roles: Iterable[str], now: datetime) -> None:
        del now
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

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        return (self.ca_file("ca"), *self.pair("admin"))

    def archive_member(self, name: str) -> None:
        """Do nothing: the operator keeps or deletes these files."""

    def rotate_ca(self, stage: str, now: datetime) -> None:
        del stage, now
        raise self._unsupported("a new CA")

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
        return sets, merge_faults(faults)

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
        hint = "issue it with the CA that issued the other certificates, or set `tls.mode: managed`"
        return PkiError(
            f"cannot issue {what}: with `tls.mode: provided` etcdup has no key of a CA", hint=hint
        )
