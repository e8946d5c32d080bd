"""Versions of etcd: parsing, order, the minors that etcdup supports, and the newest release of each."""

import re
from typing import NamedTuple

from etcdup.core.spec.units import WrongValue

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})", re.ASCII)
_PRERELEASE = re.compile(r"v?\d{1,6}\.\d{1,6}\.\d{1,6}[-+].+", re.ASCII)
_SERIES = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.x)?", re.ASCII)


class Version(NamedTuple):
    """A release of etcd. Versions compare in the order of releases."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def series(self) -> tuple[int, int]:
        """Return major and minor. They decide whether members are compatible."""
        return (self.major, self.minor)


# The minors that etcdup supports, each with its newest patch release. Flags, files and tools differ between minors
# (rule 51), so etcdup refuses a minor that is not in this table.
NEWEST = {
    (3, 4): Version(3, 4, 45),
    (3, 5): Version(3, 5, 33),
    (3, 6): Version(3, 6, 14),
    (3, 7): Version(3, 7, 1),
}
# The minor of new clusters, which current releases of kubeadm install too.
DEFAULT_MINOR = (3, 6)


def parse_version(value: object) -> Version:
    """Return the version of `3.6.14` or `v3.6.14`. Raise WrongValue for any other value.

    YAML reads an unquoted `3.6` as a number. The message then says what to write instead.
    """
    if isinstance(value, Version):
        return value
    text = str(value).strip()
    match = _VERSION.fullmatch(text)
    if match is None:
        raise WrongValue(_fault(text), _hint(text))
    return Version(int(match[1]), int(match[2]), int(match[3]))


def _fault(text: str) -> str:
    if _SERIES.fullmatch(text):
        return f"`{text}` is a minor version without a patch number"
    if _PRERELEASE.fullmatch(text):
        return f"`{text}` is not a release; pre-releases and builds of distributions are not supported"
    return f"`{text}` is not an etcd version"


def _hint(text: str) -> str:
    series = _SERIES.fullmatch(text)
    newest = NEWEST.get((int(series[1]), int(series[2]))) if series else None
    return f"write major, minor and patch, for example {newest or NEWEST[max(NEWEST)]}"


def has_etcdutl(version: Version) -> bool:
    """Return True if this version has etcdutl, which 3.5 added. Before, etcdctl does the offline work (rule 59)."""
    return version >= (3, 5, 0)
