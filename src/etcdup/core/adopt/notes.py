"""The four lists of a draft: what stays, what changes at the take-over, what is lost, what the operator must decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Entries = list[tuple[str, str]]


@dataclass
class Notes:
    """The lists while the draft is made. An entry is of one member, or of all of them if the name is empty."""

    stays: Entries = field(default_factory=list)
    changes: Entries = field(default_factory=list)
    lost: Entries = field(default_factory=list)
    decide: Entries = field(default_factory=list)


def folded(entries: Entries, members: Sequence[str]) -> tuple[str, ...]:
    """Return each text once, with the members that it is about. No name means all members."""
    found: dict[str, list[str]] = {}
    for name, text in entries:
        found.setdefault(text, []).append(name)
    return tuple(f"{_names(names, members)}{text}" for text, names in found.items())


def _names(names: list[str], members: Sequence[str]) -> str:
    named = list(dict.fromkeys(filter(None, names)))
    if not named or (set(named) == set(members) and len(members) > 1):
        return ""
    return f"{', '.join(named)}: "
