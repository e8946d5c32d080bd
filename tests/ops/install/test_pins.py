"""The checksums of releases that are part of etcdup."""

import re
from itertools import pairwise
from pathlib import Path

from etcdup.core.spec.version import DEFAULT_MINOR, NEWEST
from etcdup.ops.install.pins import load_pins, newest_pinned

PAGE = Path(__file__).parents[3] / "docs/reference/install-sources.md"
BOTH = ("amd64", "arm64")


def test_each_supported_minor_has_releases_with_a_checksum_for_each_architecture() -> None:
    for minor in NEWEST:
        releases = [sums for each, sums in load_pins().items() if (each.major, each.minor) == minor]
        assert any(set(BOTH) <= sums.keys() for sums in releases), minor


def test_each_checksum_is_one_and_of_one_release() -> None:
    found = [digest for sums in load_pins().values() for digest in sums.values()]
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in found)
    assert len(set(found)) == len(found), "a release with the checksum of another one"


def test_releases_are_in_order() -> None:
    assert all(one < other for one, other in pairwise(load_pins()))


def test_a_new_cluster_gets_a_release_that_is_pinned_for_both_architectures() -> None:
    newest = newest_pinned(load_pins())
    assert (newest.major, newest.minor) == DEFAULT_MINOR
    assert set(BOTH) <= load_pins()[newest].keys()


def test_the_page_lists_these_releases() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for minor in NEWEST:
        row = re.search(rf"^\| {minor[0]}\.{minor[1]} \| (.+) \|$", page, re.MULTILINE)
        assert row is not None
        of_both, _, of_amd64 = row[1].partition("; for amd64 only: ")
        pinned = {each: sums for each, sums in load_pins().items() if (each.major, each.minor) == minor}
        assert listed(of_both) == {str(each) for each, sums in pinned.items() if set(BOTH) <= sums.keys()}
        assert listed(of_amd64) == {str(each) for each, sums in pinned.items() if "arm64" not in sums}


def listed(text: str) -> set[str]:
    """Return the releases in `3.5.0, 3.5.3 to 3.5.33`."""
    found: set[str] = set()
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition(" to ")
        minor, _, patch = first.rpartition(".")
        found |= {
            f"{minor}.{each}" for each in range(int(patch), int((last or first).rpartition(".")[2]) + 1)
        }
    return found
