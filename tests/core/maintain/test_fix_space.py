"""When `fix-space` compacts, defragments, disarms or refuses, and what it says about the cause."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.etcd.rows import revision_key
from etcdup.core.maintain.causes import cause_of, explain_cause, reasons_to_return
from etcdup.core.maintain.compaction import Compaction, measure_compaction, revision_until
from etcdup.core.maintain.fix_space import (
    Measured,
    is_short_of_space,
    larger_quota,
    measure,
    members_to_shrink,
    plan_fix_space,
    refuse_without_effect,
    size_after,
)
from etcdup.core.maintain.space import Space, Use, measure_space
from etcdup.core.observed.activity import Activity
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import CompactHistory, DefragmentMember
from etcdup.core.plan.plan import Plan, Refusal
from tests.support.bolt_files import History, opened
from tests.support.fake_world import spec_of
from tests.support.initial_states import first_states
from tests.support.observed_model import ObservedModel
from tests.support.texts import Texts

GIB, MIB = 1024**3, 1024**2
SPEC = spec_of(more="etcd: {quota: 2GiB}\n")
ALL = ("infra1", "infra2", "infra3")


def space_of(keys: int, old: int = 0, free: int = 0) -> Space:
    """Return the use of a file: bytes of keys, of history and of free pages, in MiB."""
    used = (keys + old) * MIB
    whole = Use(keys=keys * 10, bytes=keys * MIB, old=old * 10, old_bytes=old * MIB)
    return Space(9000, 10, used + free * MIB, used, whole, 0, {b"/registry/": whole}, 0)


def measured(keys: int, old: int = 0, free: int = 0, *, recent: int = 0, keeps: bool = False) -> Measured:
    """`recent` is how much of the history is recent, in MiB."""
    space = space_of(keys, old, free)
    return Measured(
        space,
        Compaction(8000, (keys + recent) * 10, (keys + recent) * MIB),
        Compaction(9000, keys * 10, keys * MIB),
        keeps_history=keeps,
    )


def observed_of(members: str) -> Observed:
    model = ObservedModel(SPEC, SPEC)
    return model.observed(next(first_states(tuple(members))))


def observed_with(sizes: Mapping[str, int], *, alarm: bool = True, quota: int = 2 * GIB) -> Observed:
    """Return three healthy members with databases of these sizes in MiB."""
    seen = observed_of("HHH")
    members = {
        name: replace(
            each, db_size=sizes[name] * MIB, db_in_use=sizes[name] * MIB, db_quota=quota,
            alarms=(f"NOSPACE on member {each.member_id:x}",) if alarm else (),
        )
        for name, each in seen.answering().items()
    }  # fmt: skip
    return replace(seen, members=members, activity=dict.fromkeys(ALL, Activity()))


def plan_of(observed: Observed, use: Measured) -> Plan | Refusal:
    return plan_fix_space(SPEC, observed, use, members_to_shrink(SPEC, observed, use))


FULL: Mapping[str, int] = dict.fromkeys(ALL, 2048)
CASES = {
    "a storm of revisions": (FULL, measured(100, 1900), ["C8000", "D", "D", "D", "A"]),
    "the recent history is the storm": (
        FULL,
        measured(100, 1900, recent=1800),
        ["C9000", "D", "D", "D", "A"],
    ),
    "only free pages": (FULL, measured(300, 300, 1400), ["D", "D", "D", "A"]),
    "one member was not defragmented": ({**FULL, "infra1": 500, "infra3": 500}, measured(500), ["D", "A"]),
    "the space is free again": (dict.fromkeys(ALL, 300), measured(300), ["A"]),
    "history is needed for the margin": (FULL, measured(900, 1100), ["C8000", "D", "D", "D", "A"]),
    "nearly too much": (FULL, measured(1500, 500), ["C8000", "D", "D", "D", "A"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_steps(case: str) -> None:
    sizes, use, expected = CASES[case]
    plan = plan_of(observed_with(sizes), use)
    assert isinstance(plan, Plan), plan
    letters = {"CompactHistory": "C", "DefragmentMember": "D", "DisarmSpaceAlarm": "A"}
    shown = [
        f"C{step.revision}" if isinstance(step, CompactHistory) else letters[step.kind] for step in plan.steps
    ]
    assert shown == expected


def test_only_the_member_that_needs_it_is_defragmented_and_the_leader_is_last() -> None:
    one = plan_of(observed_with({**FULL, "infra1": 500, "infra3": 500}), measured(500))
    assert isinstance(one, Plan)
    assert [step.host for step in one.steps if isinstance(step, DefragmentMember)] == ["infra2"]
    observed = observed_with(FULL)
    plan = plan_of(observed, measured(100, 1900))
    assert isinstance(plan, Plan)
    *_, last = [step.host for step in plan.steps if isinstance(step, DefragmentMember)]
    assert observed.answering()[last].leader_id == observed.answering()[last].member_id


@pytest.mark.parametrize(
    "use",
    [
        measured(1950, 98),
        measured(2000, 0, 48),
        measured(100, 1900, recent=1850, keeps=True),
    ],
)
def test_it_refuses_before_a_compaction_if_the_data_itself_is_too_large(texts: Texts, use: Measured) -> None:
    refused = plan_of(observed_with(FULL), use)
    assert isinstance(refused, Refusal)
    texts(refused.reasons[0])
    assert {70, 77} == set(refused.reasons[0].rules)


def test_a_larger_quota_in_cluster_yaml_needs_an_apply_first(texts: Texts) -> None:
    spec = spec_of(more="etcd: {quota: 8GiB}\n")
    refused = plan_fix_space(spec, observed_with(FULL), measured(2000), ALL)
    assert isinstance(refused, Refusal)
    texts(refused.reasons[0])


@pytest.mark.parametrize("why", ["stopped", "corrupt", "denied", "quota"])
def test_what_would_stop_it_later_refuses_it_at_the_beginning(why: str) -> None:
    observed = observed_with(FULL, quota=0 if why == "quota" else 2 * GIB)
    if why == "stopped":
        observed = replace(
            observed, members={**observed.members, "infra3": observed_of("HHD").members["infra3"]}
        )
    if why == "corrupt":
        wrong = replace(observed.answering()["infra1"], alarms=("CORRUPT on member 1",))
        observed = replace(observed, members={**observed.members, "infra1": wrong})
    if why == "quota":
        hosts = {
            name: replace(each, unit=replace(each.unit, environment={}))
            for name, each in observed.reachable().items()
        }
        observed = replace(observed, hosts=hosts)
    if why == "denied":
        observed = replace(observed, denied="etcdserver: permission denied")
    assert isinstance(plan_of(observed, measured(100, 1900)), Refusal)


def test_without_the_alarm_a_database_that_is_nearly_full_is_made_smaller() -> None:
    nearly = observed_with(dict.fromkeys(ALL, 1800), alarm=False)
    assert is_short_of_space(SPEC, nearly)
    assert not is_short_of_space(SPEC, observed_with(dict.fromkeys(ALL, 1600), alarm=False))
    plan = plan_of(nearly, measured(200, 1600))
    assert isinstance(plan, Plan)
    assert [step.kind for step in plan.steps] == ["CompactHistory", *["DefragmentMember"] * 3]
    useless = plan_of(nearly, measured(1780))
    assert isinstance(useless, Plan)
    assert useless.is_empty
    assert refuse_without_effect(SPEC, nearly, measured(1780))


@pytest.mark.parametrize(
    ("size", "quota", "expected"),
    [
        (2 * GIB, 2 * GIB, "4GiB"),
        (100 * MIB, 64 * MIB, "256MiB"),
        (6 * GIB, 8 * GIB, "8GiB"),
        (7 * GIB, 8 * GIB, ""),
        (5 * GIB, 3 * GIB, "8GiB"),
    ],
)
def test_the_quota_that_helps(size: int, quota: int, expected: str) -> None:
    assert larger_quota(size, quota) == expected


def test_each_cause_is_named_with_its_keys() -> None:
    storm, flood = History(), History()
    for number in range(400):
        storm.put(b"/lock", bytes(500))
        flood.put(b"/registry/events/default/%d" % number, bytes(500))
    for number in range(390):
        flood.delete(b"/registry/events/default/%d" % number)
    for history, cause, name in (
        (storm, "often-written-keys", "/lock"),
        (flood, "replaced-keys", "/registry/events/"),
    ):
        found = measure_space(opened(history.database()), len(history.database()))
        assert cause_of(found) == cause
        assert name in explain_cause(found)
        assert name in " ".join(reasons_to_return(SPEC, found, 2 * GIB))
    assert cause_of(space_of(10, 20, 500)) == "free-pages"
    assert cause_of(space_of(100, 20, 50)) == "present-keys"
    off = spec_of(more="etcd: {auto_compaction: 0}\n")
    for each in (space_of(10, 20, 500), space_of(1500, 20, 50)):
        assert len(list(reasons_to_return(off, each, 2 * GIB))) >= 2
        assert explain_cause(each)


KEYS = st.sampled_from([b"/a", b"/b", b"/c/d"])


@given(st.lists(st.tuples(KEYS, st.one_of(st.none(), st.integers(0, 3000))), max_size=40), st.data())
def test_a_compaction_leaves_the_rows_that_etcd_keeps(
    changes: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    history = History()
    for key, size in changes:
        history.change({key: None if size is None else bytes(size)})
    bolt = opened(history.database())
    use = measure_space(bolt, len(history.database())).whole
    newest = Compaction(history.revision, use.keys, use.bytes)
    assert measure_compaction(bolt, history.revision) == newest
    revision = data.draw(st.integers(0, history.revision))
    found = measure_compaction(bolt, revision)
    if revision:
        history.compact(revision)
    left = [len(row) + len(message) + 16 for row, message in history.rows]
    assert (found.rows, found.bytes) == (len(left), sum(left))


@pytest.mark.parametrize(
    ("rows", "size", "real"),
    [
        (9000, 256, 2.7), (4500, 1360, 9.3), (2400, 2560, 9.9), (1200, 10_060, 12.3), (60, 300_060, 18.1), (0, 0, 0.02)
    ],
)  # fmt: skip
def test_the_size_after_a_defragmentation_is_that_of_real_members(rows: int, size: int, real: float) -> None:
    """Measured on 3.6.14, in megabytes: with rows of half a page, the file is larger than the pages in use were."""
    space = replace(space_of(100), other_bytes=20_480)
    expected = size_after(space, Compaction(1, rows, rows * size)) / 1e6
    assert expected == pytest.approx(real, rel=0.05, abs=0.01)


@pytest.mark.parametrize("keeps", [True, False])
def test_the_history_of_a_snapshot_is_measured_with_and_without_its_recent_part(*, keeps: bool) -> None:
    history = History()
    for _ in range(3000):
        history.put(b"/lock", bytes(1000))
    content = history.database()
    use = measure(opened(content), len(content), datetime.now(UTC), keeps_history=keeps)
    assert (use.recent.revision, use.whole.revision) == (history.revision - 1000, history.revision)
    assert (use.recent.rows, use.whole.rows) == (1001, 1)
    none = measure(opened(content), len(content), None, keeps_history=keeps)
    assert none.recent == none.whole == use.whole


def test_without_known_times_a_thousand_revisions_are_kept() -> None:
    history = History()
    assert revision_until(opened(history.database()), datetime.now(UTC)) == 0
    for _ in range(1500):
        history.put(b"/a")
    assert revision_until(opened(history.database()), datetime.now(UTC)) == history.revision - 1000
    assert revision_key(history.revision) == history.rows[-1][0]
