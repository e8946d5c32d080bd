"""What fills a database, and why it would be full again."""

from collections.abc import Iterator
from typing import Literal

from etcdup.core.etcd.keys import key_text
from etcdup.core.maintain.breakdown import choose_prefixes
from etcdup.core.maintain.space import Space
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import Revisions, show_duration, show_size
from etcdup.core.spec.visible import one_line

Cause = Literal["free-pages", "often-written-keys", "replaced-keys", "present-keys"]
_SHOWN = 3
_NAME_WIDTH = 60
# A prefix with a smaller share is not named.
_LEAST_SHARE = 0.05
# A few keys that have this share of the history are the cause of it.
_MOST = 0.5
# Keys with this share of the quota leave little space for history and free pages.
_MUCH_DATA = 0.5


def cause_of(space: Space) -> Cause:
    """Return what uses most of the file."""
    old = space.whole.old_bytes
    if space.free_bytes >= max(old, space.whole.bytes):
        return "free-pages"
    if space.whole.bytes > old:
        return "present-keys"
    listed = sum(size for _, _, size in space.changed)
    return "often-written-keys" if listed >= _MOST * old else "replaced-keys"


def explain_cause(space: Space) -> str:
    """Return the cause with its numbers, as a sentence without a full stop."""
    file = show_size(space.file_bytes)
    match cause_of(space):
        case "free-pages":
            return (
                f"{show_size(space.free_bytes)} of the {file} are free pages of deleted data, which only a "
                "defragmentation removes from the file"
            )
        case "often-written-keys":
            keys = ", ".join(
                f"{_name(key)} was written {rows + 1} times" for key, rows, _ in space.changed[:_SHOWN]
            )
            old = show_size(space.whole.old_bytes)
            return f"{old} of the {file} are the history of keys that are written often: {keys}"
        case "replaced-keys":
            return (
                f"{show_size(space.whole.old_bytes)} of the {file} are {space.whole.old} old revisions and deletions, "
                f"most of them below {_old_prefixes(space)}"
            )
        case "present-keys":
            return f"{show_size(space.whole.bytes)} of the {file} are present keys: {used_by(space)}"


def used_by(space: Space) -> str:
    """Return which prefixes use most bytes, with their history."""
    least = max(_LEAST_SHARE * space.whole.total, 1)
    rows = [each for each in choose_prefixes(space.prefixes) if each.use.total >= least][:_SHOWN]
    shown = ", ".join(
        f"{_name(each.prefix) or 'keys without /'} ({show_size(each.use.bytes)}, "
        f"and {show_size(each.use.old_bytes)} of history)"
        for each in rows
    )
    if not shown:
        return "the database has no keys"
    whole = space.whole
    expiring = f". {whole.leased} of {whole.keys} keys are on leases: etcd deletes them when their leases end"
    return f"most of the space is used by {shown}{expiring if whole.leased > whole.keys / 2 else ''}"


def reasons_to_return(spec: Spec, space: Space, quota: int) -> Iterator[str]:
    """Yield why the database would be full again, with what the operator can do."""
    retention = spec.etcd.auto_compaction
    if not retention:
        yield (
            "`auto_compaction` is 0: etcd keeps the history until a client compacts it, as kube-apiserver does. "
            "Otherwise set `auto_compaction` below `etcd` in cluster.yaml"
        )
    match cause_of(space):
        case "often-written-keys":
            yield f"clients write the key {_name(space.changed[0][0])} again and again: {_find_them(retention)}"
        case "replaced-keys":
            yield f"clients write and delete many keys below {_old_prefixes(space)}: {_find_them(retention)}"
        case "free-pages":
            yield "the file grows again if clients write as much again: `etcdup check` reports it before it is full"
        case "present-keys":
            yield "the present keys stay: find out which of them are not needed"
    if space.whole.bytes > _MUCH_DATA * quota:
        yield (
            f"the present keys need {show_size(space.whole.bytes)} of {show_size(quota)}: raise `quota` below `etcd` "
            "in cluster.yaml"
        )


def _find_them(retention: int | Revisions) -> str:
    if not retention:
        return "find these clients"
    kept = f"{retention.count} revisions" if isinstance(retention, Revisions) else show_duration(retention)
    return f"find these clients, or set `auto_compaction` below `etcd` to less than {kept}"


def _old_prefixes(space: Space) -> str:
    rows = sorted(space.prefixes.items(), key=lambda each: (-each[1].old_bytes, each[0]))[:_SHOWN]
    return ", ".join(
        _name(name) or "no prefix" for name, use in rows if use.old_bytes >= rows[0][1].old_bytes / 4
    )


def _name(key: bytes) -> str:
    return one_line(key_text(key), _NAME_WIDTH)
