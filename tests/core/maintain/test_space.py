"""The use of a database equals a count of its rows, and the memory is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.etcd.rows import revision_key
from etcdup.core.maintain import space as module
from etcdup.core.maintain.key_set import KeySet
from etcdup.core.maintain.space import Space, Use, measure_space
from etcdup.remote.etcd.pb import kv_pb2
from tests.support.bolt_files import History, database, opened

KEYS = st.sampled_from(
    [b"/registry/pods/default/a", b"/registry/pods/kube/b", b"/registry/nodes/n", b"lock", b"/x"]
)
CHANGES = st.lists(
    st.tuples(KEYS, st.one_of(st.none(), st.integers(0, 6000)), st.integers(0, 2), st.integers(0, 20)),
    max_size=60,
)


def measured(content: bytes, prefix: bytes = b"", keys: KeySet | None = None) -> Space:
    return measure_space(opened(content), len(content), prefix, keys)


def expected(history: History, prefix: bytes) -> dict[bytes, Use]:
    """Count the rows in a way that needs all of them in memory."""
    newest = {kv_pb2.KeyValue.FromString(message).key: row for row, message in history.rows}
    found: dict[bytes, Use] = {}
    for row, message in history.rows:
        change = kv_pb2.KeyValue.FromString(message)
        size = len(row) + len(message) + 16
        is_key = newest[change.key] == row and not row.endswith(b"t")
        use = Use(1, size, 0, 0, int(change.lease > 0)) if is_key else Use(0, 0, 1, size, 0)
        if change.key.startswith(prefix):
            name = change.key[: change.key.rfind(b"/") + 1]
            found[name] = found.get(name, Use()) + use
    return found


@given(CHANGES, st.sampled_from([b"", b"/registry/", b"/registry/pods/default/a"]))
def test_each_row_is_counted_once(changes: list[tuple[bytes, int | None, int, int]], prefix: bytes) -> None:
    history = History(leases={1, 2})
    for key, size, lease, compact in changes:
        history.change({key: None if size is None else bytes(size)}, lease)
        if not compact:
            history.compact(history.revision)
    found = measured(history.database(), prefix)
    assert dict(found.prefixes) == expected(history, prefix)
    assert found.whole == sum(expected(history, b"").values(), Use())
    assert (found.leases, found.exact) == (2, True)
    assert found.compacted == history.compacted
    assert found.free_bytes == 4096, "the free list is a page without data"
    assert len({key for key, _ in found.largest}) == len(found.largest)
    assert all(key.startswith(prefix) for key, _ in found.largest)


def test_a_key_that_changes_often_and_a_large_key_are_listed_first() -> None:
    history = History()
    for number in range(300):
        history.put(b"/quiet/%d" % number, bytes(10))
        history.put(b"/busy", bytes(number))
    history.put(b"/large", bytes(50_000))
    found = measured(history.database())
    assert found.changed[0][:2] == (b"/busy", 299)
    assert found.largest[0][0] == b"/large"


def test_the_row_of_a_restore_that_raises_the_revisions_is_no_key() -> None:
    history = History()
    history.put(b"/a", b"1")
    rows = [*history.rows, (revision_key(1_000_000_002), b"")]
    found = measured(database({b"key": rows, b"meta": []}))
    assert (found.whole.keys, found.whole.old, found.revision) == (1, 0, 1_000_000_002)


def test_rows_of_an_unfinished_compaction_are_not_taken_for_keys() -> None:
    history = History()
    for _ in range(5):
        history.put(b"/a", b"1")
    meta = [(b"finishedCompactRev", revision_key(2)), (b"scheduledCompactRev", revision_key(5))]
    found = measured(database({b"key": history.rows, b"meta": meta}))
    assert (found.whole.keys, found.whole.old, found.compacted) == (1, 4, 5)


def test_too_many_keys_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    for number in range(200):
        history.put(b"/%d" % number)
    for number in range(200):
        history.put(b"/%d" % number)
    found = measured(history.database(), keys=KeySet(128))
    assert not found.exact
    assert found.whole.keys >= 200
    monkeypatch.setattr(module, "_MOST_PREFIXES", 8)
    history = History()
    for number in range(500):
        history.put(b"/a/%d/x/k" % number, bytes(number))
    found = measured(history.database())
    assert len(found.prefixes) <= 9
    assert sum(found.prefixes.values(), Use()) == found.whole
    assert found.whole.keys == 500


@given(st.lists(st.binary(max_size=3), max_size=300))
def test_a_key_set_is_a_set(keys: list[bytes]) -> None:
    found, seen = KeySet(), set[bytes]()
    for key in keys:
        assert (key in found) == (key in seen)
        assert found.add(key) == (key not in seen)
        seen.add(key)
    many = KeySet()
    assert all(many.add(b"%d" % number) for number in range(10_000))
    assert not any(many.add(b"%d" % number) for number in range(10_000))
