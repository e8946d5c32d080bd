"""The files of a CA that takes over from another. Each turn is one rename: before it nothing, after it all is turned.

    ca.pem           what members and clients trust: one CA, or the old one and the new
    ca-key.pem       the key of the one that signs
    next-ca.pem      the new CA, from when it is made until it is the only one
    next-ca-key.pem  its key, until it signs
    former/          every CA file that there was, and the keys that signed no more

The new CA signs from the moment when its key is `ca-key.pem`. Only this module makes a second CA beside a first.
"""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from etcdup.errors import PkiError
from etcdup.ops.files import create_file, sync_folder, write_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE, make_private_folder
from etcdup.ops.pki.signing import cert_pem, key_pem, new_key
from etcdup.ops.pki.x509 import Pem, PrivateKey, is_key_of, read_if_exists


class CaRotation:
    """Used under the folder's lock, but for what only looks. `read_key` reads a key, with a passphrase if need be."""

    def __init__(self, root: Path, read_key: Callable[[Path], PrivateKey]) -> None:
        self._root = root
        self._ca = root / "ca.pem"
        self._ca_key = root / "ca-key.pem"
        self._next = root / "next-ca.pem"
        self.next_key = root / "next-ca-key.pem"
        self._former = root / "former"
        self._read_key = read_key

    def successor(self, ca: Pem) -> x509.Certificate | None:
        """The CA that takes over; None also where it has: then its file is only left behind."""
        content = read_if_exists(self._next)
        if content is None:
            return None
        cert = Pem.parse(self._next, content).certs[0]
        return None if ca.certs == (cert,) else cert

    def signing_ca(self, ca: Pem) -> x509.Certificate:
        """Which of the trusted CAs the key is for. Told by the files' names: the key may be encrypted."""
        cert = self.successor(ca)
        if cert is None:
            return ca.certs[0]
        if not self.next_key.exists():
            return cert
        return next((each for each in ca.certs if each != cert), ca.certs[0])

    def past_ca_files(self) -> frozenset[str]:
        """The sha256 of every CA file that there was before."""
        return frozenset(sha256(path.read_bytes()).hexdigest() for path in self._former.glob("ca-*.pem"))

    def make_key(self, passphrase: str | None) -> PrivateKey:
        """The key of the new CA, made unless a run before this one made it."""
        if not self._next.exists() or self._is_left_behind():
            self._next.unlink(missing_ok=True)
            with suppress(FileExistsError):
                create_file(self.next_key, key_pem(new_key(), passphrase), KEY_MODE)
        return self._read_key(self.next_key)

    def trust_both(self, old: x509.Certificate, made: x509.Certificate) -> None:
        """Both are trusted. A new CA that is there already is the one that counts."""
        with suppress(FileExistsError):
            create_file(self._next, cert_pem(made), CERT_MODE)
        new = Pem.read(self._next).certs[0]
        self._replace_ca_file(cert_pem(old) + cert_pem(new))

    def sign_with_new(self) -> None:
        """The new key takes the old one's place, which is kept."""
        if not self.next_key.exists():
            return
        new = Pem.read(self._next).certs[0]
        if not is_key_of(self._read_key(self.next_key), new):
            hint = "bring both files back from the same backup"
            raise PkiError(f"{self.next_key} is not the key of {self._next}", hint=hint)
        if new not in Pem.read(self._ca).certs:
            raise PkiError(f"{self._ca} does not hold the CA of {self._next} yet: it must not sign")
        self._archive(self._ca_key, "old-ca-key")
        self.next_key.replace(self._ca_key)
        sync_folder(self._root)

    def drop_old(self) -> None:
        """The new CA is trusted alone."""
        if not self._next.exists():
            return
        if self.next_key.exists():
            raise PkiError(f"the CA of {self._next} does not sign yet: the old one is not dropped")
        self._replace_ca_file(cert_pem(Pem.read(self._next).certs[0]))
        self._next.unlink()
        sync_folder(self._root)

    def restore_old(self) -> None:
        """The way back from `drop`: the CA file of before, with the old CA and this one, is trusted again."""
        current = Pem.read(self._ca).certs
        if len(current) > 1:
            return
        both = [path for path in self._former.glob("ca-*.pem") if Pem.read(path).certs[1:] == current]
        if not both:
            hint = "bring the folder back from a backup that has it"
            raise PkiError(f"no file in {self._former} holds the old CA beside this one", hint=hint)
        with suppress(FileExistsError):
            create_file(self._next, cert_pem(current[0]), CERT_MODE)
        self._replace_ca_file(both[0].read_bytes())

    def _is_left_behind(self) -> bool:
        return Pem.read(self._ca).certs == (Pem.read(self._next).certs[0],)

    def _replace_ca_file(self, content: bytes) -> None:
        if self._ca.read_bytes() == content:
            return
        self._archive(self._ca, "ca")
        write_file(self._ca, content, CERT_MODE)

    def _archive(self, path: Path, name: str) -> None:
        """As it is now, under a name that its content gives it, so that nothing is kept twice."""
        make_private_folder(self._former)
        kept = self._former / f"{name}-{sha256(path.read_bytes()).hexdigest()[:16]}.pem"
        with suppress(FileExistsError):
            kept.hardlink_to(path)
        sync_folder(self._former)
