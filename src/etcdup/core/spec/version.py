"""etcd versions: parsing, order, the series that etcdup knows, and the newest release of each."""

import re
from typing import NamedTuple

from etcdup.core.spec.units import WrongValue

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})", re.ASCII)
_PRERELEASE = re.compile(r"v?\d{1,6}\.\d{1,6}\.\d{1,6}[-+].+", re.ASCII)
_SERIES = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.x)?", re.ASCII)


class Version(NamedTuple):
    """An etcd release, ordered as releases are."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor: what decides compatibility between members."""
        return (self.major, self.minor)


# Flags, files and tools change by series (rule 51), so another series cannot be guessed at.
# The newest patch of each, as the rulebook's table of known-bad versions recommends them.
NEWEST = {
    (3, 4): Version(3, 4, 45),
    (3, 5): Version(3, 5, 33),
    (3, 6): Version(3, 6, 14),
    (3, 7): Version(3, 7, 1),
}


def parse_version(value: object) -> Version:
    """`3.6.14` or `v3.6.14`. Raises WrongValue.

    YAML reads an unquoted `3.6` as a number, so a number is answered with what to write instead.
    """
    if isinstance(value, Version):
        return value
    text = str(value).strip()
    match = _VERSION.fullmatch(text)
    if match is None:
        raise WrongValue(_why_not(text), _what_instead(text))
    return Version(int(match[1]), int(match[2]), int(match[3]))


def _why_not(text: str) -> str:
    if _SERIES.fullmatch(text):
        return f"`{text}` is a series, not a version"
    if _PRERELEASE.fullmatch(text):
        return f"`{text}` is not a plain release; etcdup runs releases only"
    return f"`{text}` is not an etcd version"


def _what_instead(text: str) -> str:
    series = _SERIES.fullmatch(text)
    newest = NEWEST.get((int(series[1]), int(series[2]))) if series else None
    return f"write all three parts, like {newest or NEWEST[max(NEWEST)]}"


def has_etcdutl(version: Version) -> bool:
    """3.5 brought etcdutl; before, etcdctl does the offline work (rule 59)."""
    return version >= (3, 5, 0)
