"""The hops between versions, as tables: the running versions, the wanted one, and the hops or the refusal."""

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
    way_back,
)
from tests.support.texts import Texts

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
        # incomplete hops: complete, revert, complete and continue, revert and continue
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
    ("running", "wanted"),
    [
        ("3.3.25", "3.5.33"),
        ("3.3.25 3.4.23", "3.4.23"),
        ("3.5.33", "3.4.45"),
        ("3.6.14", "3.4.45"),
        ("3.5.33 3.6.14", "3.4.45"),
        ("3.4.23 3.6.14", "3.6.14"),
        ("3.7.1 3.8.0", "3.8.0"),
    ],
)
def test_an_impossible_change_is_refused(texts: Texts, running: str, wanted: str) -> None:
    refused = expect_refused(running, wanted)
    texts(refused)
    assert refused.rules


def test_a_source_of_one_version_goes_one_hop_at_a_time(texts: Texts) -> None:
    refused = expect_refused("3.4.45", "3.6.14", one_version_only=True)
    texts(refused)
    assert version_hops(versions_of("3.5.33"), Version(3, 6, 14), one_version_only=True) == (
        VersionHop((3, 5), Version(3, 6, 14), "upgrade"),
    )


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ("3.5.16", "3.6.14"),
        ("3.5.30 3.5.33", "3.6.14"),
        ("3.5.16 3.6.14", "3.6.14"),
        ("3.6.10", "3.7.1"),
    ],
)
def test_old_patches_are_no_source_for_the_next_minor(texts: Texts, running: str, wanted: str) -> None:
    (refused,) = refuse_hop(first_step(running, wanted), versions_of(running), users=False)
    texts(refused)


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
def test_these_hops_are_allowed(running: str, wanted: str) -> None:
    assert refuse_hop(first_step(running, wanted), versions_of(running), users=False) == ()


def test_users_of_etcd_prevent_only_the_upgrade_from_3_4(texts: Texts) -> None:
    """Rule 45. Going back is allowed with users too."""
    (refused,) = refuse_hop(first_step("3.4.45 3.5.33", "3.5.33"), versions_of("3.4.45 3.5.33"), users=True)
    texts(refused)
    for running, wanted in (("3.4.45 3.5.33", "3.4.45"), ("3.5.33", "3.6.14"), ("3.4.23", "3.4.45")):
        assert refuse_hop(first_step(running, wanted), versions_of(running), users=True) == ()


@pytest.mark.parametrize(
    ("running", "wanted", "note"),
    [
        ("3.4.23", "3.5.33", "you can go back only with a restore, because 3.4.23 supports no downgrade"),
        ("3.4.45", "3.5.33", "only with a restore, because etcdup does not support this downgrade"),
        ("3.5.33", "3.6.14", "etcdup can go back to 3.5 with a downgrade"),
        ("3.6.14 3.7.1", "3.7.1", "`version: 3.6.14` in cluster.yaml brings all members back"),
        ("3.5.33", "3.5.16", "3.5.16 is older than 3.5.26"),
        ("3.5.16", "3.5.33", ""),
        ("3.4.45", "3.4.23", ""),
        ("3.6.14", "3.5.33", ""),
    ],
)
def test_the_notes_before_a_hop(running: str, wanted: str, note: str) -> None:
    notes = " ".join(hop_notes(first_step(running, wanted), versions_of(running)))
    assert note in notes
    assert bool(notes) == bool(note)


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
def test_the_downgrade_request_of_a_hop(running: str, wanted: str, downgrade_to: str, call: str) -> None:
    assert downgrade_request(first_step(running, wanted), downgrade_to) == call


def test_a_downgrade_to_another_version_is_stray() -> None:
    assert is_stray_downgrade("3.5.0", Version(3, 6, 14))
    assert not is_stray_downgrade("3.6.0", Version(3, 6, 14))
    assert not is_stray_downgrade("", Version(3, 6, 14))


@pytest.mark.parametrize(("minor", "back"), [((3, 5), None), ((3, 6), (3, 5)), ((3, 7), (3, 6))])
def test_the_way_back_is_a_downgrade_that_etcdup_supports(
    minor: tuple[int, int], back: tuple[int, int] | None
) -> None:
    assert way_back(minor) == back


def test_only_an_upgrade_has_no_return() -> None:
    assert first_step("3.4.45", "3.5.33").has_no_return
    assert not first_step("3.5.33 3.6.14", "3.5.33").has_no_return
    assert not first_step("3.6.14", "3.5.33").has_no_return
    assert not first_step("3.6.4", "3.6.14").has_no_return


def test_only_the_hop_from_3_5_checks_v2_data() -> None:
    assert first_step("3.5.33", "3.6.14").checks_v2store
    assert not first_step("3.4.45", "3.6.14").checks_v2store
    assert not first_step("3.6.14", "3.7.1").checks_v2store
    assert not first_step("3.6.14 3.5.33", "3.5.33").checks_v2store


def test_only_the_hop_from_3_6_needs_a_raft_snapshot() -> None:
    assert first_step("3.6.14", "3.7.1").needs_raft_snapshot
    assert first_step("3.7.1 3.6.14", "3.7.1").needs_raft_snapshot
    assert not first_step("3.5.33", "3.7.1").needs_raft_snapshot
    assert not first_step("3.7.1 3.6.14", "3.6.14").needs_raft_snapshot
    assert not first_step("3.7.0", "3.7.1").needs_raft_snapshot


def test_hops_are_between_known_neighbouring_minors() -> None:
    for hop in SUPPORTED_HOPS:
        assert {hop.source, hop.target} <= set(NEWEST)
        assert abs(hop.source[1] - hop.target[1]) == 1


@given(st.sets(RELEASES, max_size=3), RELEASES)
def test_each_path_ends_at_the_wanted_version(running: set[Version], wanted: Version) -> None:
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


def test_clients_of_the_gateway_are_named_before_3_6() -> None:
    """Errors of the JSON gateway have another form from 3.6 on, which older releases of Patroni do not read."""
    hops = (("3.5.33", "3.6.14"), ("3.6.14", "3.7.1"), ("3.4.45", "3.5.33"))
    notes = {to: " ".join(hop_notes(first_step(at, to), versions_of(at))) for at, to in hops}
    assert {to: "Patroni" in note for to, note in notes.items()} == {
        "3.6.14": True,
        "3.7.1": False,
        "3.5.33": False,
    }


@pytest.mark.parametrize(
    ("running", "wanted", "is_named"),
    [
        ("3.5.26", "3.5.33", True),
        ("3.6.7", "3.6.14", True),
        ("3.5.26", "3.6.14", True),
        ("3.5.28", "3.5.33", False),
        ("3.6.14", "3.7.1", False),
        ("3.5.33", "3.5.26", False),
    ],
)
def test_clients_whose_leases_need_a_login_are_named_if_users_are_enabled(
    running: str, wanted: str, is_named: bool
) -> None:
    """From 3.4.42, 3.5.28 and 3.6.9 on, an old Patroni loses its lock after the restart of a member."""
    hop, at = first_step(running, wanted), versions_of(running)
    assert any("before 4.1.1" in note for note in hop_notes(hop, at, users=True)) == is_named
    assert not any("before 4.1.1" in note for note in hop_notes(hop, at))
