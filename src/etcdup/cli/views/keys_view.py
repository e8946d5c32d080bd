"""What `restore-keys` would write, and what it did not write: text and JSON. No value is shown. Pure."""

from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import shorten, table_lines
from etcdup.core.etcd.keys import key_text
from etcdup.core.restore.restore_keys import Conflict, KeyComparison, KeyWrite
from etcdup.core.spec.units import show_size

_LISTED = 20
_KEY_WIDTH = 100
_PREFIXES = 5
_LEASED_TEXT = (
    "  A lease is a claim of a process of that time. `--with-leased-keys` writes its keys, without a lease."
)
# A program gets so many keys. A change can have hundreds of thousands.
_IN_JSON = 1000


def render_comparison(comparison: KeyComparison, title: str, revision: int) -> str:
    """Return the counts, and then the first keys: those first whose present value would be lost."""
    prefix = key_text(comparison.prefix)
    target = key_text(comparison.target)
    onto = f", written to {target}" if comparison.target != comparison.prefix else ""
    lines = [f"{title}: keys that begin with {prefix or '(every prefix)'} at revision {revision}{onto}"]
    lines += table_lines(_count_rows(comparison, revision))
    if comparison.leased:
        lines.append(_LEASED_TEXT)
    lines += _key_lines(comparison)
    return "\n".join(lines) + "\n"


def _count_rows(comparison: KeyComparison, revision: int) -> list[tuple[str, str, str, str]]:
    over, new, leased = comparison.overwritten, comparison.created, sum(comparison.leased.values())
    prefixes = ", ".join(f"{name} {count}" for name, count in comparison.leased.most_common(_PREFIXES))
    rows = [
        ("create", new, len(new), "they do not exist now"),
        ("unchanged", [], comparison.unchanged, "they have these values now"),
        ("not deleted", [], comparison.others, f"they exist now, and did not at revision {revision}"),
        ("left out", [], leased, f"they were on leases: {prefixes}"),
    ]
    return [
        ("overwrite", _keys(len(over)), _sizes(over), _overwritten_text(over)),
        *((kind, _keys(count), _sizes(writes), why) for kind, writes, count, why in rows if count),
    ]


def _overwritten_text(over: Sequence[KeyWrite]) -> str:
    if not over:
        return "no present value is lost"
    text = f"they have other values now, of {show_size(sum(each.found_size for each in over))}"
    on_leases = sum(each.found_lease != 0 for each in over)
    return f"{text}; leases of {_keys(on_leases)} are removed" if on_leases else text


def _key_lines(comparison: KeyComparison) -> list[str]:
    listed = sorted(comparison.writes, key=lambda each: (not each.found, each.key))[:_LISTED]
    lines = [""] if listed else []
    lines += [f"  {_change(each)}  {shorten(key_text(each.key), _KEY_WIDTH)}" for each in listed]
    if more := len(comparison.writes) - len(listed):
        lines.append(f"  and {count_text(more, 'more key')}")
    return lines


def _change(write: KeyWrite) -> str:
    size = f"{show_size(write.size)} of revision {write.row[0]}"
    if not write.found:
        return f"create     {size}"
    return f"overwrite  {size} over {show_size(write.found_size)} of revision {write.found}"


def conflict_lines(conflicts: Sequence[Conflict]) -> str:
    """Return one line for each key that was not written."""
    return "".join(f"not written: {key_text(each.key)}: {_why(each)}\n" for each in conflicts)


def _why(conflict: Conflict) -> str:
    if conflict.why:
        return conflict.why
    if conflict.found == conflict.shown:
        return "other clients changed keys of the same request again and again"
    was = f"it had revision {conflict.shown}" if conflict.shown else "it did not exist"
    now = f"has revision {conflict.found} now" if conflict.found else "does not exist now"
    return f"{was} when it was shown, and {now}"


def comparison_json(comparison: KeyComparison, title: str, revision: int) -> dict[str, Any]:
    """Return what would be written, with the first 1000 keys."""
    over, new = comparison.overwritten, comparison.created
    listed = sorted(comparison.writes, key=lambda each: (not each.found, each.key))[:_IN_JSON]
    return {
        "source": title,
        "revision": revision,
        "prefix": key_text(comparison.prefix),
        "to_prefix": key_text(comparison.target),
        "overwrite": len(over),
        "create": len(new),
        "bytes": comparison.bytes,
        "unchanged": comparison.unchanged,
        "not_deleted": comparison.others,
        "left_out": sum(comparison.leased.values()),
        "first": [
            {
                "key": key_text(each.key),
                "bytes": each.size,
                "revision": each.row[0],
                "present_revision": each.found or None,
                "present_bytes": each.found_size if each.found else None,
            }
            for each in listed
        ],
    }


def conflicts_json(conflicts: Sequence[Conflict]) -> list[dict[str, Any]]:
    return [
        {
            "key": key_text(each.key),
            "shown_revision": each.shown or None,
            "present_revision": each.found or None,
            "why": each.why or None,
        }
        for each in conflicts
    ]


def _keys(number: int) -> str:
    return f"{number:,} key" if number == 1 else f"{number:,} keys"


def _sizes(writes: Sequence[KeyWrite]) -> str:
    return show_size(sum(each.size for each in writes)) if writes else ""
