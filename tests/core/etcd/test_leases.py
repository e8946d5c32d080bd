"""The count of the keys on leases in a database, and the text of it."""

from collections.abc import Iterator

import pytest

from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.leases import LeaseUse, key_prefix, read_leases
from etcdup.core.restore.client_notes import lease_notes
from tests.support.texts import Texts


class Buckets(Bolt):
    """A database with these buckets, without pages."""

    def __init__(self, **buckets: list[tuple[bytes, bytes]]) -> None:
        object.__setattr__(self, "buckets", buckets)

    def items(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from self.buckets.get(bucket.decode(), [])  # type: ignore[attr-defined]


def revision(number: int, *, deleted: bool = False) -> bytes:
    return number.to_bytes(8) + b"_" + bytes(8) + (b"t" if deleted else b"")


def key_value(key: bytes, lease: int = 0) -> bytes:
    value = b"v" * 200
    tail = b"\x30" + bytes([lease]) if lease else b""
    return b"\x0a" + bytes([len(key)]) + key + b"\x10\x02\x18\x03\x2a\xc8\x01" + value + tail


LEASES = [(bytes(7) + bytes([number]), b"") for number in (7, 8)]


def test_a_key_counts_if_its_newest_revision_has_a_lease(texts: Texts) -> None:
    keys = [
        (revision(2), key_value(b"/service/pg/leader", 7)),
        (revision(3), key_value(b"/service/pg/members/pg1", 7)),
        (revision(4), key_value(b"/registry/masterleases/m", 8)),
        (revision(5), key_value(b"/service/pg/config")),
        (revision(6), key_value(b"/service/pg/members/pg1")),  # detached
        (revision(7), key_value(b"/gone", 8)),
        (revision(8, deleted=True), key_value(b"/gone")),
        (revision(9), key_value(b"/service/pg/leader", 7)),
        (revision(10), key_value(b"/service/pg/members/pg2", 7)),
    ]
    use = read_leases(Buckets(lease=LEASES, key=keys))
    assert use == LeaseUse(2, 3, (("/service/pg/", 2), ("/registry/masterleases/", 1)))
    (note,) = lease_notes(use, keep_leases=False)
    texts(note)


def test_the_work_is_bounded() -> None:
    """Without leases no key is read, and a database with too many revisions gives no count of keys."""
    damaged = [(revision(number), b"\xff") for number in range(4)]
    assert read_leases(Buckets(key=damaged)) == LeaseUse()
    keys = [(revision(number), key_value(b"/a/b/c", 7)) for number in range(4)]
    assert read_leases(Buckets(lease=LEASES, key=keys), max_revisions=3) == LeaseUse(2, None)
    assert lease_notes(LeaseUse(2, None), keep_leases=True)
    many = LeaseUse(1, 1007, tuple((f"/{number}/", 1) for number in range(1007)))
    assert len(lease_notes(many, keep_leases=False)[0]) < 400


def test_a_damaged_key_is_an_error_of_the_file(texts: Texts) -> None:
    with pytest.raises(ValueError) as caught:
        read_leases(Buckets(lease=LEASES, key=[(revision(2), b"\x0a")]))
    texts(caught.value)


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (b"/service/pg/leader", "/service/pg/"),
        (b"/service/pg", "/service/"),
        (b"/service", "/service"),
        (b"service/pg/leader", "service/pg/"),
        (b"lock", "lock"),
        (b"", ""),
        (b"/a\x1b[31m/b\n/c", "/a\\x1b[31m/b\\n/"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"x" * 100, "x" * 48 + "..."),
    ],
)
def test_a_prefix_is_short_and_printable(key: bytes, prefix: str) -> None:
    assert key_prefix(key) == prefix
