"""Which manifests and proofs of a store are used: those that the backup key of this PKI signed."""

from dataclasses import dataclass
from pathlib import Path

from etcdup.core.backups.signed_text import append_signature, split_signature
from etcdup.core.spec.model import Spec
from etcdup.errors import RefusedError
from etcdup.ops.pki.backup_key import BACKUP_KEY, BackupKey, pki_directory, read_backup_key

MANIFEST_KIND, PROOF_KIND = "manifest", "proof"
OTHER_KEY = f"{BACKUP_KEY} of the PKI directory did not sign it"
UNSIGNED_HINT = (
    "if another machine of this cluster took it, use its PKI directory, and keep the one of this machine. If an "
    "earlier etcdup took it, or if no other program can write to the store, pass `--unsigned`"
)


class NotUsed(RefusedError):
    """etcdup does not use this backup. `reason` follows its name in a sentence."""

    def __init__(self, message: str, reason: str, hint: str) -> None:
        super().__init__(f"{message}: {reason}", hint=hint)
        self.reason = reason


@dataclass(frozen=True)
class Trust:
    """The backup key, None if the PKI has none. `unsigned`: the operator passed `--unsigned`."""

    key: BackupKey | None
    unsigned: bool = False

    @classmethod
    def of(cls, spec: Spec, folder: Path, *, unsigned: bool = False) -> "Trust":
        """Return the trust of a run. `folder` is that of cluster.yaml. Raises PkiError if the key is not usable."""
        return cls(read_backup_key(pki_directory(spec, folder)), unsigned)

    def open(self, kind: str, content: bytes) -> tuple[bytes, str]:
        """Return the text in an object of the store, and why it is not trusted: empty if the key signed it."""
        text, signature = split_signature(content)
        if not signature:
            return text, "it is not signed"
        if self.key is None:
            return text, f"the PKI directory has no {BACKUP_KEY}, which would verify its signature"
        if not self.key.has_signed(kind, text, signature):
            return text, OTHER_KEY
        return text, ""

    def sign(self, kind: str, text: str) -> bytes:
        """Return the text with a signature. Without a key it stays unsigned."""
        content = text.encode()
        return content if self.key is None else append_signature(content, self.key.sign(kind, content))
