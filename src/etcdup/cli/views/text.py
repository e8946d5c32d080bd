"""Colours, or none. What is said in colour is always said in words too."""

import os
from dataclasses import dataclass
from typing import IO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True)
class Paint:
    """Wraps text in ANSI colours when `colour` is set."""

    colour: bool = False

    @classmethod
    def for_stream(cls, stream: IO[str]) -> "Paint":
        """In colour on a terminal that has some, unless $NO_COLOR is set (no-color.org)."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(stream.isatty() and not plain)

    def __call__(self, style: str, text: str) -> str:
        """`style` is one or more words, such as `bold red`."""
        if not self.colour or not text:
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"
