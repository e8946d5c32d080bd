"""What `backup log` prints: text and JSON lines. Pure."""

from datetime import datetime
from typing import Any

from etcdup.core.backups.change_log import KeyChange
from etcdup.core.etcd.keys import key_text
from etcdup.core.spec.units import show_size, show_time

Times = tuple[datetime | None, datetime | None]


def times_line(times: Times) -> str:
    """Return the line above the changes between two known times."""
    after, before = times
    if after and before:
        return f"{show_time(after)} to {show_time(before)}\n"
    if after:
        return f"after {show_time(after)}\n"
    return f"before {show_time(before)}\n" if before else "the times are not known\n"


def change_line(change: KeyChange) -> str:
    size = show_size(change.size) if change.kind in ("created", "updated") else ""
    key = key_text(change.key) or "(the revisions were raised by a restore)"
    lease = f"  on lease {change.lease:016x}" if change.lease else ""
    return f"  {change.revision:>12}  {change.kind:8}  {size:>10}  {key}{lease}\n"


def change_json(change: KeyChange, times: Times) -> dict[str, Any]:
    after, before = times
    return {
        "revision": change.revision,
        "number": change.number,
        "change": change.kind,
        "key": key_text(change.key),
        "bytes": change.size,
        "lease": f"{change.lease:016x}" if change.lease else None,
        "after": after.isoformat() if after else None,
        "before": before.isoformat() if before else None,
    }
