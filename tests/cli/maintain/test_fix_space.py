"""`maintain fix-space` on real members of each minor whose databases have reached their quota."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.ops.pki.open import open_pki
from etcdup.remote.etcd.client import Credentials
from etcdup.remote.etcd.errors import EtcdRefused, NoSpace
from etcdup.remote.etcd.grpc_client import Etcd
from tests.cli.conftest import Etcdup, assert_nothing_to_do, demo_folder, demo_spec, running_demo
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

# The smallest quota that cluster.yaml accepts.
QUOTA = "etcd: {quota: 16MiB}\n"
MIB = 1024**2
S = 30.0
VALUE = 20_000
MOST = 1200


@pytest.fixture(params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of this version with a small quota, running."""
    with running_demo(tmp_path, str(request.param), edit=with_small_quota) as etcdup:
        yield etcdup


def with_small_quota(text: str) -> str:
    return f"{QUOTA}{without_etcd(text)}"


def without_etcd(text: str) -> str:
    """Return cluster.yaml without its section `etcd`, so that its other values are the default ones."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("etcd:"))


def call(etcdup: Etcdup, name: str, work: Callable[[Etcd], Awaitable[None]]) -> None:
    """Let a client of this member work."""
    spec = demo_spec(etcdup)
    host = next(each for each in spec.hosts if each.name == name)
    ca, cert, key = open_pki(spec, demo_folder(etcdup)).credentials()

    async def connected() -> None:
        target = spec.client_url(host).removeprefix("https://")
        client = Etcd(name, target, target.rpartition(":")[0], Credentials(ca, cert, key))
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(connected())


async def fill(client: Etcd, key: Callable[[int], bytes]) -> None:
    """Write until etcd refuses a write for space."""
    for number in range(MOST):
        try:
            await client.put(key(number), bytes(VALUE), timeout_s=S)
        except NoSpace:
            return
    raise AssertionError("the quota was not reached")


def databases(etcdup: Etcdup) -> list[int]:
    members = json.loads(etcdup("status", "--json").stdout)["members"]
    return [member["db_size"] for member in members]


def fixed(etcdup: Etcdup, *options: str) -> dict[str, object]:
    done = etcdup("maintain", "fix-space", "--yes", "--json", *options)
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    health = etcdup("health")
    assert health.returncode == 0, health.stdout
    assert max(databases(etcdup)) < 0.9 * 16 * MIB
    return report


def steps_of(report: dict[str, object]) -> list[str]:
    done = report["done"]
    assert isinstance(done, list)
    return [each["step"] for each in done]


def snapshots(etcdup: Etcdup) -> list[Path]:
    return list(demo_folder(etcdup).rglob("*-before-fix-space-*.db"))


@pytest.mark.in_turn(1, 2)
def test_each_cause_is_found_and_what_can_be_freed_is_freed(up: Etcdup) -> None:
    assert_nothing_to_do(up, "maintain", "fix-space")

    # A storm of revisions of one key. The last values of other keys stay.
    call(up, "infra1", lambda client: client.put(b"/kept", b"value", timeout_s=S))
    call(up, "infra1", lambda client: fill(client, lambda _: b"/lock"))
    assert "alarm-raised" in {cause["code"] for cause in json.loads(up("status", "--json").stdout)["causes"]}
    assert up("maintain", "fix-space", "--json").returncode == 3
    assert snapshots(up) == [], "nothing was compacted"
    up.kill_at("CompactHistory", "maintain", "fix-space", "--yes")
    report = fixed(up)
    assert report["space"]["cause"] in ("often-written-keys", "free-pages")  # type: ignore[index]
    assert steps_of(report)[-1] == "DisarmSpaceAlarm"
    assert len(snapshots(up)) >= 1
    assert up("ctl", "--", "get", "/kept", "--print-value-only").stdout == "value\n"

    # A flood of keys that were deleted again. Deletes work during the alarm.
    call(up, "infra2", lambda client: fill(client, lambda number: b"/events/%d" % number))
    assert up("ctl", "--", "del", "--prefix", "/events/").returncode == 0
    report = fixed(up)
    assert report["space"]["cause"] == "replaced-keys"  # type: ignore[index]
    assert steps_of(report) == ["CompactHistory", *["DefragmentMember"] * 3, "DisarmSpaceAlarm"]

    # Free pages: the history was compacted, and the files were not defragmented.
    call(up, "infra3", lambda client: fill(client, lambda _: b"/lock"))
    call(up, "infra3", compact_all)
    report = fixed(up)
    assert report["space"]["cause"] == "free-pages"  # type: ignore[index]
    assert steps_of(report) == [*["DefragmentMember"] * 3, "DisarmSpaceAlarm"]

    # Present keys above the quota: nothing is changed, and the quota of the hint helps.
    call(up, "infra1", lambda client: fill(client, lambda number: b"/data/%d" % number))
    before = databases(up)
    refused = up("maintain", "fix-space", "--yes", "--json")
    assert refused.returncode == 4
    hint = json.loads(refused.stdout)["error"]["hint"]
    assert "`quota: 32MiB`" in hint
    assert "CompactHistory" not in refused.stdout
    assert databases(up) == before
    file = demo_folder(up) / "cluster.yaml"
    file.write_text(file.read_text().replace(QUOTA, "etcd: {quota: 32MiB}\n"))
    assert up("apply", "--yes").returncode == 0
    assert up("health").returncode == 0


async def compact_all(client: Etcd) -> None:
    await client.compact(await client.revision(timeout_s=S), timeout_s=S)


def test_one_member_that_was_not_defragmented_raises_the_alarm_and_is_found(up: Etcdup) -> None:
    async def shrink(client: Etcd) -> None:
        await client.defragment(timeout_s=S)

    call(up, "infra1", lambda client: fill(client, lambda _: b"/lock"))
    call(up, "infra1", compact_all)
    for name in ("infra1", "infra3"):
        with suppress(EtcdRefused):
            call(up, name, compact_all)
        call(up, name, shrink)
    # One database is still as large as its quota, so the alarm stays.
    assert up("apply", "--yes").returncode == 1
    assert "NOSPACE" in up("ctl", "--", "alarm", "list").stdout
    report = fixed(up)
    assert report["plan"]["steps"][0]["host"] == "infra2"  # type: ignore[index]
    assert steps_of(report) == ["DefragmentMember", "DisarmSpaceAlarm"]


@pytest.mark.in_turn(0, 2)
def test_a_run_that_is_killed_during_a_defragmentation_is_finished_by_the_next_one(up: Etcdup) -> None:
    call(up, "infra1", lambda client: fill(client, lambda _: b"/lock"))
    up.kill_at("DefragmentMember", "maintain", "fix-space", "--yes")
    assert steps_of(fixed(up))[-1] == "DisarmSpaceAlarm"
