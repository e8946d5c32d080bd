"""Other programs read a snapshot of a real member, or defragment it: what `maintain defrag` and `backup now` do."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from etcdup.remote.etcd.grpc_client import Etcd
from tests.cli.conftest import Etcdup, wait_until
from tests.cli.maintain.test_fix_space import call
from tests.cli.maintain.test_maintain import leader
from tests.cli.maintain.test_offline_defrag import MIB, fragmented_demo, is_whole, reclaimable
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

WAITS_S = 8.0
DUE = ("--over", "40MiB", "--yes")


@pytest.fixture(params=one_in_turn("3.7.1", "3.6.14", "3.4.23", "3.5.33"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    with fragmented_demo(tmp_path, str(request.param)) as etcdup:
        yield etcdup


@asynccontextmanager
async def open_snapshot(client: Etcd) -> AsyncIterator[None]:
    """Read the first piece of a snapshot before the block, and the others after it."""
    async with aclosing(client.snapshot(timeout_s=120)) as pieces:
        await anext(pieces)
        yield
        size = [len(piece) async for piece in pieces]
    assert sum(size) > 50 * MIB, "the reader got the whole snapshot"


def followers(etcdup: Etcdup) -> list[str]:
    return [name for name in ("infra1", "infra2", "infra3") if name != leader(etcdup)]


@pytest.mark.parametrize("offline", one_in_turn(True, False))
def test_a_snapshot_that_another_program_reads_slowly_is_waited_for(up: Etcdup, offline: bool) -> None:
    """An open stream would block a defragmentation, and a stop of the member would end the backup."""
    victim, options = followers(up)[0], (("--offline",) if offline else ())

    async def read_slowly(client: Etcd) -> None:
        async with open_snapshot(client):
            run = up.start("maintain", "defrag", victim, *DUE, *options)
            await asyncio.sleep(WAITS_S)
            assert run.poll() is None, run.communicate()
            assert max(reclaimable(up)) > 40 * MIB
        _, errors = await asyncio.to_thread(run.communicate)
        assert run.returncode == 0, errors
        assert "waiting until a program has read its snapshot" in errors

    call(up, victim, read_slowly)
    assert min(reclaimable(up)) < 5 * MIB


@pytest.mark.in_turn(0, 2)
def test_a_defragmentation_by_another_program_forbids_ours_and_a_backup_avoids_its_member(up: Etcdup) -> None:
    """A snapshot that is not read makes it last: etcd ends a defragmentation only without readers."""
    busy, other = followers(up)

    def is_seen() -> bool:
        refused = up("maintain", "defrag", other, *DUE)
        return refused.returncode == 4 and f"{busy} is already being defragmented" in refused.stderr

    async def defragment(client: Etcd) -> None:
        async with open_snapshot(client):
            tool = up.start("ctl", "--endpoint", busy, "--", "defrag", "--command-timeout=120s")
            await asyncio.to_thread(wait_until, is_seen, "the other defragmentation is not refused")
            backup = await asyncio.to_thread(up, "backup", "now", "--json")
            assert backup.returncode == 0, backup.stderr
            assert json.loads(backup.stdout)["member"] == other
            assert tool.poll() is None, tool.communicate()
        _, errors = await asyncio.to_thread(tool.communicate)
        assert tool.returncode == 0, errors

    call(up, busy, defragment)
    done = up("maintain", "defrag", *DUE)
    assert done.returncode == 0, done.stderr
    assert max(reclaimable(up)) < 5 * MIB
    assert is_whole(up)
