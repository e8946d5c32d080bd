"""Checksums of official releases, which are part of etcdup."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from etcdup.core.spec.version import Version, parse_version

Pins = Mapping[Version, Mapping[str, str]]


@cache
def load_pins() -> Pins:
    """Return the sha256 of each official tarball, by version and architecture (data/etcd-release-sha256.json)."""
    text = files("etcdup").joinpath("data/etcd-release-sha256.json").read_text(encoding="utf-8")
    return {parse_version(version): sums for version, sums in json.loads(text)["sha256"].items()}


def newest_pinned(pins: Pins) -> Version:
    """Return the newest release whose checksum is pinned. `init` writes it."""
    return max(pins)
