"""Versions of etcd: which texts are accepted, and the messages for those that are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import NEWEST, Version, has_etcdutl, parse_version
from tests.support.texts import Texts


@pytest.mark.parametrize("written", ["3.6.14", "v3.6.14", " 3.6.14 ", Version(3, 6, 14)])
def test_versions(written: object) -> None:
    assert parse_version(written) == Version(3, 6, 14) == (3, 6, 14)


@pytest.mark.parametrize(
    "written",
    [
        3.6,
        "3.5",
        "v3.4.x",
        "9.9",
        "3.7.0-rc.1",
        "3.4.23+dfsg",
        "latest",
        "",
        3,
        None,
        "3.6.14\n3.6.15",
    ],
)
def test_wrong_versions_are_rejected(texts: Texts, written: object) -> None:
    with pytest.raises(WrongValue) as caught:
        parse_version(written)
    texts(caught.value)


def test_order_is_that_of_releases() -> None:
    written = ["3.4.9", "3.4.23", "3.5.0", "3.5.9", "3.5.33", "3.6.1", "3.10.0"]
    assert [str(version) for version in sorted(map(parse_version, reversed(written)))] == written


def test_series() -> None:
    assert parse_version("3.6.14").series == (3, 6)
    assert all(version.series == series for series, version in NEWEST.items())


def test_etcdutl_came_with_3_5() -> None:
    assert not has_etcdutl(Version(3, 4, 45))
    assert has_etcdutl(Version(3, 5, 0))


@given(st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 9999))
def test_a_shown_version_is_parsed_to_the_same_version(major: int, minor: int, patch: int) -> None:
    version = Version(major, minor, patch)
    assert parse_version(str(version)) == version
