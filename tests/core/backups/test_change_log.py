"""The changes in a snapshot with their revisions, and the times between which they happened."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.backups.backups import CANARY, backup_name
from etcdup.core.backups.change_log import Times, changes, read_times
from etcdup.core.etcd.rows import revision_key
from tests.support.bolt_files import History, database, opened
from tests.support.kubernetes_lease import field, renewal

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_each_change_has_its_revision_and_its_kind() -> None:
    history = History()
    history.put(b"/a", b"12", lease=7)
    history.change({b"/a": b"1", b"/b": b""})
    history.delete(b"/a", b"/b")
    history.put(b"/a")
    rows = [*history.rows, (revision_key(1_000_000_005), b"")]
    bolt = opened(database({b"key": rows}))
    facts = [
        (each.revision, each.number, each.kind, each.key, each.size, each.lease) for each in changes(bolt)
    ]
    assert facts == [
        (2, 0, "created", b"/a", 2, 7),
        (3, 0, "updated", b"/a", 1, 0),
        (3, 1, "created", b"/b", 0, 0),
        (4, 0, "deleted", b"/a", 0, 0),
        (4, 1, "deleted", b"/b", 0, 0),
        (5, 0, "created", b"/a", 0, 0),
        (1_000_000_005, 0, "raised", b"", 0, 0),
    ]
    assert [each.key for each in changes(bolt, 3, 4, b"/b")] == [b"/b", b"/b"]
    assert [each.revision for each in changes(bolt, 5)] == [5, 1_000_000_005]


def test_the_times_of_earlier_backups_are_around_a_change() -> None:
    history = History()
    first = history.put(CANARY, backup_name("prod", NOON).encode())
    between = history.delete(b"/a")
    second = history.put(CANARY, backup_name("prod", NOON + HOUR).encode())
    last = history.put(b"/a")
    times = read_times(opened(history.database()))
    assert times == Times((first, second), (NOON, NOON + HOUR))
    assert times.around(1) == (None, NOON)
    assert times.around(first) == (NOON, NOON)
    assert times.around(between) == (NOON, NOON + HOUR)
    assert times.around(last) == (NOON + HOUR, None)
    assert times.last_until(NOON - HOUR) is None
    assert times.last_until(NOON) == (first, NOON)
    assert times.last_until(NOON + HOUR * 9) == (second, NOON + HOUR)
    assert times.first_from(NOON) == first
    assert times.first_from(NOON + HOUR / 2) == second
    assert times.first_from(NOON + HOUR * 2) is None
    assert Times().around(5) == (None, None)


def test_a_lease_of_kubernetes_has_a_time_and_a_wrong_clock_is_left_out() -> None:
    history = History()
    known = {}
    for number in range(20):
        at = NOON + timedelta(seconds=10 * number)
        known[history.put(b"/registry/leases/kube-node-lease/node-1", renewal(at))] = at
        history.put(b"/registry/leases/kube-node-lease/wrong", renewal(at + (HOUR if number % 3 else -HOUR)))
    times = read_times(opened(history.database()))
    assert len(times.revisions) >= 20
    assert list(times.times) == sorted(set(times.times))
    history = History()
    for revision, at in known.items():
        while history.revision < revision - 1:
            history.put(b"/other")
        history.put(b"/registry/leases/kube-node-lease/node-1", renewal(at))
    history.put(b"/registry/leases/kube-node-lease/wrong", renewal(NOON + 9 * HOUR))
    history.put(b"/registry/leases/kube-node-lease/wrong", renewal(NOON - 9 * HOUR))
    history.put(b"/registry/leases/kube-node-lease/node-1", renewal(NOON + HOUR))
    times = read_times(opened(history.database()))
    assert dict(zip(times.revisions, times.times, strict=True)).items() >= known.items()
    assert NOON - 9 * HOUR not in times.times


@given(st.binary(max_size=40))
def test_any_value_of_a_lease_is_accepted(value: bytes) -> None:
    history = History()
    for content in (value, b"k8s\x00" + value, b"k8s\x00" + field(2, field(2, field(4, field(1, 1 << 62))))):
        history.put(b"/registry/leases/a/b", content)
        history.put(CANARY, content)
    read_times(opened(history.database()))
