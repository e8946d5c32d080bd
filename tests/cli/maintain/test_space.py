"""`maintain space` on a real member: the growth between two backups."""

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from etcdup.core.backups.backups import backup_name, backup_time
from etcdup.remote.etcd.grpc_client import Etcd
from tests.cli.backups.test_backup import copy_backup, take_now
from tests.cli.conftest import demo_folder, running_demo
from tests.cli.maintain.test_fix_space import MIB, VALUE, call, with_small_quota
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

AGO = timedelta(hours=6)
WRITTEN = 150


@pytest.mark.in_turn(1, 2)
@pytest.mark.parametrize("version", one_in_turn("3.5.33", "3.7.1", "3.6.14", "3.4.23"))
def test_two_backups_give_the_days_until_the_quota(tmp_path: Path, version: str) -> None:
    """The first backup gets an earlier time. The sizes are those of real files."""
    with running_demo(tmp_path, version, members=1, edit=with_small_quota) as up:
        folder = demo_folder(up) / "backups"
        first = take_now(up)
        unknown = json.loads(up("maintain", "space", "--json").stdout)
        assert unknown["growth"] is None
        taken = backup_time(first, "demo")
        assert taken is not None
        earlier = backup_name("demo", taken - AGO)
        copy_backup(up, first, earlier)
        for path in folder.glob(f"{first}.*"):
            path.unlink()

        async def write(client: Etcd) -> None:
            for number in range(WRITTEN):
                await client.put(b"/data/%d" % number, bytes(VALUE), timeout_s=30)

        call(up, "infra1", write)
        second = take_now(up)
        found = json.loads(up("maintain", "space", "--json").stdout)
        assert found["source"] == f"backup {second}"
        grown = found["file_bytes"] - unknown["file_bytes"]
        assert grown > WRITTEN * VALUE / 2
        assert found["growth"]["bytes_per_day"] == pytest.approx(4 * grown, rel=0.01)
        days = (16 * MIB - found["file_bytes"]) / (4 * grown)
        assert found["growth"]["days_to_quota"] == pytest.approx(days, abs=0.06)
        assert up("maintain", "space").returncode == 0
        live = json.loads(up("maintain", "space", "--live", "--json").stdout)
        assert live["growth"]["days_to_quota"] == pytest.approx(days, abs=0.06)
        assert "database-grows" not in up("check").stdout, "six hours say little about two weeks"
        copy_backup(up, earlier, backup_name("demo", taken - timedelta(days=2)))
        began = time.monotonic()
        assert "database-grows" in up("check").stdout
        assert time.monotonic() - began < 3
