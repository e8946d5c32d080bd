"""The PKI directory in a backup: `NAME.pki.age`, encrypted to the key of `backup.encrypt_to`.

A new machine has no key to verify a signature with: the backup key is in the archive. The archive and the manifest must
belong together: the manifest has the SHA-256 of the archive, and the key in the archive signed the manifest. A client
of the store can make such a pair too. So the operator compares the fingerprint of the backup key.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from etcdup.core.backups.backups import PKI, BackupEntry
from etcdup.errors import EtcdupError
from etcdup.ops.backups.backups import (
    MOST_SEALED_BYTES,
    Damaged,
    check_manifest,
    joined,
    load_manifest,
    read_sealed_pki,
)
from etcdup.ops.backups.destinations import combined_error
from etcdup.ops.backups.encryption import DecryptionFailed, Identity, decrypt_stream, encrypt_stream
from etcdup.ops.backups.store import ObjectNotFound, Store
from etcdup.ops.backups.trust import Trust
from etcdup.ops.pki.archive import MOST_ARCHIVE_BYTES, pack_pki, read_pki_archive
from etcdup.ops.pki.backup_key import BACKUP_KEY, BackupKey, parse_backup_key


async def seal_pki(root: Path, public: str) -> bytes:
    """Return the PKI directory as an encrypted archive. Raises PkiError."""
    return await joined(encrypt_stream(one_piece(pack_pki(root)), public), MOST_SEALED_BYTES)


async def one_piece(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


def newest_with_pki(backups: Sequence[BackupEntry], name: str | None) -> BackupEntry:
    """Return the backup with this name, or the newest one, of those with the PKI directory. Raises ObjectNotFound."""
    for each in reversed(backups):
        if name in (None, each.name) and each.manifest and each.manifest.pki_size:
            return each
    raise ObjectNotFound(
        f"{name or 'no backup'} contains {'no' if name else 'a'} PKI directory",
        hint="run `etcdup backup list` to see all backups. `etcdup backup now --with-pki` writes the PKI directory",
    )


@dataclass(frozen=True)
class StoredPki:
    """The files of a PKI directory from a store, and its backup key."""

    files: Mapping[str, bytes]
    key: BackupKey


async def fetch_pki(stores: Sequence[Store], name: str, identity: Identity) -> StoredPki:
    """Return the PKI directory from the first store with a whole copy. Raises EtcdupError."""
    failed: dict[str, EtcdupError] = {}
    for store in stores:
        try:
            return await _fetch_from(store, name, identity)
        except EtcdupError as error:
            failed[store.destination] = error
    raise combined_error(failed)


async def _fetch_from(store: Store, name: str, identity: Identity) -> StoredPki:
    manifest = await load_manifest(store, name, Trust(None, unsigned=True))
    sealed = await read_sealed_pki(store, manifest)
    try:
        content = await joined(decrypt_stream(one_piece(sealed), identity), MOST_ARCHIVE_BYTES)
    except DecryptionFailed as error:
        raise Damaged(f"{name + PKI} in {store.destination}: {error.message}") from None
    files = read_pki_archive(content)
    key = parse_backup_key(Path(BACKUP_KEY), files[BACKUP_KEY])
    # The store may send another manifest the second time, so both must be the same.
    signed = await check_manifest(store, name, Trust(key))
    if signed.error or signed.manifest != replace(manifest, signed=True):
        fault = signed.reason or "its manifest changed while it was read"
        raise Damaged(f"{name + PKI} in {store.destination} does not belong to its manifest: {fault}")
    return StoredPki(files, key)
