"""The causes of a verdict, as text and as data. `status`, `health` and `plan` show them in the same way. Pure."""

from collections.abc import Iterable
from typing import Any

from etcdup.cli.views.text import Paint, hint_lines, wrap_text
from etcdup.core.verdict.cause import Cause

_INDENT = "      "


def cause_lines(causes: Iterable[Cause], paint: Paint, width: int) -> list[str]:
    """Return each cause with its effects and its hint below it."""
    lines = []
    shown = list(causes)
    for number, each in enumerate(shown, 1):
        symbol, colour = ("✗", "red") if each.level == "wrong" else ("!", "yellow")
        first, *rest = wrap_text(f"{symbol} {each.what}", width, "  ", _INDENT)
        lines += [first.replace(symbol, paint(colour, symbol), 1), *rest]
        for effect in each.effects:
            lines += wrap_text(effect, width, _INDENT)
        if number < len(shown) and shown[number].hint == each.hint:
            continue  # The next cause has the same hint.
        lines += hint_lines(each.hint, width, _INDENT, paint("bold cyan", "hint:"))
    return lines


def causes_json(causes: Iterable[Cause]) -> list[dict[str, Any]]:
    return [
        {
            "code": each.code,
            "level": each.level,
            "hosts": list(each.hosts),
            "what": each.what,
            "effects": list(each.effects),
            "hint": each.hint,
            "by_apply": each.by_apply,
        }
        for each in causes
    ]
