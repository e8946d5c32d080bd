"""The keys of a prefix as of a revision, and the batches in which they are written."""

from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.backups.old_keys import batched, find_rows, read_rows
from etcdup.core.backups.rewind import available_revisions
from etcdup.core.etcd.keys import end_of_prefix
from tests.support.bolt_files import History, opened

KEYS = st.sampled_from([b"/a", b"/a/b", b"/b", b"etcdup/health/infra1"])
CHANGE = st.tuples(
    st.dictionaries(KEYS, st.one_of(st.none(), st.integers(0, 5000)), min_size=1), st.integers(0, 3)
)


@given(st.lists(CHANGE, min_size=1, max_size=40), st.sampled_from([b"", b"/", b"/a", b"/c"]), st.data())
def test_each_key_has_its_value_of_the_revision(
    changed: list[tuple[dict[bytes, int | None], int]], prefix: bytes, data: st.DataObject
) -> None:
    history = History()
    for number, (sizes, lease) in enumerate(changed):
        values = {key: None if size is None else b"%d" % number + bytes(size) for key, size in sizes.items()}
        history.change(values, lease)
    if data.draw(st.booleans()):
        history.compact(data.draw(st.integers(1, history.revision)))
    bolt = opened(history.database())
    oldest, newest = available_revisions(bolt)
    for revision in range(oldest, newest + 1):
        rows = find_rows(bolt, revision, prefix)
        assert rows is not None
        assert rows == sorted(rows)
        found = {old.key: old.value for old in read_rows(bolt, rows)}
        assert found == {
            key: value
            for key, value in history.at[revision].items()
            if key.startswith(prefix) and not key.startswith(b"etcdup/")
        }


def test_leases_are_read_and_too_many_keys_are_reported() -> None:
    history = History(leases={7})
    history.put(b"/a", b"1", 7)
    history.put(b"/b", b"2")
    bolt = opened(history.database())
    rows = find_rows(bolt, history.revision, b"/")
    assert rows is not None
    assert [(old.key, old.lease) for old in read_rows(bolt, rows)] == [(b"/a", 7), (b"/b", 0)]
    assert find_rows(bolt, history.revision, b"/", most=1) is None
    assert list(read_rows(bolt, [])) == []


@given(st.lists(st.integers(0, 3000)), st.integers(1, 8), st.integers(1, 4000))
def test_batches_are_complete_ordered_and_limited(sizes: list[int], most: int, most_bytes: int) -> None:
    items = list(enumerate(sizes))
    batches = list(batched(items, lambda item: item[1], most, most_bytes))
    assert [item for batch in batches for item in batch] == items
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(size for _, size in batch) <= most_bytes


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_the_range_of_a_prefix_has_exactly_its_keys(prefix: bytes, key: bytes) -> None:
    end = end_of_prefix(prefix)
    is_within = key >= prefix and (end == b"\0" or key < end)
    assert is_within == key.startswith(prefix)
