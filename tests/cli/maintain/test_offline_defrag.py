"""`maintain defrag --offline` on real members of each minor: their files shrink, and a killed run leaves no gap."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdup.remote.etcd.grpc_client import Etcd
from tests.cli.conftest import (
    Etcdup,
    assert_nothing_to_do,
    demo_folder,
    demo_pids,
    running_demo,
    wait_until,
)
from tests.cli.maintain.test_fix_space import S, call
from tests.cli.maintain.test_maintain import leader
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

SIZE, COUNT, KEPT = 1_000_000, 60, 5
MIB = 1024**2
OFFLINE = ("maintain", "defrag", "--offline", "--over", "10MiB", "--yes")


@pytest.fixture(params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    with fragmented_demo(tmp_path, str(request.param)) as etcdup:
        yield etcdup


@contextmanager
def fragmented_demo(folder: Path, version: str) -> Iterator[Etcdup]:
    """Yield a demo of this version whose files have about 60 MiB, of which 5 MiB are in use."""
    with running_demo(folder, version) as etcdup:
        call(etcdup, "infra1", fragment)

        def is_fragmented() -> bool:
            # Pages that a transaction has freed become free in the next transaction.
            call(etcdup, "infra1", lambda client: client.put(b"/small", b"", timeout_s=S))
            return all(free > 40 * MIB for free in reclaimable(etcdup))

        wait_until(is_fragmented, "no space became free")
        yield etcdup


async def fragment(client: Etcd) -> None:
    for number in range(COUNT):
        await client.put(b"/big/%d" % number, bytes(SIZE), timeout_s=S)
    for number in range(KEPT, COUNT):
        await client.delete(b"/big/%d" % number, timeout_s=S)
    await client.compact(await client.revision(timeout_s=S), timeout_s=S)


def reclaimable(etcdup: Etcdup) -> list[int]:
    found = json.loads(etcdup("status", "--json").stdout)["members"]
    return [member["db_size"] - member["db_in_use"] for member in found]


def files(etcdup: Etcdup) -> list[Path]:
    """Return the files of the databases, and what an interrupted defragmentation left next to them."""
    return [path for path in demo_folder(etcdup).rglob("member/snap/*") if path.name.startswith("db")]


def is_whole(etcdup: Etcdup) -> bool:
    """Return whether all members have the same data, and the keys that were kept."""
    verified = etcdup("maintain", "verify").returncode == 0
    keys = etcdup("ctl", "--", "get", "/big/", "--prefix", "--keys-only").stdout.split()
    return verified and len(keys) == KEPT


def cut_off(etcdup: Etcdup, sent: signal.Signals) -> int:
    """Start the defragmentation, send this signal as soon as a member is stopped, and return the exit code."""
    pids = demo_pids(etcdup)
    with etcdup.start(*OFFLINE) as run:
        while all(Path(f"/proc/{pid}/exe").exists() for pid in pids):
            assert run.poll() is None, run.communicate()
            time.sleep(0.001)
        run.send_signal(sent)
        run.communicate(timeout=60)
    return run.returncode


@pytest.mark.in_turn(0, 2)
def test_all_members_are_defragmented_and_a_killed_run_is_finished(up: Etcdup) -> None:
    """The script on the host outlives etcdup, and starts the member again."""
    assert up(*OFFLINE[:-1], "--json").returncode == 3
    before, first = demo_pids(up), leader(up)
    assert cut_off(up, signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: up("health").returncode == 0, "the member was not started again")
    done = up(*OFFLINE, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {step["step"] for step in report["done"]} == {"DefragmentOffline"}
    assert leader(up) != first, "the leadership moved before the leader was stopped"
    assert all(free < 5 * MIB for free in reclaimable(up))
    assert all(path.stat().st_size < 20 * MIB for path in files(up))
    assert all(each["size_after"] < 20 * MIB for each in report["databases"])
    assert set(demo_pids(up)).isdisjoint(before), "each member was restarted"
    assert is_whole(up)
    assert (up("plan").returncode, up("health").returncode) == (0, 0)
    assert_nothing_to_do(up, *OFFLINE)
