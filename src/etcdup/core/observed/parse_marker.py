"""Parse the marker of a host by a strict grammar: root on the host may have written anything into the file.

The values end in etcd.conf, in paths of commands and in the plan. An unknown key, another type or a value that etcdup
does not write makes the whole marker unreadable. Then the host counts as one that cannot be observed.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from etcdup.core.observed.marker import ADOPTED_STAGES, Marker, Restored
from etcdup.core.spec.plain_value import is_member_name, is_member_url, is_token

# A marker has less than 2 KiB, and a further token for each restore.
MAX_MARKER_CHARS = 65_536
# Revisions are numbers of 64 bits. This is enough for a million restores, and far from the largest number.
MAX_BUMP = 10**15
MAX_FORMER = 256
# A cluster has up to seven members, and up to eight while it changes.
MAX_ENDPOINTS = 16

_PATH = re.compile(r"/[A-Za-z0-9_.,:/@+=-]{0,1023}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", re.ASCII)
_ASIDE = re.compile(r"aside-[A-Za-z0-9-]{1,40}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEMBER_ID = re.compile(r"[0-9a-f]{1,16}")
_OPTIONAL = ("replaces", "mount", "restored", "endpoints", "etcd_name", "adopted", "settings")
_STAGES = ("staged", "placed", "open", "done", "undo", "undone", "joined")


class UnreadableMarker(ValueError):
    """The file is not a marker that etcdup wrote. The text names the key, and contains nothing of the file."""


def parse_marker(text: str) -> Marker:
    """Return the marker. Raise UnreadableMarker."""
    if len(text) > MAX_MARKER_CHARS:
        raise UnreadableMarker("it is too long")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableMarker("it is not JSON") from None
    _check(values, _MARKER, optional=_OPTIONAL)
    restored = values.pop("restored", None)
    endpoints = tuple(values.pop("endpoints", ()))
    return Marker(**values, restored=restored and _restored(restored), endpoints=endpoints)


def _restored(values: dict[str, Any]) -> Restored:
    return Restored(**{**values, "former": tuple(values.get("former", ()))})


def _check(values: object, grammar: Mapping[str, Callable[[Any], bool]], optional: tuple[str, ...]) -> None:
    """Raise UnreadableMarker unless the values have exactly the keys of the grammar, each with a valid value."""
    if not isinstance(values, dict):
        raise UnreadableMarker("it is not a table")
    if values.keys() - grammar.keys():
        raise UnreadableMarker("it has a key that this version of etcdup does not know")
    for key, is_valid in grammar.items():
        if key not in values and key not in optional:
            raise UnreadableMarker(f"it has no `{key}`")
        if key in values and not is_valid(values[key]):
            raise UnreadableMarker(f"the value of `{key}` is not valid")


def _matches(pattern: re.Pattern[str], *, or_empty: bool = False) -> Callable[[Any], bool]:
    def is_valid(value: Any) -> bool:
        return isinstance(value, str) and (pattern.fullmatch(value) is not None or (or_empty and not value))

    return is_valid


def _list_of(is_valid: Callable[[Any], bool], most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(is_valid, value))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_bump(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_BUMP


def _is_restored(value: object) -> bool:
    """Return True, or raise UnreadableMarker with the key in the history of restores."""
    _check(value, _RESTORED, optional=("bump", "former", "undoes", "again", "members"))
    return True


_RESTORED: Mapping[str, Callable[[Any], bool]] = {
    "sha256": _matches(_SHA256, or_empty=True),
    "stage": lambda value: isinstance(value, str) and value in _STAGES,
    "aside": _matches(_ASIDE, or_empty=True),
    "bump": _is_bump,
    "former": _list_of(is_token, MAX_FORMER),
    "undoes": _matches(_ASIDE, or_empty=True),
    "again": _matches(_ASIDE, or_empty=True),
    "members": _matches(_DIGEST, or_empty=True),
}
_MARKER: Mapping[str, Callable[[Any], bool]] = {
    "cluster": _matches(_NAME),
    "member": _matches(_NAME),
    "token": is_token,
    "data_dir": _matches(_PATH),
    "formed": _is_flag,
    "replaces": _matches(_MEMBER_ID, or_empty=True),
    "mount": _is_flag,
    "restored": _is_restored,
    "endpoints": _list_of(is_member_url, MAX_ENDPOINTS),
    "etcd_name": is_member_name,
    "adopted": lambda value: isinstance(value, str) and value in ADOPTED_STAGES,
    "settings": _matches(_SHA256),
}
