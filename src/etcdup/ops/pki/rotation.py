"""The files of a rotation of the CA. Each stage is one rename: before it nothing is changed, after it everything.

    ca.pem           the CA file that members and clients trust: one CA, or the old and the new CA
    ca-key.pem       the key of the CA that signs
    next-ca.pem      the new CA, until it is the only one
    next-ca-key.pem  the key of the new CA, until it signs
    provided-ca.pem  the old CA, if it is no CA of etcdup: see own_ca.py
    former/          all previous CA files, and the keys of previous CAs

The new CA signs as soon as its key is `ca-key.pem`. Only this module creates a second CA.
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
    """The stages of a rotation. Call the methods that write under the lock of the PKI folder.

    `read_key` returns a private key, and decrypts it if it is encrypted.
    """

    def __init__(self, root: Path, read_key: Callable[[Path], PrivateKey]) -> None:
        self._root = root
        self._ca = root / "ca.pem"
        self._ca_key = root / "ca-key.pem"
        self._next = root / "next-ca.pem"
        self.next_key = root / "next-ca-key.pem"
        self._provided = root / "provided-ca.pem"
        self._former = root / "former"
        self._read_key = read_key

    def successor(self, ca: Pem) -> x509.Certificate | None:
        """Return the new CA, or None if no rotation is running.

        After the last stage the file of the new CA may still exist, because the run was killed: then also None.
        """
        content = read_if_exists(self._next)
        if content is None:
            return None
        cert = Pem.parse(self._next, content).certs[0]
        return None if ca.certs == (cert,) else cert

    def signing_ca(self, ca: Pem) -> x509.Certificate:
        """Return the trusted CA that `ca-key.pem` belongs to. The file names decide, since the key may be encrypted."""
        cert = self.successor(ca)
        if cert is None:
            return ca.certs[0]
        if not self.next_key.exists():
            return cert
        return next((each for each in ca.certs if each != cert), ca.certs[0])

    @property
    def has_old_key(self) -> bool:
        """Whether the CA before the new one can sign. A provided CA never could, and a key can be lost."""
        return self._ca_key.exists() or not self.next_key.exists()

    def is_from_provided(self) -> bool:
        """Whether the old CA of a running rotation was provided."""
        return self._provided.exists()

    def past_ca_files(self) -> frozenset[str]:
        """Return the sha256 of each previous CA file."""
        return frozenset(sha256(path.read_bytes()).hexdigest() for path in self._former.glob("ca-*.pem"))

    def make_key(self, passphrase: str | None) -> PrivateKey:
        """Return the key of the new CA. It is made, unless a previous run made it."""
        if not self._next.exists() or self._is_left_behind():
            self._next.unlink(missing_ok=True)
            with suppress(FileExistsError):
                create_file(self.next_key, key_pem(new_key(), passphrase), KEY_MODE)
        return self._read_key(self.next_key)

    def trust_both(self, old: x509.Certificate, made: x509.Certificate) -> None:
        """Write a CA file with both CAs. If a previous run stored a new CA already, that one is used."""
        with suppress(FileExistsError):
            create_file(self._next, cert_pem(made), CERT_MODE)
        new = Pem.read(self._next).certs[0]
        self._replace_ca_file(cert_pem(old) + cert_pem(new))

    def sign_with_new(self) -> None:
        """Archive the old key and make the new key `ca-key.pem`."""
        if not self.next_key.exists():
            return
        new = Pem.read(self._next).certs[0]
        if not is_key_of(self._read_key(self.next_key), new):
            hint = f"restore both files from the same backup of {self._root}"
            raise PkiError(f"{self.next_key} is not the key of {self._next}", hint=hint)
        if new not in Pem.read(self._ca).certs:
            raise PkiError(f"{self._ca} does not contain the CA of {self._next} yet: it must not sign")
        if self._ca_key.exists():
            self._archive(self._ca_key, "old-ca-key")
        self.next_key.replace(self._ca_key)
        sync_folder(self._root)

    def drop_old(self) -> None:
        """Write a CA file with the new CA only. From then on, the PKI is one like any other."""
        if not self._next.exists():
            return
        if self.next_key.exists():
            raise PkiError(f"the CA of {self._next} does not sign yet: etcdup does not drop the old CA")
        self._provided.unlink(missing_ok=True)
        self._replace_ca_file(cert_pem(Pem.read(self._next).certs[0]))
        self._next.unlink()
        sync_folder(self._root)

    def restore_old(self) -> None:
        """Undo `drop_old`: use the previous CA file again, which contains the old and, as its last, the current CA."""
        current = Pem.read(self._ca).certs
        if len(current) > 1:
            return
        files = [(path, Pem.read(path).certs) for path in self._former.glob("ca-*.pem")]
        both = [path for path, certs in files if len(certs) > 1 and certs[-1:] == current]
        if not both:
            hint = f"restore {self._former} from a backup that contains the old CA"
            raise PkiError(f"no file in {self._former} contains both the old and the current CA", hint=hint)
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
        """Link the file to a name that contains its checksum, so that the same content is kept once."""
        make_private_folder(self._former)
        kept = self._former / f"{name}-{sha256(path.read_bytes()).hexdigest()[:16]}.pem"
        with suppress(FileExistsError):
            kept.hardlink_to(path)
        sync_folder(self._former)
