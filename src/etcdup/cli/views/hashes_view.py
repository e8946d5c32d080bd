"""The hashes of the data of all members, as text and as data. Pure."""

from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.text import Paint
from etcdup.core.audit.findings import MemberHash
from etcdup.core.audit.hashes import Outcome, compaction_text, outcome_of

_TEXTS: dict[Outcome, str] = {
    "same": "the data of all members is the same",
    "different": "the data of the members is different",
    "not compared": "the data of the members was not compared",
}
_COLOURS: dict[Outcome, str] = {"same": "green", "different": "red", "not compared": "yellow"}


def render_hashes(hashes: Sequence[MemberHash], paint: Paint) -> str:
    """Return one line for each member, and the outcome."""
    outcome = outcome_of(hashes)
    width = max((len(each.member) for each in hashes), default=0)
    lines = [f"{each.member:<{width}}  {_hash_text(each)}" for each in hashes]
    return "\n".join([*lines, paint(f"bold {_COLOURS[outcome]}", _TEXTS[outcome])]) + "\n"


def _hash_text(each: MemberHash) -> str:
    if each.why:
        return f"no hash: {each.why}"
    return f"hash {each.value:08x} at revision {each.revision}, {compaction_text(each)}"


def hashes_json(cluster: str, hashes: Sequence[MemberHash]) -> dict[str, Any]:
    return {
        "format": 1,
        "cluster": cluster,
        "outcome": outcome_of(hashes),
        "members": [
            {
                "name": each.member,
                "hash": None if each.why else f"{each.value:08x}",
                "revision": None if each.why else each.revision,
                "compacted": None if each.why else each.compacted,
                "why": each.why or None,
            }
            for each in hashes
        ],
    }
