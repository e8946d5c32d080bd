"""The ways between versions, as a table: what members run, what is wanted, and the hops or the refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.plan.plan import Refused
from etcdup.core.spec.version import NEWEST, Version, parse_version
from etcdup.core.versions.upgrade_paths import (
    SUPPORTED_HOPS,
    VersionHop,
    downgrade_request,
    hop_notes,
    is_stray_downgrade,
    refuse_hop,
    version_hops,
)

RELEASES = st.sampled_from(
    [
        Version(3, 4, 23),
        Version(3, 4, 45),
        Version(3, 5, 16),
        Version(3, 5, 33),
        Version(3, 6, 4),
        Version(3, 6, 14),
        Version(3, 7, 1),
    ]
)


def versions_of(text: str) -> tuple[Version, ...]:
    return tuple(parse_version(part) for part in text.split())


def first_step(running: str, wanted: str) -> VersionHop:
    found = version_hops(versions_of(running), parse_version(wanted))
    assert not isinstance(found, Refused), found
    return found[0]


def expect_refused(running: str, wanted: str, **options: bool) -> Refused:
    found = version_hops(versions_of(running), parse_version(wanted), **options)
    assert isinstance(found, Refused), found
    return found


@pytest.mark.parametrize(
    ("running", "wanted", "path"),
    [
        ("", "3.6.14", ""),
        ("3.6.14 3.6.14", "3.6.14", ""),
        ("3.6.4 3.6.14", "3.6.14", "patch 3.6.14"),
        ("3.6.14", "3.6.4", "patch 3.6.4"),
        ("3.4.23", "3.5.33", "upgrade 3.5.33"),
        ("3.4.23", "3.7.1", "upgrade 3.5.33, upgrade 3.6.14, upgrade 3.7.1"),
        ("3.5.33", "3.7.0", "upgrade 3.6.14, upgrade 3.7.0"),
        ("3.7.1", "3.6.4", "downgrade 3.6.4"),
        ("3.7.1", "3.5.33", "downgrade 3.6.14, downgrade 3.5.33"),
        # half done: on, back, on and further, back and further
        ("3.5.33 3.6.14", "3.6.14", "upgrade 3.6.14"),
        ("3.5.33 3.6.14", "3.5.33", "return 3.5.33"),
        ("3.4.23 3.5.16", "3.4.23", "return 3.4.23"),
        ("3.4.23 3.5.16", "3.6.14", "upgrade 3.5.33, upgrade 3.6.14"),
        ("3.6.4 3.7.1", "3.5.33", "return 3.6.14, downgrade 3.5.33"),
        ("3.5.16 3.5.33 3.6.14", "3.5.33", "return 3.5.33"),
    ],
)
def test_the_path_is_one_minor_at_a_time(running: str, wanted: str, path: str) -> None:
    found = version_hops(versions_of(running), parse_version(wanted))
    assert not isinstance(found, Refused), found
    assert ", ".join(f"{hop.kind} {hop.target}" for hop in found) == path


@pytest.mark.parametrize(
    ("running", "wanted", "why", "way"),
    [
        ("3.3.25", "3.5.33", "3.3.25 is older than any", "bring it to 3.4.45 first"),
        ("3.3.25 3.4.23", "3.4.23", "3.3.25 is older than any", "bring it to 3.4.45 first"),
        ("3.5.33", "3.4.45", "no way down from 3.5 to 3.4", "snapshot can be restored"),
        ("3.6.14", "3.4.45", "no way down from 3.6 to 3.4", "snapshot can be restored"),
        ("3.5.33 3.6.14", "3.4.45", "no way down from 3.5 to 3.4", "snapshot can be restored"),
        ("3.4.23 3.6.14", "3.6.14", "more than one minor apart", "members of 3.4 to 3.5 by hand"),
        ("3.7.1 3.8.0", "3.8.0", "3.8.0 is newer than any", "a newer etcdup"),
    ],
)
def test_what_is_impossible_is_refused(running: str, wanted: str, why: str, way: str) -> None:
    refused = expect_refused(running, wanted)
    assert why in refused.message
    assert way in refused.hint
    assert refused.rules


def test_a_source_of_one_version_goes_one_hop_at_a_time() -> None:
    refused = expect_refused("3.4.45", "3.6.14", one_version_only=True)
    assert refused.message == (
        "the way to 3.6.14 is 3.5.33, then 3.6.14, and `install` in cluster.yaml has one version only"
    )
    assert "version: 3.5.33" in refused.hint
    assert version_hops(versions_of("3.5.33"), Version(3, 6, 14), one_version_only=True) == (
        VersionHop((3, 5), Version(3, 6, 14), "upgrade"),
    )


@pytest.mark.parametrize(
    ("running", "wanted", "least", "way"),
    [
        ("3.5.16", "3.6.14", "3.5.32", "version: 3.5.33, apply, then go on"),
        ("3.5.30 3.5.33", "3.6.14", "3.5.32", "version: 3.5.33, apply, then go on"),
        ("3.5.16 3.6.14", "3.6.14", "3.5.32", "version: 3.5.33, apply (the way back), then go on"),
        ("3.6.10", "3.7.1", "3.6.11", "version: 3.6.14, apply, then go on"),
    ],
)
def test_old_patches_are_no_source_for_the_next_minor(
    running: str, wanted: str, least: str, way: str
) -> None:
    (refused,) = refuse_hop(first_step(running, wanted), versions_of(running), users=False)
    assert f"all have to run {least} or later first" in refused.message
    assert way in refused.hint


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ("3.5.32", "3.6.14"),
        ("3.4.23", "3.5.33"),
        ("3.6.11", "3.7.1"),
        ("3.7.0", "3.6.14"),
        ("3.5.16 3.6.14", "3.5.16"),
        ("3.6.4", "3.5.33"),
        ("3.5.16", "3.5.33"),
    ],
)
def test_nothing_stands_against_these(running: str, wanted: str) -> None:
    assert refuse_hop(first_step(running, wanted), versions_of(running), users=False) == ()


def test_etcds_users_stand_against_the_way_from_3_4_only() -> None:
    """Rule 45; the way back must be open even so."""
    (refused,) = refuse_hop(first_step("3.4.45 3.5.33", "3.5.33"), versions_of("3.4.45 3.5.33"), users=True)
    assert "etcd's own users are switched on" in refused.message
    for running, wanted in (("3.4.45 3.5.33", "3.4.45"), ("3.5.33", "3.6.14"), ("3.4.23", "3.4.45")):
        assert refuse_hop(first_step(running, wanted), versions_of(running), users=True) == ()


@pytest.mark.parametrize(
    ("running", "wanted", "note"),
    [
        ("3.4.23", "3.5.33", "no way back but a restore, since 3.4.23 knows none"),
        ("3.4.45", "3.5.33", "etcdup knows no way back but a restore"),
        ("3.5.33", "3.6.14", "the way back to 3.5 is etcd's downgrade"),
        ("3.6.14 3.7.1", "3.7.1", "`version: 3.6.14` in cluster.yaml takes all back"),
        ("3.5.33", "3.5.16", "3.5.16 is older than 3.5.26"),
        ("3.5.16", "3.5.33", ""),
        ("3.4.45", "3.4.23", ""),
        ("3.6.14", "3.5.33", ""),
    ],
)
def test_what_the_operator_is_told_before(running: str, wanted: str, note: str) -> None:
    told = " ".join(hop_notes(first_step(running, wanted), versions_of(running)))
    assert note in told
    assert bool(told) == bool(note)


@pytest.mark.parametrize(
    ("running", "wanted", "downgrade_to", "call"),
    [
        ("3.7.1", "3.6.14", "", "enable"),
        ("3.7.1", "3.6.14", "3.6.0", ""),
        ("3.7.1", "3.5.33", "3.6.0", ""),
        ("3.7.1", "3.7.0", "3.6.0", "cancel"),
        ("3.6.14", "3.7.1", "3.5.0", "cancel"),
        ("3.5.33 3.6.14", "3.6.14", "3.5.0", "cancel"),
        ("3.5.33 3.6.14", "3.5.33", "3.5.0", ""),
        ("3.5.33 3.6.14", "3.5.33", "", ""),
        ("3.6.14", "3.5.33", "3.6.0", "enable"),
    ],
)
def test_what_etcd_is_told_of_a_downgrade(running: str, wanted: str, downgrade_to: str, call: str) -> None:
    assert downgrade_request(first_step(running, wanted), downgrade_to) == call


def test_a_downgrade_is_stray_where_it_leads_elsewhere() -> None:
    assert is_stray_downgrade("3.5.0", Version(3, 6, 14))
    assert not is_stray_downgrade("3.6.0", Version(3, 6, 14))
    assert not is_stray_downgrade("", Version(3, 6, 14))


def test_only_the_way_up_closes_behind_its_last_member() -> None:
    assert first_step("3.4.45", "3.5.33").has_no_return
    assert not first_step("3.5.33 3.6.14", "3.5.33").has_no_return
    assert not first_step("3.6.14", "3.5.33").has_no_return
    assert not first_step("3.6.4", "3.6.14").has_no_return


def test_only_what_comes_from_3_5_has_its_old_api_looked_for() -> None:
    assert first_step("3.5.33", "3.6.14").checks_v2store
    assert not first_step("3.4.45", "3.6.14").checks_v2store
    assert not first_step("3.6.14", "3.7.1").checks_v2store
    assert not first_step("3.6.14 3.5.33", "3.5.33").checks_v2store


def test_ways_are_between_neighbours_that_we_know() -> None:
    for way in SUPPORTED_HOPS:
        assert {way.source, way.target} <= set(NEWEST)
        assert abs(way.source[1] - way.target[1]) == 1


@given(st.sets(RELEASES, max_size=3), RELEASES)
def test_every_world_has_an_answer_and_every_path_an_end(running: set[Version], wanted: Version) -> None:
    found = version_hops(running, wanted)
    if isinstance(found, Refused):
        assert found.message
        assert found.hint
        return
    at = running
    for hop in found:
        assert all(abs(version.minor - hop.target.minor) <= 1 for version in at)
        assert refuse_hop(hop, at, users=False) == () or hop.kind == "upgrade"
        hop_notes(hop, at)
        at = {hop.target}
    assert at <= {wanted} or not running
    assert len(found) <= 4
