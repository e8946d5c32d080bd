"""etcd versions: parsing, order, and what each minor has or lacks."""

import re
from typing import NamedTuple

_VERSION = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)$")


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


def parse_version(value: object) -> Version:
    """`3.6.14` or `v3.6.14`. Raises ValueError, in words for the operator.

    YAML reads an unquoted `3.6` as a number, so a number is answered with what to write instead.
    """
    if isinstance(value, Version):
        return value
    match = _VERSION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"`{value}` is not an etcd version; write all three parts, like 3.6.14")
    return Version(int(match[1]), int(match[2]), int(match[3]))


def has_etcdutl(version: Version) -> bool:
    """3.5 brought etcdutl; before, etcdctl does the offline work (rule 59)."""
    return version >= (3, 5, 0)
