"""Backups in a destination: their names, their manifests and proofs, and which of them are pruned.

A backup NAME consists of up to four objects. The manifest is written last, and only with it the backup is complete:

    NAME.db            the database of a member with the checksum of etcd at its end (rule 54); encrypted: NAME.db.age
    NAME.pki.age       the PKI directory, encrypted, if `--with-pki` was passed
    NAME.json          the manifest: the cluster, the member, and the expected content
    NAME.proof.json    the result of a drill that restored the backup; without it, the backup is not proved

Manifests and proofs are signed (signed_text.py): a client that can write to the store can write any object.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from etcdup.core.backups.manifest_grammar import manifest_fault
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import KeepSpec

DATABASE, SEALED, MANIFEST, PROOF, PKI = ".db", ".db.age", ".json", ".proof.json", ".pki.age"
# etcdup writes this key through the member directly before the backup. The drill checks it after the restore.
CANARY = b"etcdup/backup/canary"
HASH_BYTES = 32
PAGE_BYTES = 512
# Format 1 has no signature.
UNSIGNED_FORMAT, _FORMAT = 1, 2
# The clocks of two operators can differ.
_FUTURE = timedelta(minutes=5)
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?P<cluster>.+)-(?P<stamp>\d{8}T\d{6}Z)", re.ASCII)


class InvalidManifest(ValueError):
    """The object is not a manifest, or not one that this etcdup can read."""


@dataclass(frozen=True)
class Manifest:
    """The facts about a backup.

    `revision`, `keys`, `kv_hash` and `compact_revision` are values that the member reported directly before the stream
    began. The backup contains all of this data, and can contain a few later writes.
    `sha256` and `size` are of the whole database with the checksum of etcd.
    `canary` is empty if etcd was full and rejected the write.
    If the backup is encrypted, `encrypted_to` is the public key. `stored_size` and `stored_sha256` are of the encrypted
    object, so it can be verified without the private key.
    `pki_size` and `pki_sha256` are of the object with the PKI directory, if there is one.
    `signed` is not in the text: the backup key of this PKI signed the text.
    """

    name: str
    cluster: str
    cluster_id: str
    member: str
    members: Mapping[str, str]
    version: str
    taken_at: datetime
    size: int
    sha256: str
    revision: int
    keys: int
    kv_hash: int
    compact_revision: int
    canary: str
    encrypted_to: str = ""
    stored_size: int = 0
    stored_sha256: str = ""
    pki_size: int = 0
    pki_sha256: str = ""
    signed: bool = False

    @property
    def database(self) -> str:
        """Return the name of the object with the database."""
        return self.name + (SEALED if self.encrypted_to else DATABASE)


@dataclass(frozen=True)
class Proof:
    """The result of a drill that restored the backup.

    `rto_s` is the time from the download to the first served request. `rpo_s` is the age of the data at that time.
    """

    name: str
    at: datetime
    version: str
    revision: int
    keys: int
    kv_hash: int
    rto_s: float
    rpo_s: float


@dataclass(frozen=True, order=True)
class BackupEntry:
    """A complete backup in a destination. `fault` says why it is not used; it is empty if the backup is usable."""

    taken_at: datetime
    name: str
    proved: bool = False
    signed: bool = False
    fault: str = ""
    manifest: Manifest | None = field(default=None, compare=False)


def backup_name(cluster: str, at: datetime) -> str:
    """Return the name of a backup, for example `prod-20261122T120000Z`, in UTC."""
    return f"{cluster}-{at.astimezone(UTC).strftime(_STAMP)}"


def defragmenting(observed: Observed) -> tuple[str, ...]:
    """Return the members that are being defragmented, as far as their activity was read."""
    return tuple(name for name, each in sorted(observed.activity.items()) if each.defragments)


def backup_source(observed: Observed) -> str | None:
    """Return the healthy follower with the highest applied index, to spare the leader (rule 53).

    Return the leader if no follower is healthy, and None if no member is healthy. A member that is being defragmented
    is never the source: it would send nothing until the defragmentation ends.
    """
    busy = defragmenting(observed)
    members = {name: seen for name, seen in healthy(observed).items() if name not in busy}
    return max(
        sorted(members),
        key=lambda name: (members[name].leader_id != members[name].member_id, members[name].applied_index),
        default=None,
    )


def cluster_of_backup(name: str) -> str | None:
    """Return the cluster of a backup with this name; None if it is not the name of a backup."""
    match = _NAME.fullmatch(name)
    return match and match["cluster"]


def backup_time(name: str, cluster: str) -> datetime | None:
    """Return when the backup with this name was taken; None if it is not the name of a backup of this cluster."""
    match = _NAME.fullmatch(name)
    if match is None or match["cluster"] != cluster:
        return None
    try:
        return datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def whole_backups(objects: Iterable[str], cluster: str) -> tuple[BackupEntry, ...]:
    """Return the complete backups, the oldest first. A database without a manifest is not complete, and the reverse."""
    names_found = frozenset(objects)
    names = {
        each.removesuffix(end) for each in names_found for end in (DATABASE, SEALED) if each.endswith(end)
    }
    found = (
        BackupEntry(at, name, name + PROOF in names_found)
        for name in names
        if name + MANIFEST in names_found and (at := backup_time(name, cluster))
    )
    return tuple(sorted(found))


def can_be_whole(size: int) -> bool:
    """Return whether a file of this size can be complete: whole pages and the checksum after them (rule 54)."""
    return size > HASH_BYTES and size % PAGE_BYTES == HASH_BYTES


_Period = Callable[[datetime], tuple[int, ...]]
_PERIODS: Mapping[str, _Period] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
}


def backups_to_prune(backups: Sequence[BackupEntry], keep: KeepSpec) -> tuple[BackupEntry, ...]:
    """Return the backups that no count of `keep` keeps, the oldest first.

    Each count keeps the newest backup of that many periods, the newest periods first. A period without a backup does
    not count. The newest backup always stays. The newest proved backup stays too: it is known that it can be restored.
    """
    newest_first = sorted(backups, reverse=True)
    kept = set(newest_first[:1])
    kept.update([each for each in newest_first if each.proved][:1])
    for key, period in _PERIODS.items():
        kept.update(_newest_of_each(newest_first, period, getattr(keep, key)))
    return tuple(each for each in sorted(backups) if each not in kept)


def merge_backups(destinations: Iterable[Sequence[BackupEntry]]) -> tuple[BackupEntry, ...]:
    """Return the backups of several destinations, the oldest first. A usable copy is preferred, then a signed one.

    Copies with one name are of one stream, so a drill of one copy proves all.
    """
    copies: dict[str, list[BackupEntry]] = {}
    for each in (each for backups in destinations for each in backups):
        copies.setdefault(each.name, []).append(each)
    best = (min(found, key=lambda each: (bool(each.fault), not each.signed)) for found in copies.values())
    return tuple(
        sorted(replace(each, proved=any(copy.proved for copy in copies[each.name])) for each in best)
    )


def backups_to_prune_at(
    here: Sequence[BackupEntry], everywhere: Sequence[BackupEntry], keep: KeepSpec
) -> tuple[BackupEntry, ...]:
    """Return the backups to prune in one of several destinations.

    Each destination keeps its own newest backup and its own newest proved backup, because another one can be lost.
    """
    names = {each.name for each in here}
    return signed_to_prune([each for each in everywhere if each.name in names], keep)


def signed_to_prune(backups: Sequence[BackupEntry], keep: KeepSpec) -> tuple[BackupEntry, ...]:
    """Return the backups to prune, so that no unsigned backup has an effect on the signed ones.

    A signed backup is compared with the signed ones only, an unsigned one with all.
    """
    signed = [each for each in backups if each.signed]
    unsigned = (each for each in backups_to_prune(backups, keep) if not each.signed)
    return tuple(sorted((*backups_to_prune(signed, keep), *unsigned)))


def _newest_of_each(newest_first: Sequence[BackupEntry], period: _Period, count: int) -> list[BackupEntry]:
    newest: dict[tuple[int, ...], BackupEntry] = {}
    for each in newest_first:
        newest.setdefault(period(each.taken_at.astimezone(UTC)), each)
    return list(newest.values())[:count]


def is_in_future(at: datetime, now: datetime) -> bool:
    """Return whether a backup cannot have been taken at this time."""
    return at > now + _FUTURE


def manifest_text(manifest: Manifest) -> str:
    facts = asdict(manifest) | {"taken_at": manifest.taken_at.isoformat()}
    del facts["signed"]
    return _text(facts)


def proof_text(proof: Proof) -> str:
    return _text(asdict(proof) | {"at": proof.at.isoformat()})


def _text(facts: dict[str, Any]) -> str:
    return json.dumps({"format": _FORMAT, **facts}, indent=1) + "\n"


def proved_backup(text: bytes) -> str | None:
    """Return the name of the backup that this proof is of. Return None if the text is not a proof."""
    try:
        name = json.loads(text)["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def read_manifest(text: bytes, name: str) -> Manifest:
    """Parse a manifest. Raise InvalidManifest with the reason."""
    try:
        facts = json.loads(text)
        if facts.pop("format") not in (UNSIGNED_FORMAT, _FORMAT):
            raise InvalidManifest("it was written by a newer etcdup")
        facts["taken_at"] = datetime.fromisoformat(facts["taken_at"])
        if fault := manifest_fault(facts):
            raise InvalidManifest(f"the value of `{fault}` is missing or not valid")
        manifest = Manifest(**facts)
        taken_as = backup_name(manifest.cluster, manifest.taken_at)
    except InvalidManifest:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InvalidManifest("it is not a manifest of etcdup") from None
    if manifest.name != name:
        raise InvalidManifest(f"it is the manifest of {manifest.name}")
    if taken_as != name:
        raise InvalidManifest("its cluster or its time differs from its name")
    return manifest
