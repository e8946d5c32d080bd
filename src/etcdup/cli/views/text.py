"""Text for people, with colours or without, and the JSON of `--json`. A colour never says more than its word."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import IO, Any

from etcdup.core.spec.visible import LINE_LIMIT, visible, visible_values

# The colours of etcdup have this number, which differs in each run. So no text from elsewhere has a colour.
_OWN = str(int.from_bytes(os.urandom(6)))
_PAINTED = re.compile(rf"\x1b\[([0-9;]{{1,9}});{_OWN}m")
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# A command of etcdup that uses cluster.yaml. The holder of a lock has typed another one: `etcdup apply` since TIME.
_COMMAND = re.compile(
    r"`etcdup (?!(?:demo|explain|help|schema)\b)(?![^`]*(?:-f |--help|--version))(?=[^`]*`(?! since\b))"
)
# A space at which `wrap` does not break a line: a command stays on one line and can be copied.
_FIXED_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Paint:
    """Add ANSI colours to text if `colour` is set."""

    colour: bool = False

    @classmethod
    def for_stream(cls, stream: IO[str]) -> "Paint":
        """Use colours on a terminal that has them, unless $NO_COLOR is set (https://no-color.org)."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(stream.isatty() and not plain)

    def __call__(self, style: str, text: str) -> str:
        """Return the text in this style, which is one or more words such as `bold red`."""
        if not self.colour or not text:
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes};{_OWN}m{text}\x1b[0;{_OWN}m"


def to_terminal(text: str) -> str:
    """Return the text as it is written to a terminal: with the colours of Paint, and without other control characters.

    Each line is cut to LINE_LIMIT.
    """
    return "".join(
        f"\x1b[{part}m" if number % 2 else "\n".join(visible(line, LINE_LIMIT) for line in part.split("\n"))
        for number, part in enumerate(_PAINTED.split(text))
    )


def name_file(text: str, option: str) -> str:
    """Return the text with `option`, which is `-f FILE` or empty, in each command that uses cluster.yaml."""
    return _COMMAND.sub(lambda found: f"{found[0]}{option} ", text) if option else text


def json_text(facts: Mapping[str, Any], indent: int | None = 1) -> str:
    """Return one JSON document with its line end, as every `--json` prints it."""
    import json  # not at the start: `--help` needs none

    return json.dumps(visible_values(facts), indent=indent, ensure_ascii=False) + "\n"


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows with aligned columns, each indented by two spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def shorten(text: str, width: int) -> str:
    """Return the text on one line, cut to this width."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def wrap_text(text: str, width: int, indent: str = "", hanging: str | None = None) -> list[str]:
    """Return the text as lines of this width. Words, addresses and commands in backquotes stay whole.

    `hanging` is the indent of the lines after the first one; without it they have the same indent.
    """
    whole = re.sub(r"`[^`]*`", lambda match: match[0].replace(" ", _FIXED_SPACE), text)
    lines = wrap(
        whole,
        width,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_FIXED_SPACE, " ") for line in lines]


def hint_lines(hint: str, width: int, indent: str, label: str) -> list[str]:
    """Return a hint below its message: `label`, which is `hint:` in a colour, and then each line of the hint."""
    hanging = indent + " " * len("hint: ")
    lines = [wrapped for line in hint.splitlines() for wrapped in wrap_text(line, width, hanging)]
    return [f"{indent}{label} {lines[0].strip()}", *lines[1:]] if lines else []
