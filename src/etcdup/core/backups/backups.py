"""Backups as a store holds them: their names, what is noted beside each, and which of them may go.

A backup NAME is up to three objects. Only the second makes it one, and it is written last:

    NAME.db            the member's database with etcd's own checksum at its end (rule 54); NAME.db.age where encrypted
    NAME.json          the manifest: what it is of, and what it must look like
    NAME.proof.json    what the drill saw that restored it; a backup without it is not proved
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import KeepSpec

DATABASE, SEALED, MANIFEST, PROOF = ".db", ".db.age", ".json", ".proof.json"
# Written through the member that the backup is taken from, right before it: what the drill looks for.
CANARY = b"etcdup/backup/canary"
HASH_BYTES = 32
PAGE_BYTES = 512
_FORMAT = 1
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?P<cluster>.+)-(?P<stamp>\d{8}T\d{6}Z)", re.ASCII)


class InvalidManifest(ValueError):
    """The object is not a manifest that this etcdup understands."""


@dataclass(frozen=True)
class Manifest:
    """What a backup is of. `revision`, `keys`, `kv_hash` and `compact_revision` are the member's own words right
    before the stream began, so all that they speak of is in the backup; it may hold a little more. `sha256` and
    `size` are of the whole database, etcd's checksum included. `canary` is empty where etcd was full, and took none.
    Where it is encrypted, `encrypted_to` is the public key, and `stored_*` are of what the store holds: that can be
    compared without the private key."""

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

    @property
    def database(self) -> str:
        """The object that holds it."""
        return self.name + (SEALED if self.encrypted_to else DATABASE)


@dataclass(frozen=True)
class Proof:
    """A drill that restored the backup: when, into which version, and the seconds from fetching to serving (RTO). The
    age of the data then is its RPO."""

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
    """A whole backup in a store."""

    taken_at: datetime
    name: str
    proved: bool = False


def backup_name(cluster: str, at: datetime) -> str:
    """`prod-20261122T120000Z`, in UTC."""
    return f"{cluster}-{at.astimezone(UTC).strftime(_STAMP)}"


def backup_source(observed: Observed) -> str | None:
    """The healthy follower that is furthest ahead: the leader has enough to do (rule 53). None where all are sick."""
    well = healthy(observed)
    return max(
        sorted(well),
        key=lambda name: (well[name].leader_id != well[name].member_id, well[name].applied_index),
        default=None,
    )


def cluster_of_backup(name: str) -> str | None:
    """Whose backup is called so; None where no backup is."""
    match = _NAME.fullmatch(name)
    return match and match["cluster"]


def backup_time(name: str, cluster: str) -> datetime | None:
    """When this cluster's backup of that name was taken; None where it is no such name."""
    match = _NAME.fullmatch(name)
    if match is None or match["cluster"] != cluster:
        return None
    try:
        return datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def whole_backups(objects: Iterable[str], cluster: str) -> tuple[BackupEntry, ...]:
    """Oldest first. An object without its manifest, or a manifest without its object, is no backup."""
    there = frozenset(objects)
    names = {each.removesuffix(end) for each in there for end in (DATABASE, SEALED) if each.endswith(end)}
    found = (
        BackupEntry(at, name, name + PROOF in there)
        for name in names
        if name + MANIFEST in there and (at := backup_time(name, cluster))
    )
    return tuple(sorted(found))


def can_be_whole(size: int) -> bool:
    """A database is whole pages; its checksum follows (rule 54)."""
    return size > HASH_BYTES and size % PAGE_BYTES == HASH_BYTES


_Period = Callable[[datetime], tuple[int, ...]]
_PERIODS: Mapping[str, _Period] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
}


def backups_to_prune(backups: Sequence[BackupEntry], keep: KeepSpec) -> tuple[BackupEntry, ...]:
    """Those that no count of `keep` asks for, oldest first.

    Each count keeps the newest backup of so many of its periods, the newest periods first; a period without a
    backup does not count. The newest of all stays, and so does the newest proved one: it is the only one of
    which it is known that it can be restored.
    """
    newest_first = sorted(backups, reverse=True)
    stays = set(newest_first[:1])
    stays.update([each for each in newest_first if each.proved][:1])
    for key, period in _PERIODS.items():
        stays.update(_newest_of_each(newest_first, period, getattr(keep, key)))
    return tuple(each for each in sorted(backups) if each not in stays)


def merge_backups(places: Iterable[Sequence[BackupEntry]]) -> tuple[BackupEntry, ...]:
    """The backups of several places, oldest first. Copies of one name are of one stream: a drill of any proves it."""
    found = {each for backups in places for each in backups}
    proved = {each.name for each in found if each.proved}
    return tuple(sorted({replace(each, proved=each.name in proved) for each in found}))


def backups_to_prune_at(
    here: Sequence[BackupEntry], everywhere: Sequence[BackupEntry], keep: KeepSpec
) -> tuple[BackupEntry, ...]:
    """`to_prune` for one place of several: it keeps a newest one and a newest proved one of its own, since another
    place may be lost."""
    names = {each.name for each in here}
    return backups_to_prune([each for each in everywhere if each.name in names], keep)


def _newest_of_each(newest_first: Sequence[BackupEntry], period: _Period, count: int) -> list[BackupEntry]:
    firsts: dict[tuple[int, ...], BackupEntry] = {}
    for each in newest_first:
        firsts.setdefault(period(each.taken_at.astimezone(UTC)), each)
    return list(firsts.values())[:count]


def manifest_text(manifest: Manifest) -> str:
    return _text(asdict(manifest) | {"taken_at": manifest.taken_at.isoformat()})


def proof_text(proof: Proof) -> str:
    return _text(asdict(proof) | {"at": proof.at.isoformat()})


def _text(facts: dict[str, Any]) -> str:
    return json.dumps({"format": _FORMAT, **facts}, indent=1) + "\n"


def read_manifest(text: bytes, name: str) -> Manifest:
    """Raises NotAManifest, with why."""
    try:
        facts = json.loads(text)
        if facts.pop("format") != _FORMAT:
            raise InvalidManifest("it is of a newer etcdup")
        manifest = Manifest(**facts | {"taken_at": datetime.fromisoformat(facts["taken_at"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidManifest(str(error) or "it is not a manifest") from None
    if manifest.name != name:
        raise InvalidManifest(f"it is of {manifest.name}")
    return manifest
