"""`bbolt check` reports nothing about files of etcdup's own writer, and reports a damaged page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from etcdup.core.etcd.bbolt_writer import BoltWriter
from etcdup.core.etcd.rows import revision_key
from tests.support.bbolt_check import bbolt_check
from tests.support.bolt_files import BUCKETS, PAGE, History, database, items_of
from tests.support.etcd_binaries import why_no_bbolt

pytestmark = pytest.mark.skipif(bool(why_no_bbolt()), reason=str(why_no_bbolt()))

# Each example starts a process. All of them write the same file again.
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(BUCKETS)
def test_any_buckets_are_a_valid_file(tmp_path: Path, buckets: dict[bytes, dict[bytes, int]]) -> None:
    path = tmp_path / "written.db"
    path.write_bytes(database(items_of(buckets)))
    bbolt_check(path)


@pytest.mark.parametrize("count", [0, 1, pytest.param(1_000_000, marks=pytest.mark.in_turn(0, 3))])
def test_any_number_of_keys_is_a_valid_file(tmp_path: Path, count: int) -> None:
    """The file is not in memory, as in a restore."""
    path, writer = tmp_path / "written.db", BoltWriter(PAGE)
    with path.open("wb") as file:
        file.write(bytes(writer.head_size))
        file.writelines(writer.add_bucket(b"key", 0, keys(count)))
        file.seek(0)
        file.write(writer.head())
    bbolt_check(path)


def keys(count: int) -> Iterator[tuple[bytes, bytes]]:
    return ((revision_key(number), b"v" * (number % 64)) for number in range(count))


def test_a_page_of_another_kind_is_reported(tmp_path: Path) -> None:
    history = History()
    for number in range(100):
        history.put(b"/%d" % number, bytes(300))
    path = history.write_snapshot(tmp_path / "damaged.db")
    bbolt_check(path)
    with path.open("r+b") as file:
        file.seek(6 * PAGE + 8)
        file.write(b"\xff")
    with pytest.raises(AssertionError, match="page 6"):
        bbolt_check(path)
