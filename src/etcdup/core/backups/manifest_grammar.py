"""What the values of a manifest may be. A client of the store can write any manifest."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

from etcdup.core.spec.age_key import is_public_key
from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import parse_version
from etcdup.core.spec.visible import one_line

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{1,16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Larger than any database of etcd, and any revision, can be.
_MOST = 2**63 - 1
_MOST_MEMBERS = 64
_TEXT_LIMIT = 256


def manifest_fault(facts: Mapping[str, Any]) -> str:
    """Return a key that is unknown, or whose value is missing or not valid. Return an empty text if there is none."""
    wrong = (key for key, is_valid in _GRAMMAR.items() if not is_valid(facts.get(key, _DEFAULTS.get(key))))
    unknown = (one_line(key) for key in facts if key not in _GRAMMAR)
    return next(chain(wrong, unknown), "")


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= _TEXT_LIMIT


def _is_version(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_version(value))
    except WrongValue:
        return False


def _is_time(value: object) -> bool:
    """Return whether this is a time with its zone. Times without one cannot be compared with the others."""
    return isinstance(value, datetime) and value.tzinfo is not None


def _are_members(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MOST_MEMBERS
        and all(map(_is_text, (*value, *value.values())))
    )


_GRAMMAR: Mapping[str, Callable[[Any], bool]] = {
    "name": _matches(_NAME),
    "cluster": _matches(_NAME),
    "cluster_id": _matches(_ID),
    "member": _is_text,
    "members": _are_members,
    "version": _is_version,
    "taken_at": _is_time,
    "size": _is_number,
    "sha256": _matches(_SHA256),
    "revision": _is_number,
    "keys": _is_number,
    "kv_hash": _is_number,
    "compact_revision": lambda value: _is_number(value) or value == -1,
    "canary": _is_text,
    "encrypted_to": lambda value: value == "" or (isinstance(value, str) and is_public_key(value)),
    "stored_size": _is_number,
    "stored_sha256": lambda value: value == "" or _matches(_SHA256)(value),
    "pki_size": _is_number,
    "pki_sha256": lambda value: value == "" or _matches(_SHA256)(value),
}
_DEFAULTS = {"encrypted_to": "", "stored_size": 0, "stored_sha256": "", "pki_size": 0, "pki_sha256": ""}
