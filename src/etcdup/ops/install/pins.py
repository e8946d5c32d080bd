"""Checksums of official releases, which are part of etcdup."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from etcdup.core.spec.version import DEFAULT_MINOR, Version, parse_version
from etcdup.errors import InstallError

Pins = Mapping[Version, Mapping[str, str]]


@cache
def load_pins() -> Pins:
    """Return the sha256 of each official tarball, by version and architecture (data/etcd-release-sha256.json)."""
    text = files("etcdup").joinpath("data/etcd-release-sha256.json").read_text(encoding="utf-8")
    return {parse_version(version): sums for version, sums in json.loads(text)["sha256"].items()}


def trusted_sums(version: Version, given: Mapping[str, str], pins: Pins) -> dict[str, str]:
    """Return the checksums of a release by architecture: those that are pinned, and `install.sha256`.

    Raises InstallError if the two differ: `install.sha256` is then of another version.
    """
    pinned = pins.get(version, {})
    for arch in sorted(given.keys() & pinned.keys()):
        if given[arch].lower() != pinned[arch]:
            raise InstallError(
                f"`install.sha256` of {arch} is not the checksum of etcd {version}, which is {pinned[arch]}",
                hint=f"remove `{arch}` from `install.sha256`: etcdup has the checksum of this release. For binaries "
                "that you built, use `from: path`",
            )
    return {**pinned, **{arch: checksum.lower() for arch, checksum in given.items()}}


def newest_pinned(pins: Pins) -> Version:
    """Return the newest release of the default minor whose checksum is pinned. `init` writes it."""
    return max(version for version in pins if (version.major, version.minor) == DEFAULT_MINOR)
