"""Retention for any backups and any `keep`; which objects are a complete backup; the source of a backup."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.backups.backups import (
    BackupEntry,
    backup_name,
    backup_source,
    backups_to_prune,
    backups_to_prune_at,
    merge_backups,
    signed_to_prune,
    whole_backups,
)
from etcdup.core.observed.activity import Activity
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import KeepSpec
from etcdup.ops.world.observe import observe
from tests.support.fake_world import running_network, spec_of, world_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import ObservedModel

UNHEALTHY = 10
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

_ages = st.dictionaries(st.integers(0, 200 * 24 * 60), st.booleans(), max_size=60)
_keeps = st.builds(KeepSpec, **dict.fromkeys(("hourly", "daily", "weekly", "monthly"), st.integers(0, 8)))


def backups_aged(ages: dict[int, bool], *, signed: bool = True) -> list[BackupEntry]:
    """Return backups by their age in minutes before NOON, and whether each is proved."""
    times = {NOON - timedelta(minutes=age): proved for age, proved in ages.items()}
    return [BackupEntry(at, backup_name("prod", at), proved, signed) for at, proved in times.items()]


@given(_ages, _keeps)
def test_the_newest_and_the_newest_proved_backup_stay(ages: dict[int, bool], keep: KeepSpec) -> None:
    backups = backups_aged(ages)
    gone = backups_to_prune(backups, keep)
    left = sorted(set(backups) - set(gone))
    assert not backups or max(backups) in left
    proved = [each for each in backups if each.proved]
    assert not proved or max(proved) in left
    kept = keep.hourly + keep.daily + keep.weekly + keep.monthly
    assert len(left) <= kept + 2
    assert list(gone) == sorted(gone)


@given(_ages, _keeps)
def test_pruning_twice_is_pruning_once(ages: dict[int, bool], keep: KeepSpec) -> None:
    backups = backups_aged(ages)
    left = sorted(set(backups) - set(backups_to_prune(backups, keep)))
    assert backups_to_prune(left, keep) == ()


@given(_ages, _keeps)
def test_each_count_keeps_the_newest_of_so_many_periods(ages: dict[int, bool], keep: KeepSpec) -> None:
    backups = backups_aged(ages)
    left = set(backups) - set(backups_to_prune(backups, keep))
    days = sorted({each.taken_at.date() for each in backups}, reverse=True)[: keep.daily]
    for day in days:
        assert max(each for each in backups if each.taken_at.date() == day) in left


def test_hourly_and_daily_backups_overlap() -> None:
    backups = backups_aged(dict.fromkeys((age * 60 for age in range(24 * 10)), False))
    left = sorted(set(backups) - set(backups_to_prune(backups, KeepSpec(hourly=24, daily=7))))
    assert len(left) == 24 + 5  # the first of the seven days, and the second, are among the hours
    assert left[-24] == BackupEntry(
        NOON - timedelta(hours=23), backup_name("prod", NOON - timedelta(hours=23)), signed=True
    )


def test_incomplete_backups_are_not_listed() -> None:
    name, other = "prod-20261122T120000Z", "prod-20261122T130000Z"
    there = [
        f"{name}.db", f"{name}.json", f"{other}.db", "prod-20261122T140000Z.json",
        "prod-2-20261122T120000Z.db", "prod-2-20261122T120000Z.json", "prod-20269922T120000Z.db",
        "prod-20269922T120000Z.json", "notes.db", "notes.json",
    ]  # fmt: skip
    assert whole_backups(there, "prod") == (BackupEntry(NOON, name),)
    assert whole_backups([*there, f"{name}.proof.json"], "prod") == (BackupEntry(NOON, name, True),)


@given(st.lists(_ages, min_size=1, max_size=3), _keeps)
def test_each_destination_keeps_its_newest_and_its_newest_proved_backup(
    ages: list[dict[int, bool]], keep: KeepSpec
) -> None:
    """Another destination can be lost."""
    destinations = [backups_aged(each) for each in ages]
    everywhere = merge_backups(destinations)
    assert len({each.name for each in everywhere}) == len(everywhere)
    proved = {each.name for each in everywhere if each.proved}
    assert proved == {each.name for there in destinations for each in there if each.proved}
    for there in destinations:
        gone = {each.name for each in backups_to_prune_at(there, everywhere, keep)}
        left = [each for each in sorted(there) if each.name not in gone]
        assert gone <= {each.name for each in there}
        assert not there or max(there) in left
        known = [each.name for each in sorted(there) if each.name in proved]
        assert not known or known[-1] in {each.name for each in left}


@given(_ages, _ages, _keeps)
def test_no_unsigned_backup_changes_which_signed_ones_stay(
    signed: dict[int, bool], unsigned: dict[int, bool], keep: KeepSpec
) -> None:
    """Otherwise a client of the store could have all good backups deleted by `prune --unsigned`."""
    ours = backups_aged(signed)
    others = backups_aged(
        {age: proved for age, proved in unsigned.items() if age not in signed}, signed=False
    )
    gone = signed_to_prune([*ours, *others], keep)
    assert tuple(each for each in gone if each.signed) == backups_to_prune(ours, keep)
    assert set(gone) - set(ours) == set(backups_to_prune([*ours, *others], keep)) - set(ours)


def test_a_usable_copy_of_a_backup_is_preferred_then_a_signed_one() -> None:
    name = backup_name("prod", NOON)
    faulty = BackupEntry(NOON, name, fault="it is not signed")
    unsigned, signed = BackupEntry(NOON, name, proved=True), BackupEntry(NOON, name, signed=True)
    for there in permutations((faulty, unsigned, signed)):
        assert merge_backups([[each] for each in there]) == (replace(signed, proved=True),)
    assert merge_backups([[faulty], [unsigned]]) == (unsigned,)
    assert merge_backups([[faulty]]) == (faulty,)


def test_a_single_destination_is_pruned_in_the_same_way() -> None:
    backups = backups_aged(dict.fromkeys((age * 60 for age in range(24 * 10)), False))
    keep = KeepSpec(hourly=3, daily=2)
    assert backups_to_prune_at(backups, merge_backups([backups]), keep) == backups_to_prune(backups, keep)


@pytest.mark.parametrize(
    ("members", "leader", "applied", "chosen"),
    [
        ("HHH", 1, (9, 9, 9), "infra2"),
        ("HHH", 2, (9, 9, 9), "infra1"),
        ("HHH", 1, (9, 7, 8), "infra3"),  # the leader is ahead of both, but a follower is preferred
        ("HHH", 3, (7, 8, 9), "infra2"),
        ("HHD", 1, (9, 2, 9), "infra2"),  # etcdup waits until it has caught up, before the copy begins
        ("HHL", 1, (9, 8, 9), "infra2"),  # a learner has no vote, and can be behind
        ("H", 1, (9,), "infra1"),
        ("HHH", 1, (9, UNHEALTHY, 8), "infra3"),
        ("HDL", 0, (9, 9, 9), None),
        ("DDD", 0, (9, 9, 9), None),
    ],
)
def test_the_source_is_the_healthy_follower_with_the_highest_index(
    members: str, leader: int, applied: tuple[int, ...], chosen: str | None
) -> None:
    spec = spec_of(len(members), version=BASE)
    observed = ObservedModel(spec, spec).observed(next(first_states(tuple(members))))
    there = {
        name: replace(
            member,
            applied_index=index,
            leader_id=_id(observed, leader),
            errors=("its disk fails",) if index == UNHEALTHY else (),
        )
        for (name, member), index in zip(observed.members.items(), applied, strict=True)
        if isinstance(member, MemberSeen)
    }
    assert backup_source(replace(observed, members={**observed.members, **there})) == chosen


async def test_a_member_that_is_being_defragmented_is_never_the_source(tmp_path: Path) -> None:
    spec = spec_of()
    observed = await observe(world_of(spec, await running_network(spec, tmp_path), tmp_path))
    source = backup_source(observed)
    assert source is not None
    busy = {source: Activity(defragments=True)}
    assert backup_source(replace(observed, activity=busy)) not in (None, source)
    all_busy = dict.fromkeys(observed.members, Activity(defragments=True))
    assert backup_source(replace(observed, activity=all_busy)) is None


def _id(observed: Observed, number: int) -> int:
    leader = observed.members.get(f"infra{number}")
    return leader.member_id if isinstance(leader, MemberSeen) else 0
