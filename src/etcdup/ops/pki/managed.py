"""The CA that etcdup manages below `tls.dir`, and the certificates that it issued.

    ca.pem, ca-key.pem                        the key never leaves this folder
    next-ca.pem, next-ca-key.pem              the new CA of a rotation: see rotation.py
    members/NAME/{server,peer,health}.pem     and -key.pem
    clients/NAME.pem                          and -key.pem; `admin` is for etcdup itself
    backup-key.pem                            signs backups: see backup_key.py
    crl.der                                   the revocation list for clients and peers: see crl.py
    generation.json                           the names of all changes: see generation.py
    former/                                   archived files: see former.py, rotation.py
    members/NAME/renewed/                     its previous certificates, whose key may still be in use
    former/NAME/, former/NAME~1/, ...         the same files of a member that left or was replaced

A renewed certificate of a member is for its existing key. A consumer, and each role after a rotation of the CA, gets
a new key. A new key is stored before its certificate. After a kill between the two, the pair does not match and is due
again. The CA certificate is then made for the existing CA key. No code path creates a second CA except a rotation.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from etcdup.core.certs.consumer_roles import is_gateway_client
from etcdup.core.certs.issue import CRL_ROLE
from etcdup.core.certs.required import (
    DesiredCert,
    Fault,
    desired_certs,
    desired_consumer_cert,
    validity_faults,
    why_due,
    with_previous_addresses,
)
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.files import remove_partial_files, write_file
from etcdup.ops.pki.authority import Authority
from etcdup.ops.pki.backup_key import make_backup_key
from etcdup.ops.pki.crl import make_crl
from etcdup.ops.pki.files import (
    CERT_MODE,
    KEY_MODE,
    exposure_faults,
    folder_lock,
    make_private_folder,
    restrict_to_owner,
)
from etcdup.ops.pki.former import ArchivedConsumers, ArchivedMembers
from etcdup.ops.pki.generation import Generation
from etcdup.ops.pki.managed_observation import ManagedObservation
from etcdup.ops.pki.managed_paths import ManagedPaths
from etcdup.ops.pki.pki import AskPassphrase, Pki
from etcdup.ops.pki.signing import SigningCa, cert_pem, key_pem, make_ca, make_cert, new_key
from etcdup.ops.pki.x509 import (
    Pem,
    PrivateKey,
    UnusableFile,
    key_id,
    parse_csr,
    parse_key,
    read_file,
    read_pair,
    see_cert,
)

CA_EXPIRES_SOON = timedelta(days=30)  # rule 17
# The characters that spec.Name allows. A colon is not allowed: see spec.names.common_name.
# A client `x-key` would have the same file name as the key of a client `x`.
_CONSUMER_NAME = re.compile(r"(?!admin$)[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?(?<!-key)")


class Managed(Pki):
    """The PKI whose CA etcdup manages."""

    def __init__(self, spec: Spec, folder: Path, ask: AskPassphrase | None) -> None:
        self._spec = spec
        self._paths = paths = ManagedPaths(folder / Path(spec.tls.dir).expanduser())
        self._specified = {wanted.role: wanted for wanted in desired_certs(spec)}
        self._authority = Authority(spec, folder, paths, ask)
        self._former = ArchivedConsumers(paths.root)
        self._former_members = ArchivedMembers(paths.root)
        self._generation = Generation(paths.root)
        self._observation = ManagedObservation(
            paths,
            self._specified,
            self._authority,
            self._former,
            self._former_members,
            self._generation,
        )

    def observe(self) -> PkiSeen:
        return self._observation.observe()

    def archived_certs(self) -> dict[str, CertSeen]:
        """Return the archived certificates of consumers and of members."""
        return self._observation.archived_certs()

    def unlock(self, now: datetime) -> None:
        self._authority.unlock(now)

    def makes_plain_key(self) -> bool:
        return self._authority.makes_plain_key()

    def encrypt_new_key(self, passphrase: str) -> None:
        self._authority.encrypt_new_key(passphrase)

    def accept_lost_key(self) -> None:
        self._authority.accept_lost_key()

    def issue(self, roles: Iterable[str], now: datetime, *, new_keys: bool = False) -> None:
        roles = tuple(roles)
        wanted = [self._desired_cert(role) for role in roles if role != CRL_ROLE]
        self._issue_all(wanted, now, sign_crl=CRL_ROLE in roles, new_keys=new_keys)

    def _issue_all(
        self,
        wanted: Sequence[DesiredCert],
        now: datetime,
        *,
        sign_crl: bool = False,
        new_keys: bool = False,
    ) -> None:
        with folder_lock(self._paths.root):
            root = self._paths.root
            for folder in (root, root / "clients", *root.glob("members/*")):
                remove_partial_files(folder, "*.pem")
            authority = self._authority.signing(now)
            make_backup_key(self._paths.root)
            folders = dict.fromkeys(self._paths.cert(each.role).parent for each in wanted)
            for folder in folders:
                make_private_folder(folder.parent)
                make_private_folder(folder)
            seen = self.observe()
            if sign_crl or any(not each.role.startswith("client/") for each in wanted):
                self._generation.advance()
            for each in wanted:
                kept = None if new_keys else self._key_to_keep(each.role, seen)
                self._issue(with_previous_addresses(each, seen.certs.get(each.role)), kept, authority, now)
            if sign_crl:
                self._write_crl((), authority, now)

    def _write_crl(self, serials: Collection[str], authority: SigningCa, now: datetime) -> None:
        """Write a new list with a higher number: all previous serial numbers, and these."""
        remove_partial_files(self._paths.root, self._paths.crl.name)
        content = make_crl(
            authority, self._observation.read_crl(), serials, days=self._spec.tls.days, now=now
        )
        write_file(self._paths.crl, content, CERT_MODE)

    def issue_consumer(
        self, name: str, now: datetime, *, renew: bool = False, role: str | None = None
    ) -> tuple[bytes, bytes]:
        wanted = self._desired_cert(f"client/{name}", role)
        if self._paths.cert(wanted.role).exists() and not self._paths.key(wanted.role).exists():
            hint = f"make a new request where the key is, then run `etcdup certs issue {name} --csr FILE`"
            raise PkiError(
                f"the PKI has no key of {name}: its certificate was made from a request", hint=hint
            )
        seen = self.observe()
        if renew or why_due(wanted, seen.certs.get(wanted.role), seen.ca, now):
            self._issue_all((wanted,), now)
        return self.pair(wanted.role)

    def sign_consumer(self, name: str, csr: bytes, now: datetime, *, role: str | None = None) -> bytes:
        wanted = self._desired_cert(f"client/{name}", role)
        if self._paths.key(wanted.role).exists():
            hint = (
                f"use another name for the consumer, or move {self._paths.key(wanted.role)} to another folder"
            )
            raise PkiError(
                f"the PKI has a key of {name} already, and its certificate is for that key", hint=hint
            )
        request = parse_csr(Path("the request"), csr)
        self._refuse_own_key(wanted.role, key_id(request))
        folder = self._paths.cert(wanted.role).parent
        with folder_lock(self._paths.root):
            authority = self._authority.signing(now)
            make_private_folder(folder)
            self._former.archive_copy(self._paths.cert(wanted.role), self._paths.key(wanted.role))
            cert = make_cert(wanted, request, authority, self._spec.name, days=self._spec.tls.days, now=now)
            write_file(self._paths.cert(wanted.role), cert_pem(cert), CERT_MODE)
        return cert_pem(cert)

    def _refuse_own_key(self, role: str, key: str) -> None:
        """Refuse to certify a key of this PKI for a consumer: who can request it does not always have it."""
        seen = self.observe()
        known = {**seen.certs, "the CA": seen.ca}
        if owner := next(
            (name for name, cert in known.items() if cert and cert.key == key and name != role), None
        ):
            raise PkiError(
                f"the request is for a key that this PKI has certified already, for {owner}",
                hint="make a request with a new key",
            )

    def pair(self, role: str) -> tuple[bytes, bytes]:
        return read_pair(*self.paths(role))

    def paths(self, role: str) -> tuple[Path, Path]:
        return self._paths.cert(role), self._paths.key(role)

    def ca_file(self, kind: str) -> bytes:
        del kind  # Clients and peers have the same CA. Peers are recognised by their common name.
        return read_file(self._paths.ca)

    def crl_file(self, kind: str) -> bytes:
        del kind  # One CA has issued all certificates, so one list has all serial numbers.
        return read_file(self._paths.crl)

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        return (self.ca_file("ca"), *self.pair("admin"))

    def see_leaf(self, content: bytes) -> CertSeen | None:
        trusted = Pem.read(self._paths.ca)
        try:
            pem = Pem.parse(Path("server.pem"), content)
        except UnusableFile:
            return None
        seen = see_cert(pem, pem.certs[0], trusted.certs, has_key=True)
        return seen if seen.issuer_key else None

    def supersede(self, changes: Iterable[str]) -> None:
        with folder_lock(self._paths.root):
            self._generation.advance(changes)

    def archive_member(self, name: str) -> None:
        if (self._paths.root / "members" / name).is_dir():
            with folder_lock(self._paths.root):
                self._former_members.archive(name)

    def keep_shared(self, name: str) -> None:
        with folder_lock(self._paths.root):
            self._former_members.keep_shared(name)

    def rotate_ca(self, stage: str, now: datetime) -> None:
        with folder_lock(self._paths.root):
            remove_partial_files(self._paths.root, "*.pem")
            if not self._authority.needs_no_old_key():
                self._authority.signing(now)  # This verifies the passphrase, if there is one.
            self._generation.advance()
            if stage == "trust":
                self._trust_new_ca(now)
            elif stage == "sign":
                self._authority.rotation.sign_with_new()
            elif stage == "drop":
                self._authority.rotation.drop_old()
            else:
                self._authority.rotation.restore_old()
            self._authority.forget()

    def _trust_new_ca(self, now: datetime) -> None:
        rotation = self._authority.rotation
        key = rotation.make_key(self._authority.passphrase_of_new_key())
        made = make_ca(key, self._spec.name, self._spec.tls.ca_days, now)
        rotation.trust_both(rotation.signing_ca(Pem.read(self._paths.ca)), made)

    def revoke(self, serials: Iterable[str], now: datetime) -> None:
        with folder_lock(self._paths.root):
            authority = self._authority.signing(now)
            self._generation.advance()
            self._write_crl(tuple(serials), authority, now)

    def archive_consumer(self, name: str) -> Path:
        cert, key = self._paths.cert(f"client/{name}"), self._paths.key(f"client/{name}")
        self._desired_cert(f"client/{name}")
        if not cert.exists():
            raise PkiError(
                f"there is no certificate of a consumer {name}",
                hint="run `etcdup certs list` to see all consumers",
            )
        with folder_lock(self._paths.root):
            return self._former.archive(cert, key)

    def archived_consumers(self) -> tuple[Path, ...]:
        return self._former.certs()

    def check(self, now: datetime) -> tuple[Fault, ...]:
        try:
            authority = self.observe().ca
        except UnusableFile as unusable:
            return (Fault(str(unusable.path), unusable.reason, unusable.hint),)
        faults = validity_faults(authority, now, soon=CA_EXPIRES_SOON) if authority else []
        return (*faults, *self.exposed_keys())

    def exposed_keys(self) -> tuple[Fault, ...]:
        keys = [*self._paths.root.rglob("*-key.pem"), *self._paths.root.glob("former/old-ca-key-*.pem")]
        return tuple(fault for key in sorted(keys) for fault in exposure_faults(key))

    def restrict_keys(self) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.exposed_keys() if restrict_to_owner(Path(fault.file)))

    def _desired_cert(self, role: str, consumer: str | None = None) -> DesiredCert:
        """Return the certificate of this role. `consumer` is the role of a consumer, if the operator named one."""
        if role in self._specified:
            return self._specified[role]
        kind, _, name = role.partition("/")
        if kind != "client" or not _CONSUMER_NAME.fullmatch(name):
            hint = "use a-z, 0-9, `-`, `.` for the name of a consumer; it is not `admin` and does not end in `-key`"
            raise PkiError(f"`{name or role}` cannot be the name of a consumer", hint=hint)
        seen = self._observation.observe_cert(role)
        return desired_consumer_cert(name, gateway=is_gateway_client(name, consumer, seen))

    def _key_to_keep(self, role: str, seen: PkiSeen) -> PrivateKey | None:
        """Return the existing key of a member or of `admin` if it matches its certificate and the CA is the same.

        With the same key a renewal renames one file, and no handshake reads half of a new pair (rule 16): etcd reads
        certificate and key one after the other, so it could see only one of two renames. A revoked certificate gets a
        new key, because another person may have the old one.
        """
        cert = seen.certs.get(role)
        if cert is None or seen.ca is None or cert.issuer_key != seen.ca.key or not cert.key:
            return None
        if cert.is_revoked:
            return None
        key = self._paths.key(role)
        return None if role.startswith("client/") else parse_key(key, read_file(key))

    def _issue(
        self, wanted: DesiredCert, kept: PrivateKey | None, authority: SigningCa, now: datetime
    ) -> None:
        key = kept or new_key()
        cert = make_cert(wanted, key, authority, self._spec.name, days=self._spec.tls.days, now=now)
        if wanted.role.startswith("client/"):
            self._former.archive_copy(self._paths.cert(wanted.role), self._paths.key(wanted.role))
        elif "/" in wanted.role:
            self._former_members.keep_renewed(self._paths.cert(wanted.role))
        if kept is None:
            write_file(self._paths.key(wanted.role), key_pem(key), KEY_MODE)
        write_file(self._paths.cert(wanted.role), cert_pem(cert), CERT_MODE)
