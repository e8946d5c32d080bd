"""What `maintain space` prints: text and JSON. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint, shorten, table_lines
from etcdup.core.etcd.keys import key_text
from etcdup.core.maintain.breakdown import PrefixUse, ResourceUse, choose_prefixes, kubernetes_resources
from etcdup.core.maintain.growth import Growth
from etcdup.core.maintain.space import Space, Use
from etcdup.core.members.space import NO_LIMIT
from etcdup.core.spec.units import show_size, show_time

_NAME_WIDTH = 60
_LISTED = 10
_RESOURCES = 30
_LEAST_DAYS = 2
_MOST_DAYS = 3650
_COLUMNS = ("share", "keys", "size", "old revisions", "size", "on leases")


@dataclass(frozen=True)
class SpaceReport:
    """The use of one database. `at` is None for a file whose time is not known."""

    title: str
    at: datetime | None
    prefix: str
    space: Space
    quota: int
    growth: Growth | None


def render_space(report: SpaceReport, paint: Paint) -> str:
    """Return the text, with its line ends."""
    space = report.space
    since = f" of {show_time(report.at)}" if report.at else ""
    lines = [
        paint(
            "bold", f"{report.title}{since}: revision {space.revision}, history from {space.compacted or 1}"
        ),
        *table_lines(list(_summary(report))),
        *_advice(report),
    ]
    chosen = choose_prefixes(space.prefixes)
    lines += _table("prefix", ((_prefix_text(each), each.use) for each in chosen), space.whole, paint)
    resources = kubernetes_resources(space.prefixes)[:_RESOURCES]
    named = ((_resource_text(each), each.use) for each in resources)
    lines += _table("kubernetes resource", named, space.whole, paint)
    changed = [(str(rows), show_size(size), _name(key)) for key, rows, size in space.changed[:_LISTED]]
    lines += _list("keys with the most old revisions", changed, paint)
    largest = [(show_size(size), _name(key)) for key, size in space.largest[:_LISTED]]
    lines += _list("largest keys", largest, paint)
    return "\n".join(lines) + "\n"


def _summary(report: SpaceReport) -> Iterator[tuple[str, str, str]]:
    space, whole = report.space, report.space.whole
    of_quota = (
        "no quota"
        if report.quota >= NO_LIMIT
        else f"{_percent(space.file_bytes, report.quota)} of the quota of {show_size(report.quota)}"
    )
    leased = f", {whole.leased} of them on {count_text(space.leases, 'lease')}" if space.leases else ""
    more = "" if space.exact else " (too many keys to separate all old revisions from them)"
    yield "file", show_size(space.file_bytes), of_quota
    yield "keys", show_size(whole.bytes), f"{count_text(whole.keys, 'key')}{leased}{more}"
    yield "old", show_size(whole.old_bytes), f"{count_text(whole.old, 'old revision')} and deletions"
    pages = max(space.used_bytes - whole.total, 0)
    yield "pages", show_size(pages), "other buckets, and unused parts of pages"
    yield "free", show_size(space.free_bytes), "free pages, which etcd uses again"


def _advice(report: SpaceReport) -> Iterator[str]:
    space = report.space
    yield f"A compaction frees about {show_size(space.whole.old_bytes)} for new data. The file stays as large."
    freed = space.whole.old_bytes + space.free_bytes
    yield f"A defragmentation after it shrinks the file by about {show_size(freed)}."
    if report.growth is not None:
        yield _growth_text(report.growth)
    elif report.quota < NO_LIMIT:
        yield "It is not known how fast the file grows: this needs two backups that are an hour or more apart."


def _growth_text(growth: Growth) -> str:
    since = f"since {show_time(growth.since)}"
    if growth.days_to_quota is None:
        return f"The file did not grow {since}."
    grew = f"The file grew by {show_size(int(growth.bytes_per_day))} a day {since}"
    return f"{grew}: it reaches the quota in {_days_text(growth.days_to_quota)}."


def _days_text(days: float) -> str:
    if days > _MOST_DAYS:
        return f"more than {_MOST_DAYS} days"
    if days < _LEAST_DAYS:
        return f"about {count_text(round(days * 24), 'hour')}"
    return f"about {days:.0f} days"


def _table(title: str, rows: Iterator[tuple[str, Use]], whole: Use, paint: Paint) -> list[str]:
    cells = [(_shown(name), *_cells(use, whole)) for name, use in rows]
    if not cells:
        return []
    head, *lines = table_lines([(title, *_COLUMNS), *cells])
    return ["", paint("bold", head), *lines]


def _cells(use: Use, whole: Use) -> tuple[str, ...]:
    share = _percent(use.total, whole.total)
    return share, str(use.keys), show_size(use.bytes), str(use.old), show_size(use.old_bytes), str(use.leased)


def _list(title: str, rows: Sequence[tuple[str, ...]], paint: Paint) -> list[str]:
    return ["", paint("bold", f"  {title}"), *table_lines(rows)] if rows else []


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "0%"


def _prefix_text(each: PrefixUse) -> str:
    if not each.prefix:
        return "(keys without /)"
    return f"{key_text(each.prefix)} (other keys)" if each.is_part else key_text(each.prefix)


def _resource_text(each: ResourceUse) -> str:
    return f"{each.resource} in {each.namespace}" if each.namespace else each.resource


def _shown(name: str) -> str:
    return shorten(name, _NAME_WIDTH)


def _name(key: bytes) -> str:
    return _shown(key_text(key))


def space_json(report: SpaceReport) -> dict[str, Any]:
    """Return the same facts for `--json`."""
    space, growth = report.space, report.growth
    return {
        "format": 1,
        "source": report.title,
        "taken_at": report.at.isoformat() if report.at else None,
        "revision": space.revision,
        "compact_revision": space.compacted,
        "file_bytes": space.file_bytes,
        "used_bytes": space.used_bytes,
        "free_bytes": space.free_bytes,
        "quota": None if report.quota >= NO_LIMIT else report.quota,
        "leases": space.leases,
        "exact": space.exact,
        "compaction_frees": space.whole.old_bytes,
        "defragmentation_frees": space.whole.old_bytes + space.free_bytes,
        "growth": {
            "since": growth.since.isoformat(),
            "bytes_per_day": int(growth.bytes_per_day),
            "days_to_quota": growth.days_to_quota and round(growth.days_to_quota, 1),
        }
        if growth
        else None,
        **_use_json(space.whole),
        "prefix": report.prefix,
        "prefixes": [
            {"prefix": key_text(each.prefix), "is_part": each.is_part, **_use_json(each.use)}
            for each in choose_prefixes(space.prefixes)
        ],
        "kubernetes": [
            {"resource": each.resource, "namespace": each.namespace or None, **_use_json(each.use)}
            for each in kubernetes_resources(space.prefixes)
        ],
        "most_changed": [
            {"key": key_text(key), "old": rows, "old_bytes": size} for key, rows, size in space.changed
        ],
        "largest": [{"key": key_text(key), "bytes": size} for key, size in space.largest],
    }


def _use_json(use: Use) -> dict[str, int]:
    return {
        "keys": use.keys,
        "bytes": use.bytes,
        "old": use.old,
        "old_bytes": use.old_bytes,
        "keys_on_leases": use.leased,
    }
