"""A backup key for tests, and the trust in what it signed."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from etcdup.ops.backups.trust import Trust
from etcdup.ops.pki.backup_key import BackupKey
from etcdup.ops.pki.signing import key_pem

_private = Ed25519PrivateKey.generate()
PRIVATE_KEY = key_pem(_private)
KEY = BackupKey(_private)
TRUST = Trust(KEY)
