"""The log of the present starts of etcd.service, from the JSON of journalctl.

systemd gives each start an invocation ID. So the lines of a process that was stopped before are not read as a reason
why the present start fails.
"""

from collections.abc import Iterator

from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.json_object import json_object

# systemd's own messages about the unit have INVOCATION_ID, and the lines of its processes _SYSTEMD_INVOCATION_ID.
ID_FIELDS = ("INVOCATION_ID", "_SYSTEMD_INVOCATION_ID")
# etcd writes some lines a hundred times a second, and they hide the lines before them. So many lines are read.
LOG_ARGV = (
    "journalctl", "--unit=etcd.service", "--since=-5min", "--lines=1000", "--no-pager", "--output=json",
    f"--output-fields={','.join(('MESSAGE', *ID_FIELDS))}",
)  # fmt: skip


def lines_of_starts(output: str, unit: UnitSeen, count: int) -> list[list[str]]:
    """Return the lines of the last `count` starts, the newest last. A start that is still queued has no lines."""
    if unit.queued:
        return []
    starts: dict[str, list[str]] = {}
    for invocation, text in _entries(output):
        starts.setdefault(invocation, []).append(text)
    if unit.invocation:  # A start of a moment ago may have no lines yet.
        starts[unit.invocation] = starts.pop(unit.invocation, [])
    return list(starts.values())[-count:]


def _entries(output: str) -> Iterator[tuple[str, str]]:
    """Yield the invocation ID and the message of each entry. Entries without them are left out."""
    for line in output.splitlines():
        entry = json_object(line)
        invocation = next((entry[name] for name in ID_FIELDS if entry.get(name)), None)
        if isinstance(invocation, str) and (text := message_text(entry.get("MESSAGE"))):
            yield invocation, text


def message_text(value: object) -> str:
    """Return a message as text. journalctl shows one that is not printable as an array of bytes."""
    if isinstance(value, list):
        try:
            return bytes(value).decode(errors="replace")
        except (TypeError, ValueError):
            return ""
    return value if isinstance(value, str) else ""
