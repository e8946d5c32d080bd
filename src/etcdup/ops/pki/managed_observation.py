"""Read the certificates and revocation lists below `tls.dir`."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from etcdup.core.certs.inventory import archived_name
from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.core.observed.pki import CertSeen, CrlSeen, PkiSeen
from etcdup.core.spec.layout import MEMBER_CERTS
from etcdup.ops.pki.authority import Authority
from etcdup.ops.pki.crl import parse_crl, see_crl
from etcdup.ops.pki.former import ArchivedConsumers, ArchivedMembers
from etcdup.ops.pki.generation import Generation
from etcdup.ops.pki.managed_paths import ManagedPaths
from etcdup.ops.pki.x509 import (
    Pem,
    UnusableFile,
    is_key_of,
    parse_key,
    read_file,
    read_if_exists,
    see_cert,
)


class ManagedObservation:
    """Read one PKI directory. `specified` are the roles that cluster.yaml requires."""

    def __init__(
        self,
        paths: ManagedPaths,
        specified: Collection[str],
        authority: Authority,
        former: ArchivedConsumers,
        former_members: ArchivedMembers,
        generation: Generation,
    ) -> None:
        self._paths = paths
        self._specified = specified
        self._authority = authority
        self._former = former
        self._former_members = former_members
        self._generation = generation
        # The facts of each pair of files, by role and content: verifying signatures is slow, and files rarely change.
        self._observed_pairs: dict[tuple[str, str, str, str], CertSeen] = {}

    def observe(self) -> PkiSeen:
        """Return all certificates that exist. Raise PkiError for a file that is not usable."""
        content = read_if_exists(self._paths.ca)
        if content is None:
            return PkiSeen(mode="managed")
        ca = Pem.parse(self._paths.ca, content)
        certs: dict[str, CertSeen] = {}
        files: dict[str, tuple[str, str]] = {}
        for role in self._roles():
            if pair := self._observe_pair(role, ca):
                certs[role], key_digest = pair
                if certs[role].key:
                    files[role] = (certs[role].sha256, key_digest)
        successor = self._authority.rotation.successor(ca)
        crls = self._observe_crls(ca)
        revoked = crls["crl"].revoked if crls else frozenset()
        certs = _with_revocation(certs, revoked)
        return PkiSeen(
            "managed",
            see_cert(ca, self._authority.rotation.signing_ca(ca), ca.certs, has_key=True),
            certs,
            files,
            dict.fromkeys(("ca", "peer-ca"), ca.sha256),
            trusted=tuple(see_cert(ca, cert, ca.certs, has_key=True) for cert in ca.certs),
            successor=see_cert(ca, successor, (successor,), has_key=True) if successor else None,
            past=self._authority.rotation.past_ca_files(),
            changes=self._generation.changes(),
            crls=crls,
            former=_with_revocation(self._observe_former(ca, certs.values()), revoked),
            cannot_sign=self._authority.why_no_key(),
            shared=self._observe_shared(ca, certs.values()),
            is_from_provided=successor is not None and self._authority.rotation.is_from_provided(),
        )

    def _observe_crls(self, ca: Pem) -> dict[str, CrlSeen]:
        """Return the list of this PKI for both kinds: one CA signs for clients and for peers."""
        crl = self.read_crl()
        return {} if crl is None else dict.fromkeys(CRL_VARIABLES, see_crl(crl, ca.certs))

    def read_crl(self) -> x509.CertificateRevocationList | None:
        """Return the revocation list, or None if the directory has none."""
        content = read_if_exists(self._paths.crl)
        try:
            return None if content is None else parse_crl(self._paths.crl, content)
        except UnusableFile as unusable:
            hint = "restore the file from your backup of this directory: a new list would accept revoked certificates"
            raise UnusableFile(unusable.path, unusable.reason, hint=hint) from None

    def archived_certs(self) -> dict[str, CertSeen]:
        """Return the archived certificates of consumers and of members."""
        seen, ca = self.observe(), Pem.read(self._paths.ca)
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

    def _roles(self) -> list[str]:
        """Return the roles of the Spec, of consumers, and of members that cluster.yaml does not name any more.

        If no host of cluster.yaml has the cluster, certificates of former members show where it may run.
        """
        paths = sorted(self._paths.root.glob("members/*/*.pem"))
        former = [f"{path.stem}/{path.parent.name}" for path in paths if path.stem in MEMBER_CERTS]
        clients = sorted(self._paths.cert("admin").parent.glob("*.pem"))
        names = [path.stem for path in clients if not path.stem.endswith("-key") and path.stem != "admin"]
        return list(dict.fromkeys([*self._specified, *former, *(f"client/{name}" for name in names)]))

    def observe_cert(self, role: str) -> CertSeen | None:
        """Return the certificate of this role, or None."""
        pem = read_if_exists(self._paths.ca)
        pair = self._observe_pair(role, Pem.parse(self._paths.ca, pem)) if pem else None
        return pair[0] if pair else None

    def _observe_pair(self, role: str, ca: Pem) -> tuple[CertSeen, str] | None:
        """Return the certificate, if it exists, and the sha256 of its key file."""
        try:
            content = read_if_exists(self._paths.cert(role))
            if content is None:
                return None
            key = read_if_exists(self._paths.key(role))
            digests = (role, sha256(content).hexdigest(), sha256(key or b"").hexdigest(), ca.sha256)
            if digests not in self._observed_pairs:
                pem = Pem.parse(self._paths.cert(role), content)
                has_key = key is not None and is_key_of(parse_key(self._paths.key(role), key), pem.certs[0])
                self._observed_pairs[digests] = see_cert(pem, pem.certs[0], ca.certs, has_key=has_key)
            return self._observed_pairs[digests], digests[2]
        except UnusableFile as unusable:
            hint = "move the file to another folder, then run `etcdup apply`, which issues a new one"
            raise UnusableFile(unusable.path, unusable.reason, hint=hint) from None


def _with_revocation(certs: Mapping[str, CertSeen], revoked: Collection[str]) -> dict[str, CertSeen]:
    return {role: replace(cert, is_revoked=cert.serial in revoked) for role, cert in certs.items()}
