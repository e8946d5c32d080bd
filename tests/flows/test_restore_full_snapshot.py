"""A restore of a snapshot whose cluster refused writes: NOSPACE, CORRUPT, and a database above the quota."""

from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.restore.attempt import restore_token
from etcdup.core.restore.restore import plan_restore
from etcdup.core.spec.model import Spec
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.flows.test_restore import CONTENT, assert_restored, cluster_of, restore, snapshot_in
from tests.support.fake_world import spec_of, world_of
from tests.support.kill_everywhere import kill_after, kill_points, prepare_start
from tests.support.texts import Texts

MIB = 1024**2
NOSPACE, CORRUPT = "NOSPACE on member 1f", "CORRUPT on member 2e"
QUOTA = "etcd: {quota: 400MiB}\n"
LARGER = "etcd: {quota: 1GiB}\n"


def full_snapshot(folder: Path, *alarms: str) -> SnapshotFile:
    content = b"".join(b"!%s\n" % alarm.encode() for alarm in alarms) + CONTENT
    return replace(snapshot_in(folder, content=content), alarms=alarms)


async def answer_to(spec: Spec, network: FakeNetwork, folder: Path, snapshot: SnapshotFile) -> Plan | Refusal:
    observed = await observe(world_of(spec, network, folder))
    return plan_restore(spec, observed, snapshot, restore_token(spec, observed, "prod-x"), "aside-1")


@pytest.mark.quick
@pytest.mark.parametrize("alarms", [(), (NOSPACE,)])
async def test_a_snapshot_above_the_quota_is_refused_and_restored_with_a_larger_one(
    texts: Texts, tmp_path: Path, alarms: tuple[str, ...]
) -> None:
    """The refusal is the first answer: nothing runs on any host. With another quota, the same command finishes."""
    small, larger = spec_of(more=QUOTA), spec_of(more=LARGER)
    network, folder = (await prepare_start(small, small, tmp_path)).copy_to("one")
    snapshot = full_snapshot(folder, *alarms)
    large = replace(snapshot, size=399 * MIB)
    refused = await answer_to(small, network, folder, large)
    assert isinstance(refused, Refusal)
    (reason,) = refused.reasons
    assert {70, 77} <= set(reason.rules)
    texts(reason)
    plan = await restore(larger, network, folder, replace(snapshot, size=399 * MIB))
    kinds = [step.kind for step in plan.steps]
    assert ("DisarmSpaceAlarm" in kinds) == bool(alarms)
    await assert_restored(larger, network, folder)
    assert cluster_of(network).alarms == ()


@pytest.mark.parametrize("keep_leases", [False, True])
async def test_the_alarm_of_a_snapshot_is_disarmed_after_a_kill_at_any_command(
    texts: Texts, tmp_path: Path, keep_leases: bool
) -> None:
    spec = spec_of()
    start = await prepare_start(spec, spec, tmp_path)
    whole, folder = start.copy_to("whole")
    plan = await restore(spec, whole, folder, full_snapshot(folder, NOSPACE), keep_leases=keep_leases)
    commands = len(whole.commands)
    kinds = [step.kind for step in plan.steps]
    assert kinds[kinds.index("StartRestored") :] == [
        "StartRestored", "DisarmSpaceAlarm", "FenceOff", *["SealRestore"] * 3
    ]  # fmt: skip
    texts(plan.notes)
    commands = len(whole.commands)  # `assert_restored` runs more of them
    await assert_restored(spec, whole, folder)
    for cut in kill_points(commands):
        network, folder = start.copy_to(str(cut))
        snapshot = full_snapshot(folder, NOSPACE)
        await kill_after(cut, network, restore(spec, network, folder, snapshot, keep_leases=keep_leases))
        await restore(spec, network, folder, snapshot, run=2, keep_leases=keep_leases)
        await assert_restored(spec, network, folder)
        assert cluster_of(network).alarms == (), cut


async def test_a_snapshot_with_the_alarm_corrupt_is_refused(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of()
    network, folder = (await prepare_start(spec, spec, tmp_path)).copy_to("one")
    commands = len(network.commands)
    refused = await answer_to(spec, network, folder, full_snapshot(folder, CORRUPT, NOSPACE))
    assert isinstance(refused, Refusal)
    assert [reason.rules for reason in refused.reasons] == [(82,)]
    texts(refused)
    assert len(network.commands) == commands
