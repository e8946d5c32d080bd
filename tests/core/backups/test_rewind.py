"""The data of an earlier revision: exactly the keys that it had, and no lease without a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.backups.rewind import available_revisions, content_at, content_of
from etcdup.core.etcd.bbolt import Bolt, newest_revision
from etcdup.core.etcd.bbolt_writer import BoltWriter
from etcdup.remote.etcd.pb import kv_pb2
from tests.support.bolt_files import PAGE, History, opened
from tests.support.texts import Texts

KEYS = st.sampled_from([b"/a", b"/b", b"/c", b"/c/d"])
CHANGE = st.tuples(
    st.dictionaries(KEYS, st.one_of(st.none(), st.integers(0, 5000)), min_size=1), st.integers(0, 3)
)


def written(bolt: Bolt, revision: int | None) -> bytes:
    writer = BoltWriter(PAGE)
    content = content_of(bolt) if revision is None else content_at(bolt, revision)
    pages = [page for name, number, items in content for page in writer.add_bucket(name, number, items)]
    return writer.head() + b"".join(pages)


def keys_of(bolt: Bolt) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for row, message in bolt.items(b"key"):
        change = kv_pb2.KeyValue.FromString(message)
        if row.endswith(b"t"):
            found.pop(change.key, None)
        else:
            found[change.key] = change.value
    return found


@given(st.lists(CHANGE, min_size=1, max_size=40), st.data())
def test_each_available_revision_has_the_keys_of_that_time(
    changed: list[tuple[dict[bytes, int | None], int]], data: st.DataObject
) -> None:
    history = History(leases={2})
    for number, (sizes, lease) in enumerate(changed):
        values = {key: None if size is None else b"%d" % number + bytes(size) for key, size in sizes.items()}
        history.change(values, lease)
    if data.draw(st.booleans()):
        history.compact(data.draw(st.integers(1, history.revision)))
    source = opened(history.database())
    oldest, newest = available_revisions(source)
    assert (oldest, newest) == (max(history.compacted, 1), history.revision)
    for revision in range(oldest, newest + 1):
        content = written(source, revision)
        assert content == written(source, revision), "an interrupted restore resumes with the same file"
        rewound = opened(content)
        assert keys_of(rewound) == history.at[revision]
        assert newest_revision(rewound) == revision
        assert dict(rewound.items(b"meta")) == dict(source.items(b"meta"))
        stored = {int.from_bytes(key) for key, _ in rewound.items(b"lease")}
        used = {kv_pb2.KeyValue.FromString(message).lease for _, message in rewound.items(b"key")}
        assert stored == (used - {0}) | {2}


def test_a_compacted_copy_has_the_same_content() -> None:
    history = History(leases={5})
    for number in range(100):
        history.put(b"/%d" % (number % 7), bytes(number * 10), 5)
    source = opened(history.database())
    copy = opened(written(source, None))
    assert list(copy.buckets()) == list(source.buckets())
    for name, _ in source.buckets():
        assert list(copy.items(name)) == list(source.items(name))


def test_an_impossible_lease_is_an_error(texts: Texts) -> None:
    history = History()
    history.rows = [((2).to_bytes(8) + b"_" + bytes(8), b"\x0a\x01a\x30" + b"\xff" * 9 + b"\x01")]
    with pytest.raises(ValueError) as caught:
        written(opened(history.database()), 2)
    texts(caught.value)
