"""Make text from hosts, members, stores and files safe to show: in a terminal, in JSON, in the journal and in logs.

A terminal acts on control characters: they can erase lines, set its title, or write its clipboard. Bidirectional marks
change the order of the text that is shown. Such characters are shown as escapes, for example `\\x1b`. Every output of
etcdup passes through here once, at its boundary.
"""

import re
from collections.abc import Mapping
from typing import Any

# Control characters except line feed and tab, line separators, bidirectional marks, tag characters, and surrogates,
# which cannot be encoded.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
# More than any line, value or message that etcdup makes itself.
LINE_LIMIT = 200_000
VALUE_LIMIT = 65_536
MESSAGE_LIMIT = 16_384
REASON_LIMIT = 1000


def visible(text: str, limit: int = VALUE_LIMIT) -> str:
    """Return the text with escapes for the characters that a terminal acts on, cut to `limit` characters."""
    cut = text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
    return _UNSAFE.sub(_escape, cut)


def one_line(text: str, limit: int = REASON_LIMIT) -> str:
    """Return a reason or a name from elsewhere on one line, so that it cannot look like a line of etcdup."""
    return " ".join(visible(text, limit).split())


def visible_values(value: Any) -> Any:
    """Return a value of JSON in which each text, keys included, is visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_values(key): visible_values(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [visible_values(each) for each in value]
    return value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
