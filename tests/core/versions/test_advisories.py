"""The tables of bad versions, for a version, a use and a source of the binaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.etcd.known_issues import FAULTS, VULNERABILITIES, Advisory
from etcdup.core.spec.version import NEWEST, Version, parse_version
from etcdup.core.versions.advisories import (
    Scope,
    blocking_advisories,
    is_end_of_life,
    newest_patch,
    warning_advisories,
)
from tests.support.texts import Texts

SCOPES = sorted({advisory.scope for advisory in (*FAULTS, *VULNERABILITIES)})
VERSIONS = st.builds(Version, st.just(3), st.integers(4, 7), st.integers(0, 50))


def problem_texts(advisories: tuple[Advisory, ...]) -> str:
    return "\n".join(advisory.problem for advisory in advisories)


@pytest.mark.parametrize(
    "version",
    [
        "3.4.7",
        "3.4.21",
        "3.4.31",
        "3.4.34",
        "3.5.0",
        "3.5.2",
        "3.5.5",
        "3.5.13",
        "3.5.16",
        "3.6.0",
        "3.6.3",
    ],
)
def test_releases_that_lose_data_are_refused(texts: Texts, version: str) -> None:
    texts(problem_texts(blocking_advisories(parse_version(version))))


@pytest.mark.parametrize(
    "version", ["3.4.35", "3.4.45", "3.5.17", "3.5.33", "3.6.4", "3.6.14", "3.7.0", "3.7.1"]
)
def test_good_releases_are_not_refused(version: str) -> None:
    assert blocking_advisories(parse_version(version)) == ()


@pytest.mark.parametrize("version", ["3.4.23", "3.5.16", "3.5.30"])
def test_vouched_binaries_give_warnings_and_are_never_refused(version: str) -> None:
    """Debian 12, 13 and forky: these can contain fixes without a new version number."""
    parsed = parse_version(version)
    assert blocking_advisories(parsed, vouched=True) == ()
    assert set(blocking_advisories(parsed)) <= set(warning_advisories(parsed, vouched=True))


@pytest.mark.parametrize("version", ["3.5.33", "3.6.14", "3.6.16", "3.7.1"])
def test_requests_of_3_5_are_a_known_fault_of_the_upgrade_to_3_7(texts: Texts, version: str) -> None:
    found = warning_advisories(parse_version(version), scopes=["source-for-3.7"])
    texts(problem_texts(found))


def test_no_package_is_a_source_for_3_6() -> None:
    """No patch of a distribution removes what 3.5 before 3.5.32 wrote into the data (rule 44)."""
    for version, refused in (("3.5.16", True), ("3.5.30", True), ("3.5.31", True), ("3.5.32", False)):
        found = blocking_advisories(parse_version(version), scopes=["source-for-3.6"], vouched=True)
        assert bool(found) == refused, version


@pytest.mark.parametrize(
    ("scope", "last_bad", "first_good"),
    [
        ("learner-ops", "3.5.6", "3.5.17"),
        ("learner-ops", "3.4.23", "3.4.35"),
        ("member-update", "3.5.30", "3.5.31"),
        ("member-update", "3.6.11", "3.6.12"),
        ("defrag", "3.5.22", "3.5.23"),
        ("defrag", "3.6.4", "3.6.5"),
        ("defrag", "3.4.37", "3.4.38"),
        ("force-new-cluster", "3.5.24", "3.5.25"),
        ("force-new-cluster", "3.6.5", "3.6.6"),
        ("rbac", "3.5.3", "3.5.17"),
    ],
)
def test_some_faults_matter_only_for_one_use(scope: Scope, last_bad: str, first_good: str) -> None:
    assert any(
        advisory.scope == scope for advisory in blocking_advisories(parse_version(last_bad), scopes=[scope])
    )
    assert all(advisory.scope != scope for advisory in blocking_advisories(parse_version(last_bad)))
    assert blocking_advisories(parse_version(first_good), scopes=[scope]) == ()


def test_a_cluster_of_one_needs_3_5_5(texts: Texts) -> None:
    for version, members in ((Version(3, 5, 4), 1), (Version(3, 5, 4), 3), (Version(3, 5, 5), 1)):
        texts(problem_texts(blocking_advisories(version, members=members)))


def test_a_vulnerability_gives_a_warning_until_it_is_fixed() -> None:
    for version, warned in (("3.4.45", True), ("3.5.32", True), ("3.6.13", True), ("3.7.0", True)):
        assert ("CVE-2026-73500" in problem_texts(warning_advisories(parse_version(version)))) == warned
    for series in ((3, 5), (3, 6), (3, 7)):
        assert warning_advisories(NEWEST[series]) == ()


def test_a_minor_at_its_end_of_life_gives_a_warning(texts: Texts) -> None:
    assert is_end_of_life(Version(3, 4, 45))
    assert not is_end_of_life(Version(3, 5, 0))
    texts(problem_texts(warning_advisories(Version(3, 4, 45))))
    assert blocking_advisories(Version(3, 4, 45)) == ()


def test_vulnerabilities_of_users_and_roles_matter_only_if_they_are_used() -> None:
    assert "CVE-2026-33413" not in problem_texts(warning_advisories(Version(3, 5, 27)))
    assert "CVE-2026-33413" in problem_texts(warning_advisories(Version(3, 5, 27), scopes=["rbac"]))


def test_the_remedy_names_the_release_that_has_the_fix() -> None:
    (fault,) = (each for each in FAULTS if "silently differ" in each.problem)
    assert fault.fixes == "3.5.3; see etcd's post-mortem of the 3.5 data inconsistency"
    (ended,) = (each for each in FAULTS if "end of life" in each.problem)
    assert ended.remedy == "use 3.7.1, or another version of a supported minor"


def test_the_newest_patch_of_a_minor() -> None:
    assert newest_patch(Version(3, 5, 2)) == (3, 5, 33)
    assert newest_patch(Version(3, 6, 0)) == (3, 6, 14)
    assert newest_patch(Version(3, 9, 0)) == (3, 7, 1)


@given(VERSIONS, st.sets(st.sampled_from(SCOPES)), st.booleans(), st.sampled_from([1, 3]))
def test_each_relevant_fault_is_either_blocking_or_a_warning(
    version: Version, scopes: set[Scope], vouched: bool, members: int
) -> None:
    refused = blocking_advisories(version, members=members, scopes=scopes, vouched=vouched)
    warned = warning_advisories(version, members=members, scopes=scopes, vouched=vouched)
    assert not set(refused) & set(warned)
    matters = {"always", *scopes} | ({"single-member"} if members == 1 else set())
    expected = {
        each for each in (*FAULTS, *VULNERABILITIES) if each.affects(version) and each.scope in matters
    }
    assert set(refused) | set(warned) == expected


@given(VERSIONS)
def test_a_fix_stays_fixed_in_its_series(version: Version) -> None:
    later = version._replace(patch=version.patch + 1)
    began = {each for each in FAULTS if any(part.first == later.patch for part in each.affected)}
    assert {each for each in FAULTS if each.affects(later)} - began <= {
        each for each in FAULTS if each.affects(version)
    }
