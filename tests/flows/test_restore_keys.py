"""`restore-keys` on fakes: cut after each request, next to clients that write, and without what it needs."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.backups.old_keys import find_rows
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import RestoreKeys
from etcdup.core.restore.restore_keys import (
    MOST_OPERATIONS,
    KeyComparison,
    KeyJob,
    plan_restore_keys,
    refuse_restore_keys,
)
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.ops.members.members import connect_healthy_member
from etcdup.ops.restore.keys import compare_keys
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.support.bolt_files import History
from tests.support.fake_world import RecordingReporter, lock_of, spec_of, world_of
from tests.support.kill_everywhere import kill_after, prepare_start
from tests.support.texts import Texts

SPEC = spec_of()
COUNT = 2 * MOST_OPERATIONS + 10
LEASE = 9
BEFORE = {b"/app/%03d" % number: b"old %d" % number for number in range(COUNT)}


@dataclass
class Before:
    """A snapshot in which keys were deleted and changed after `revision`."""

    path: Path
    revision: int


def history_in(folder: Path) -> Before:
    history = History(leases={LEASE})
    for key, value in BEFORE.items():
        history.put(key, value)
    history.put(b"/app/leader", b"pg1", LEASE)
    revision = history.put(b"/other", b"1")
    history.delete(*BEFORE)
    return Before(history.write_snapshot(folder / "history.db"), revision)


async def restore_keys(
    network: FakeNetwork,
    folder: Path,
    before: Before,
    *,
    leased: bool = False,
    target: bytes = b"/app/",
    spec: Spec = SPEC,
) -> tuple[KeyComparison, KeyJob]:
    """Run `etcdup restore-keys`, without the terminal. Return what it showed, and how far it came."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    shown = KeyComparison(b"/app/", target, leased)
    with open_database(before.path) as bolt:
        rows = find_rows(bolt, before.revision, b"/app/")
        assert rows
        client = await connect_healthy_member(world, observed, "")
        await compare_keys(client, world.clock, bolt, rows, shown, print)
        job = KeyJob(bolt, shown.writes)
        await write(network, folder, shown, job, spec)
    return shown, job


async def write(
    network: FakeNetwork, folder: Path, shown: KeyComparison, job: KeyJob, spec: Spec = SPEC
) -> None:
    world = world_of(spec, network, folder)
    world.key_job = job
    step = RestoreKeys(
        source="history.db", revision=1, prefix="/app/", to_prefix="/app/", created=len(shown.created),
        overwritten=len(shown.overwritten), bytes=shown.bytes, reason="",
    )  # fmt: skip

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_restore_keys(spec, observed, step)

    plan = planner(await observe(world))
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    async with lock_of(world, network, "restore-keys") as world.lock:
        with Journal.in_folder(folder, spec.name) as journal:
            await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)


def app_keys(network: FakeNetwork, prefix: bytes = b"/app/") -> dict[bytes, bytes]:
    return {key: value for key, value in network.etcd.only().keys.items() if key.startswith(prefix)}


@pytest.mark.quick
async def test_old_values_are_written_and_the_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    network, folder = (await prepare_start(SPEC, SPEC, tmp_path)).copy_to("one")
    cluster, before = network.etcd.only(), history_in(folder)
    cluster.put(b"/app/000", b"newer, on a lease")
    cluster.leases[5] = {b"/app/000"}
    cluster.put(b"/app/001", BEFORE[b"/app/001"])
    cluster.put(b"/app/new", b"kept")
    shown, job = await restore_keys(network, folder, before)
    assert (len(shown.overwritten), len(shown.created), shown.unchanged) == (1, COUNT - 2, 1)
    assert (shown.overwritten[0].key, shown.overwritten[0].found_lease) == (b"/app/000", 5)
    assert (shown.others, dict(shown.leased)) == (1, {"/app/": 1})
    assert job.written == COUNT - 1
    assert app_keys(network) == BEFORE | {b"/app/new": b"kept"}
    assert cluster.lease_of(b"/app/000") == 0
    again, _ = await restore_keys(network, folder, before)
    assert (again.writes, again.unchanged) == ([], COUNT)


async def test_keys_on_leases_are_written_only_if_the_operator_says_so(tmp_path: Path) -> None:
    network, folder = (await prepare_start(SPEC, SPEC, tmp_path)).copy_to("one")
    await restore_keys(network, folder, history_in(folder), leased=True, target=b"/copy/")
    copied = {b"/copy/" + key.removeprefix(b"/app/"): value for key, value in BEFORE.items()}
    assert app_keys(network, b"/copy/") == copied | {b"/copy/leader": b"pg1"}
    assert app_keys(network) == {}
    assert network.etcd.only().lease_of(b"/copy/leader") == 0


async def test_a_key_that_changes_after_it_was_shown_is_reported_and_not_written(tmp_path: Path) -> None:
    """One is changed before the first request, one deleted, and one created between two requests."""
    network, folder = (await prepare_start(SPEC, SPEC, tmp_path)).copy_to("one")
    cluster, before = network.etcd.only(), history_in(folder)
    for number in range(3):
        cluster.put(b"/app/%03d" % number, b"present")
    world = world_of(SPEC, network, folder)
    shown = KeyComparison(b"/app/", b"/app/", with_leased=False)
    with open_database(before.path) as bolt:
        rows = find_rows(bolt, before.revision, b"/app/")
        assert rows
        client = await connect_healthy_member(world, await observe(world), "")
        await compare_keys(client, world.clock, bolt, rows, shown, print)
        job = KeyJob(bolt, shown.writes)
        cluster.put(b"/app/000", b"newer")
        del cluster.keys[b"/app/001"]
        late = b"/app/%03d" % (COUNT - 1)
        network.at(len(network.commands) + 3, lambda: cluster.put(late, b"newer"))
        with pytest.raises(PartlyApplied):
            await write(network, folder, shown, job)
    assert [each.key for each in job.conflicts] == [b"/app/000", b"/app/001", late]
    assert all(each.found != each.shown for each in job.conflicts)
    assert job.written == COUNT - 3
    expected = BEFORE | {b"/app/000": b"newer", late: b"newer"}
    del expected[b"/app/001"]
    assert app_keys(network) == expected


async def test_after_a_kill_at_any_request_the_same_command_writes_the_others(tmp_path: Path) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    before = history_in(tmp_path)
    whole, folder = start.copy_to("whole")
    await restore_keys(whole, folder, before)
    total = len(whole.commands)
    for cut in range(1, total):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, restore_keys(network, folder, before))
        written = app_keys(network)
        shown, _ = await restore_keys(network, folder, before)
        assert shown.unchanged == len(written), cut
        assert app_keys(network) == BEFORE, cut


async def test_without_a_quorum_no_key_is_written(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await prepare_start(SPEC, SPEC, tmp_path)).copy_to("one")
    for name in ("infra2", "infra3"):
        network.crash(name)
    observed = await observe(world_of(SPEC, network, folder))
    (reason,) = refuse_restore_keys(0, SPEC, observed)
    texts(reason)
    with suppress(EtcdupError):
        await restore_keys(network, folder, history_in(folder))
    assert app_keys(network) == {}


@pytest.mark.parametrize(
    ("alarm", "size", "rule"),
    [("CORRUPT on member 1", 0, 82), ("NOSPACE on member 1", 0, 70), ("", 3 * 1024**3, 77)],
)
async def test_writes_that_etcd_would_refuse_are_refused_before_the_first_one(
    tmp_path: Path, alarm: str, size: int, rule: int
) -> None:
    network, folder = (await prepare_start(SPEC, SPEC, tmp_path)).copy_to("one")
    network.etcd.only().alarms = tuple(filter(None, [alarm]))
    observed = await observe(world_of(SPEC, network, folder))
    (reason,) = refuse_restore_keys(size, SPEC, observed)
    assert rule in reason.rules


async def test_a_leader_that_dies_leaves_a_statement_and_the_next_run_writes_the_others(
    tmp_path: Path,
) -> None:
    """Its host is lost in each request in turn. Whether etcd applied the last request is not known."""
    start = await prepare_start(SPEC, SPEC, tmp_path)
    before = history_in(tmp_path)
    whole, folder = start.copy_to("whole")
    await restore_keys(whole, folder, before)
    leader = whole.etcd.leaders[whole.etcd.only().cluster_id]
    requests = [
        number for number, command in enumerate(whole.commands, 1) if command[1][:2] == ("etcd", "txn")
    ]
    assert len(requests) == 3
    for cut in requests:
        network, folder = start.copy_to(str(cut))
        network.at(cut, partial(network.crash, leader))
        with pytest.raises(PartlyApplied):
            await restore_keys(network, folder, before)
        written = app_keys(network)
        network.restart_etcdup()
        shown, job = await restore_keys(network, folder, before)
        assert shown.unchanged == len(written) == COUNT - len(shown.writes)
        assert job.written == len(shown.writes)
        assert app_keys(network) == BEFORE


async def test_a_request_that_is_too_large_is_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The members have a smaller limit than the default of etcd."""
    network, folder = (await prepare_start(SPEC, SPEC, tmp_path)).copy_to("one")
    monkeypatch.setattr("etcdup.testing.etcd_client.MAX_TXN_OPS", 50)
    _, job = await restore_keys(network, folder, history_in(folder))
    assert (job.written, job.conflicts) == (COUNT, [])
    assert app_keys(network) == BEFORE
    monkeypatch.setattr("etcdup.testing.etcd_client.MAX_TXN_OPS", 0)
    with pytest.raises(PartlyApplied) as failed:
        await restore_keys(network, folder, history_in(folder), target=b"/copy/")
    assert not failed.value.resumes
    assert app_keys(network, b"/copy/") == {}
