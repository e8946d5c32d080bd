"""The key that signs backups: `backup-key.pem` in the PKI directory, an Ed25519 key with mode 0600.

A client that can write to the store of backups can write any object, but it has no key to sign a manifest with. The
key is not encrypted, because backups are taken by timers. It is part of the PKI directory also with certificates of the
operator, where the directory has no CA.
"""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.files import create_file
from etcdup.ops.pki.files import KEY_MODE, folder_lock
from etcdup.ops.pki.signing import key_pem
from etcdup.ops.pki.x509 import UnusableFile, parse_key, read_if_exists

BACKUP_KEY = "backup-key.pem"


class BackupKey:
    """The key of one PKI directory. No message and no repr contains it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, kind: str, text: bytes) -> bytes:
        """Return the signature of a text. `kind` says what the text is, so that no text passes as another kind."""
        return self._key.sign(_message(kind, text))

    def has_signed(self, kind: str, text: bytes, signature: bytes) -> bool:
        try:
            self._key.public_key().verify(signature, _message(kind, text))
        except InvalidSignature:
            return False
        return True

    @property
    def fingerprint(self) -> str:
        """Return the sha256 of the public key, in hex."""
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return sha256(self._key.public_key().public_bytes(*raw)).hexdigest()


def _message(kind: str, text: bytes) -> bytes:
    return f"etcdup {kind}\0".encode() + text


def pki_directory(spec: Spec, folder: Path) -> Path:
    """Return the path of `tls.dir`. `folder` is that of cluster.yaml."""
    return folder / Path(spec.tls.dir).expanduser()


def read_backup_key(root: Path) -> BackupKey | None:
    """Return the key of this PKI directory, or None if it has none. Raises UnusableFile."""
    path = root / BACKUP_KEY
    content = read_if_exists(path)
    return None if content is None else parse_backup_key(path, content)


def parse_backup_key(path: Path, content: bytes) -> BackupKey:
    """Return the key in the content of a file. Raises UnusableFile."""
    key = parse_key(path, content)
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableFile(path, "is not a key of Ed25519, which etcdup made to sign backups")
    return BackupKey(key)


def make_backup_key(root: Path) -> None:
    """Make the key, unless there is one. Call it under the lock of the PKI folder.

    Another etcdup may create it at the same time where locks have no effect (NFS). Then that key is used.
    """
    path = root / BACKUP_KEY
    if not path.exists():
        with suppress(FileExistsError):
            create_file(path, new_backup_key(), KEY_MODE)


def new_backup_key() -> bytes:
    """Return a new key in PEM."""
    return key_pem(Ed25519PrivateKey.generate())


def require_backup_key(spec: Spec, root: Path, report_made: Callable[[Path], None]) -> BackupKey:
    """Return the key to sign with. It is made if the directory is complete and was made by an earlier etcdup.

    A part of the directory (as a CI job may have) makes no key, because backups of a key that is lost are unsigned.
    """
    if (key := read_backup_key(root)) is not None:
        return key
    path = root / BACKUP_KEY
    if spec.tls.mode == "managed" and not (root / "ca-key.pem").exists():
        raise PkiError(
            f"{path} does not exist, so the backup cannot be signed",
            hint=f"copy {BACKUP_KEY} from the machine that has the whole PKI directory. If that machine has none, run "
            "`etcdup backup now` there once, which makes it",
        )
    with folder_lock(root):
        make_backup_key(root)
    report_made(path)
    made = read_backup_key(root)
    assert made is not None, "it was made before"
    return made
