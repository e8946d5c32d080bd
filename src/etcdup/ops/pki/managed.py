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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from etcdup.core.certs.consumer_roles import is_gateway_client
from etcdup.core.certs.inventory import archived_name
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
from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.core.observed.model import CertSeen, CrlSeen, PkiSeen
from etcdup.core.spec.layout import MEMBER_CERTS
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.files import create_file, remove_partial_files, write_file
from etcdup.ops.pki.backup_key import make_backup_key
from etcdup.ops.pki.crl import make_crl, parse_crl, see_crl
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
from etcdup.ops.pki.passphrase import VARIABLE, configured_passphrase, is_configured
from etcdup.ops.pki.pki import AskPassphrase, Pki
from etcdup.ops.pki.rotation import CaRotation
from etcdup.ops.pki.signing import SigningCa, cert_pem, key_pem, make_ca, make_cert, new_key
from etcdup.ops.pki.x509 import (
    Pem,
    PrivateKey,
    UnusableFile,
    is_encrypted,
    is_key_of,
    key_id,
    parse_csr,
    parse_key,
    read_file,
    read_if_exists,
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
        self._folder = folder
        self._ask = ask
        self._root = folder / Path(spec.tls.dir).expanduser()
        self._ca = self._root / "ca.pem"
        self._ca_key = self._root / "ca-key.pem"
        self._crl = self._root / "crl.der"
        self._specified = {wanted.role: wanted for wanted in desired_certs(spec)}
        self._rotation = CaRotation(self._root, self._read_key)
        self._former = ArchivedConsumers(self._root)
        self._former_members = ArchivedMembers(self._root)
        self._generation = Generation(self._root)
        self._asked: str | None = None
        self._unlocked: SigningCa | None = None
        self._locked_because = ""
        # The facts of each pair of files, by role and content: verifying signatures is slow, and files rarely change.
        self._observed_pairs: dict[tuple[str, str, str, str], CertSeen] = {}

    def observe(self) -> PkiSeen:
        content = read_if_exists(self._ca)
        if content is None:
            return PkiSeen(mode="managed")
        ca = Pem.parse(self._ca, content)
        certs: dict[str, CertSeen] = {}
        files: dict[str, tuple[str, str]] = {}
        for role in self._roles():
            if pair := self._observe_pair(role, ca):
                certs[role], key_digest = pair
                if certs[role].key:
                    files[role] = (certs[role].sha256, key_digest)
        successor = self._rotation.successor(ca)
        crls = self._observe_crls(ca)
        revoked = crls["crl"].revoked if crls else frozenset()
        certs = _with_revocation(certs, revoked)
        return PkiSeen(
            "managed",
            see_cert(ca, self._rotation.signing_ca(ca), ca.certs, has_key=True),
            certs,
            files,
            dict.fromkeys(("ca", "peer-ca"), ca.sha256),
            trusted=tuple(see_cert(ca, cert, ca.certs, has_key=True) for cert in ca.certs),
            successor=see_cert(ca, successor, (successor,), has_key=True) if successor else None,
            past=self._rotation.past_ca_files(),
            changes=self._generation.changes(),
            crls=crls,
            former=_with_revocation(self._observe_former(ca, certs.values()), revoked),
            cannot_sign=self._locked_because or self._why_no_key(),
            shared=self._observe_shared(ca, certs.values()),
        )

    def _observe_crls(self, ca: Pem) -> dict[str, CrlSeen]:
        """Return the list of this PKI for both kinds: one CA signs for clients and for peers."""
        crl = self._read_crl()
        return {} if crl is None else dict.fromkeys(CRL_VARIABLES, see_crl(crl, ca.certs))

    def _read_crl(self) -> x509.CertificateRevocationList | None:
        content = read_if_exists(self._crl)
        try:
            return None if content is None else parse_crl(self._crl, content)
        except UnusableFile as unusable:
            hint = "restore the file from your backup of this directory: a new list would accept revoked certificates"
            raise UnusableFile(unusable.path, unusable.reason, hint=hint) from None

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
        with folder_lock(self._root):
            for folder in (self._root, self._root / "clients", *self._root.glob("members/*")):
                remove_partial_files(folder, "*.pem")
            authority = self._unlock_ca(now)
            make_backup_key(self._root)
            folders = dict.fromkeys(self._cert(each.role).parent for each in wanted)
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
        remove_partial_files(self._root, self._crl.name)
        content = make_crl(authority, self._read_crl(), serials, days=self._spec.tls.days, now=now)
        write_file(self._crl, content, CERT_MODE)

    def issue_consumer(
        self, name: str, now: datetime, *, renew: bool = False, role: str | None = None
    ) -> tuple[bytes, bytes]:
        wanted = self._desired_cert(f"client/{name}", role)
        if self._cert(wanted.role).exists() and not self._key(wanted.role).exists():
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
        if self._key(wanted.role).exists():
            hint = f"use another name for the consumer, or move {self._key(wanted.role)} to another folder"
            raise PkiError(
                f"the PKI has a key of {name} already, and its certificate is for that key", hint=hint
            )
        request = parse_csr(Path("the request"), csr)
        self._refuse_own_key(wanted.role, key_id(request))
        folder = self._cert(wanted.role).parent
        with folder_lock(self._root):
            authority = self._unlock_ca(now)
            make_private_folder(folder)
            self._former.archive_copy(self._cert(wanted.role), self._key(wanted.role))
            cert = make_cert(wanted, request, authority, self._spec.name, days=self._spec.tls.days, now=now)
            write_file(self._cert(wanted.role), cert_pem(cert), CERT_MODE)
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
        return self._cert(role), self._key(role)

    def ca_file(self, kind: str) -> bytes:
        del kind  # Clients and peers have the same CA. Peers are recognised by their common name.
        return read_file(self._ca)

    def crl_file(self, kind: str) -> bytes:
        del kind  # One CA has issued all certificates, so one list has all serial numbers.
        return read_file(self._crl)

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        return (self.ca_file("ca"), *self.pair("admin"))

    def see_leaf(self, content: bytes) -> CertSeen | None:
        trusted = Pem.read(self._ca)
        try:
            pem = Pem.parse(Path("server.pem"), content)
        except UnusableFile:
            return None
        seen = see_cert(pem, pem.certs[0], trusted.certs, has_key=True)
        return seen if seen.issuer_key else None

    def supersede(self, changes: Iterable[str]) -> None:
        with folder_lock(self._root):
            self._generation.advance(changes)

    def archive_member(self, name: str) -> None:
        if (self._root / "members" / name).is_dir():
            with folder_lock(self._root):
                self._former_members.archive(name)

    def keep_shared(self, name: str) -> None:
        with folder_lock(self._root):
            self._former_members.keep_shared(name)

    def rotate_ca(self, stage: str, now: datetime) -> None:
        with folder_lock(self._root):
            remove_partial_files(self._root, "*.pem")
            authority = self._unlock_ca(now)  # This also verifies the passphrase, if there is one.
            self._generation.advance()
            if stage == "trust":
                # The new key is encrypted if the old key is.
                secret = (
                    self._passphrase()
                    if is_encrypted(read_file(self._ca_key))
                    else self._configured_passphrase
                )
                key = self._rotation.make_key(secret)
                made = make_ca(key, self._spec.name, self._spec.tls.ca_days, now)
                self._rotation.trust_both(authority.cert, made)
            elif stage == "sign":
                self._rotation.sign_with_new()
            elif stage == "drop":
                self._rotation.drop_old()
            else:
                self._rotation.restore_old()
            self._unlocked = None

    def unlock(self, now: datetime) -> None:
        try:
            self._unlock_ca(now)
        except PkiError as error:
            self._locked_because = error.message
            raise

    def _why_no_key(self) -> str:
        """Return why the CA key cannot be used, as far as this is known without its passphrase."""
        key = read_if_exists(self._ca_key)
        if key is None:
            return f"{self._ca_key} does not exist"
        has_passphrase = self._ask or self._asked or is_configured(self._spec.tls.passphrase_command)
        if has_passphrase or not is_encrypted(key):
            return ""
        return f"{self._ca_key} is encrypted, and no passphrase is set"

    def revoke(self, serials: Iterable[str], now: datetime) -> None:
        with folder_lock(self._root):
            authority = self._unlock_ca(now)
            self._generation.advance()
            self._write_crl(tuple(serials), authority, now)

    def archived_certs(self) -> dict[str, CertSeen]:
        """Return the archived certificates of consumers and of members."""
        seen, ca = self.observe(), Pem.read(self._ca)
        crl = seen.crls.get("crl")
        found = self._observe_archived(ca, self._former_consumers(seen), seen.certs.values())
        return {**_with_revocation(found, crl.revoked if crl else frozenset()), **seen.former}

    def _observe_former(self, ca: Pem, used: Collection[CertSeen]) -> dict[str, CertSeen]:
        return self._observe_archived(ca, self._former_members.certs(), used)

    def _observe_shared(self, ca: Pem, used: Collection[CertSeen]) -> tuple[str, ...]:
        """Return the members whose certificates in use are also archived: a replaced member has them."""
        in_use = {cert.fingerprint for cert in used}
        paths = [each for each in self._former_members.certs() if each[0].startswith("former/")]
        shared = [role for role, path in paths if self._see_archived(path, ca).fingerprint in in_use]
        return tuple(dict.fromkeys(archived_name(role.split("/")[1]) for role in shared))

    def _observe_archived(
        self, ca: Pem, paths: Iterable[tuple[str, Path]], used: Collection[CertSeen]
    ) -> dict[str, CertSeen]:
        """Return the archived certificates by role.

        An archived certificate may still be one that is `used`, if the run that replaced it was killed.
        """
        in_use = {cert.fingerprint for cert in used}
        found = {role: self._see_archived(path, ca) for role, path in paths}
        return {role: cert for role, cert in found.items() if cert.fingerprint not in in_use}

    def _see_archived(self, path: Path, ca: Pem) -> CertSeen:
        content = read_file(path)
        digests = (str(path), sha256(content).hexdigest(), "", ca.sha256)
        if digests not in self._observed_pairs:
            pem = Pem.parse(path, content)
            self._observed_pairs[digests] = see_cert(pem, pem.certs[0], ca.certs, has_key=False)
        return self._observed_pairs[digests]

    def _former_consumers(self, seen: PkiSeen) -> Iterator[tuple[str, Path]]:
        for path in self._former.certs():
            is_replaced = f"client/{archived_name(path.stem)}" in seen.certs
            yield f"{'replaced' if is_replaced else 'forgotten'}/{path.stem}", path

    def archive_consumer(self, name: str) -> Path:
        cert, key = self._cert(f"client/{name}"), self._key(f"client/{name}")
        self._desired_cert(f"client/{name}")
        if not cert.exists():
            raise PkiError(
                f"there is no certificate of a consumer {name}",
                hint="run `etcdup certs list` to see all consumers",
            )
        with folder_lock(self._root):
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
        keys = [*self._root.rglob("*-key.pem"), *self._root.glob("former/old-ca-key-*.pem")]
        return tuple(fault for key in sorted(keys) for fault in exposure_faults(key))

    def restrict_keys(self) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.exposed_keys() if restrict_to_owner(Path(fault.file)))

    def _roles(self) -> list[str]:
        """Return the roles of the Spec, of consumers, and of members that cluster.yaml does not name any more.

        If no host of cluster.yaml has the cluster, certificates of former members show where it may run.
        """
        paths = sorted(self._root.glob("members/*/*.pem"))
        former = [f"{path.stem}/{path.parent.name}" for path in paths if path.stem in MEMBER_CERTS]
        clients = sorted(self._cert("admin").parent.glob("*.pem"))
        names = [path.stem for path in clients if not path.stem.endswith("-key") and path.stem != "admin"]
        return list(dict.fromkeys([*self._specified, *former, *(f"client/{name}" for name in names)]))

    def _desired_cert(self, role: str, consumer: str | None = None) -> DesiredCert:
        """Return the certificate of this role. `consumer` is the role of a consumer, if the operator named one."""
        if role in self._specified:
            return self._specified[role]
        kind, _, name = role.partition("/")
        if kind != "client" or not _CONSUMER_NAME.fullmatch(name):
            hint = "use a-z, 0-9, `-`, `.` for the name of a consumer; it is not `admin` and does not end in `-key`"
            raise PkiError(f"there is no certificate `{role}` in this cluster", hint=hint)
        seen = self._observe_cert(role)
        return desired_consumer_cert(name, gateway=is_gateway_client(name, consumer, seen))

    def _observe_cert(self, role: str) -> CertSeen | None:
        pem = read_if_exists(self._ca)
        pair = self._observe_pair(role, Pem.parse(self._ca, pem)) if pem else None
        return pair[0] if pair else None

    def _cert(self, role: str) -> Path:
        kind, _, name = role.partition("/")
        if kind == "admin":
            return self._root / "clients" / "admin.pem"
        if kind == "client":
            return self._root / "clients" / f"{name}.pem"
        return self._root / "members" / name / f"{kind}.pem"

    def _key(self, role: str) -> Path:
        cert = self._cert(role)
        return cert.with_name(f"{cert.stem}-key.pem")

    def _observe_pair(self, role: str, ca: Pem) -> tuple[CertSeen, str] | None:
        """Return the certificate, if it exists, and the sha256 of its key file."""
        try:
            content = read_if_exists(self._cert(role))
            if content is None:
                return None
            key = read_if_exists(self._key(role))
            digests = (role, sha256(content).hexdigest(), sha256(key or b"").hexdigest(), ca.sha256)
            if digests not in self._observed_pairs:
                pem = Pem.parse(self._cert(role), content)
                has_key = key is not None and is_key_of(parse_key(self._key(role), key), pem.certs[0])
                self._observed_pairs[digests] = see_cert(pem, pem.certs[0], ca.certs, has_key=has_key)
            return self._observed_pairs[digests], digests[2]
        except UnusableFile as unusable:
            hint = "move the file to another folder, then run `etcdup apply`, which issues a new one"
            raise UnusableFile(unusable.path, unusable.reason, hint=hint) from None

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
        return None if role.startswith("client/") else parse_key(self._key(role), read_file(self._key(role)))

    def _issue(
        self, wanted: DesiredCert, kept: PrivateKey | None, authority: SigningCa, now: datetime
    ) -> None:
        key = kept or new_key()
        cert = make_cert(wanted, key, authority, self._spec.name, days=self._spec.tls.days, now=now)
        if wanted.role.startswith("client/"):
            self._former.archive_copy(self._cert(wanted.role), self._key(wanted.role))
        elif "/" in wanted.role:
            self._former_members.keep_renewed(self._cert(wanted.role))
        if kept is None:
            write_file(self._key(wanted.role), key_pem(key), KEY_MODE)
        write_file(self._cert(wanted.role), cert_pem(cert), CERT_MODE)

    def _unlock_ca(self, now: datetime) -> SigningCa:
        if self._unlocked is None or not self._is_current(self._unlocked):
            self._unlocked = self._make_or_load_ca(now)
        if self._unlocked.cert.not_valid_after_utc <= now:
            hint = (
                "take a snapshot of the data of a member, then restore it as a new cluster with another `tls.dir`: "
                "`certs rotate-ca` cannot replace an expired CA, because members accept no certificate of it"
            )
            raise PkiError(
                f"the CA in {self._ca} is expired: no certificate that it signs would be valid", hint=hint
            )
        return self._unlocked

    def _is_current(self, authority: SigningCa) -> bool:
        """Whether this CA is still the one that signs. Another run may have changed the CA since it was unlocked."""
        return self._rotation.signing_ca(Pem.read(self._ca)) == authority.cert

    def makes_plain_key(self) -> bool:
        return not self._ca_key.exists() and not self._ca.exists() and self._configured_passphrase is None

    def encrypt_new_key(self, passphrase: str) -> None:
        self._asked = passphrase

    def _make_or_load_ca(self, now: datetime) -> SigningCa:
        """Return the CA. It is created if the folder never had one, and completed if a previous run was killed.

        Another etcdup may create a file at the same time where locks have no effect (NFS). Then that file is used.
        """
        self._check_no_second_ca()
        if not self._ca_key.exists():
            with suppress(FileExistsError):
                create_file(
                    self._ca_key, key_pem(new_key(), self._asked or self._configured_passphrase), KEY_MODE
                )
        key = self._load_ca_key()
        if not self._ca.exists():
            made = make_ca(key, self._spec.name, self._spec.tls.ca_days, now)
            with suppress(FileExistsError):
                create_file(self._ca, cert_pem(made), CERT_MODE)
        cert = self._rotation.signing_ca(Pem.read(self._ca))
        if not is_key_of(key, cert):
            hint = f"restore both files from the same backup of {self._root}"
            raise PkiError(f"{self._ca_key} is not the key of {self._ca}", hint=hint)
        return SigningCa(cert, key)

    def _check_no_second_ca(self) -> None:
        if self._ca_key.exists():
            return
        hint = f"restore {self._ca.name} and {self._ca_key.name} from your backup of {self._root}"
        if self._ca.exists():
            raise PkiError(f"{self._ca} exists without its key: etcdup creates no second CA", hint=hint)
        if issued := [*self._root.glob("members/*/*.pem"), *self._root.glob("clients/*.pem")]:
            message = f"{issued[0]} exists without the CA that signed it: etcdup creates no second CA"
            raise PkiError(message, hint=hint)

    def _load_ca_key(self) -> PrivateKey:
        return self._read_key(self._ca_key)

    def _read_key(self, path: Path) -> PrivateKey:
        pem = read_file(path)
        return parse_key(path, pem, self._passphrase() if is_encrypted(pem) else None)

    @cached_property
    def _configured_passphrase(self) -> str | None:
        return configured_passphrase(self._spec.tls.passphrase_command, self._folder)

    def _passphrase(self) -> str:
        passphrase = self._configured_passphrase if self._asked is None else self._asked
        if passphrase is None and self._ask is not None:
            passphrase = self._asked = self._ask()
        if passphrase is None:
            hint = f"set ${VARIABLE}, or `tls.passphrase_command` in cluster.yaml"
            raise PkiError(f"{self._ca_key} is encrypted, and no passphrase is set", hint=hint)
        return passphrase


def _with_revocation(certs: Mapping[str, CertSeen], revoked: Collection[str]) -> dict[str, CertSeen]:
    return {role: replace(cert, is_revoked=cert.serial in revoked) for role, cert in certs.items()}
