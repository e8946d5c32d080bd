"""`recover` on fakes: what is refused and why, a kill after every command, and old members that start again."""

import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.log_messages import explain_log
from etcdup.core.host.startup_fence import superseded_key
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import HostStep
from etcdup.core.recovery.recovery import (
    begun_recovery,
    plan_recovery,
    recovery_notes,
    refuse_recovery,
    refuse_recovery_copies,
)
from etcdup.core.restore.attempt import restore_token
from etcdup.core.restore.restore_guards import space_needed
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.recovery.recovery import (
    RecoverySource,
    choose_source,
    measure_copies,
    prepare_salvage,
    read_logs_beyond_snapshots,
    world_of_one,
)
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.test_destroy import contents
from tests.flows.test_restore import old_logs
from tests.support.cases import quick_first
from tests.support.fake_world import TOKEN, RecordingReporter, aside, bring_up, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, prepare_start
from tests.support.texts import Texts

BOTH = ("infra2", "infra3")


async def lose_quorum(tmp_path: Path) -> tuple[Spec, Start]:
    """Return a cluster of three members with one key, after two machines lost their power."""
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network = start.network
    client = await world_of(spec, network, start.folder).etcd("infra1")
    await client.put(b"/registry/a", b"1", timeout_s=1)
    for name in BOTH:
        network.crash(name)
    network.commands.clear()
    return spec, start


async def recover(
    spec: Spec, network: FakeNetwork, folder: Path, fenced: Collection[str] = BOTH, run: int = 1
) -> Plan:
    """One `etcdup recover`, without the terminal."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    chosen = await choose_data(world, observed, fenced)
    notes = recovery_notes(spec, observed, chosen.host, fenced, salvaged=chosen.salvaged)
    snapshot = snapshot_file(chosen.path)
    one = world_of_one(world, observed, chosen.host, fenced)
    token = restore_token(one.spec, await observe(one), f"prod-recovered-{run}")

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_recovery(one.spec, observed, snapshot, token, aside(run), notes)

    plan = planner(await observe(one))
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(one, plan, planner, RecordingReporter([]), journal)
    return plan


async def choose_data(world: World, observed: Observed, fenced: Collection[str]) -> RecoverySource:
    logs = await read_logs_beyond_snapshots(world, observed)
    if not logs:
        return await choose_source(world, observed, fenced, lambda _: None)
    one, planner, chosen = await prepare_salvage(world, observed, logs, fenced, lambda _: None)
    plan = planner(await observe(one))
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(world.snapshots.parent, world.spec.name) as journal:
        await apply_without_proof(one, plan, planner, RecordingReporter([]), journal)
    return chosen


def snapshot_file(path: Path) -> SnapshotFile:
    content = path.read_bytes()
    return SnapshotFile(str(path), hashlib.sha256(content).hexdigest(), len(content), 3, "3.6.0")


async def expect_refusal(
    spec: Spec, network: FakeNetwork, folder: Path, fenced: Collection[str] = ()
) -> tuple[str, str]:
    """Return the message and the hint of the first reason."""
    reasons = refuse_recovery(spec, await observe(world_of(spec, network, folder)), fenced)
    assert reasons
    assert network.commands == []
    return reasons[0].message, reasons[0].hint


def cluster_ids(network: FakeNetwork) -> dict[str, int]:
    """Return the cluster ID of each running member."""
    return {
        name: machine.process.cluster.cluster_id
        for name, machine in network.machines.items()
        if machine.process is not None
    }


def copied_logs(network: FakeNetwork, name: str) -> list[bytes]:
    """Return the logs in the cold copies of a host's data."""
    machine = network.machines[name]
    paths = [path for path in machine.nodes if ".cold-" in path and path.endswith(".wal")]
    return [node.content or b"" for path in paths if (node := machine.file(path))]


def stored_keys(network: FakeNetwork, name: str) -> dict[bytes, bytes]:
    process = network.machines[name].process
    assert process is not None
    return process.cluster.keys


async def test_one_survivor_serves_alone_and_grows_back(texts: Texts, tmp_path: Path) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    plan = await recover(spec, network, folder)
    assert [step.kind for step in plan.steps] == [
        "StageRestore",
        "StopMembers",
        "CopyData",
        "PlaceData",
        "InstallFiles",
        "StartRestored",
        "FenceOff",
        "SealRestore",
    ]
    texts(plan.notes)
    (kept,) = (folder / "backups").glob("*-recover-infra1-*.db")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert stored_keys(network, "infra1")[b"/registry/a"] == b"1"
    value = stored_keys(network, "infra1")[superseded_key(TOKEN)]
    texts(value.decode())
    for name in BOTH:
        network.machines[name].nodes = {"/": network.machines[name].nodes["/"]}
        network.machines[name].enabled = False
        network.machines[name].users.clear()
        network.machines[name].loaded_unit = None
        network.reboot(name)
    await apply_and_check(spec, network, folder)
    assert len(set(cluster_ids(network).values())) == 1
    assert stored_keys(network, "infra3")[b"/registry/a"] == b"1"


@pytest.mark.parametrize("survivor", ["in reach", "out of reach", "with users of its own"])
async def test_old_members_that_start_together_are_cleared_before_any_other_step(
    texts: Texts, tmp_path: Path, survivor: str
) -> None:
    """The split brain of rule 65: both are a quorum of the old cluster, unless they read that it was superseded.

    If neither of them can read that, only apply stops them.
    """
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    await recover(spec, network, folder)
    logs = {name: network.machines[name].file("/var/lib/etcd/member/wal/0.wal") for name in BOTH}
    infra1, infra2 = (network.machines[name] for name in ("infra1", "infra2"))
    infra1.isolated = survivor == "out of reach"
    assert infra1.process is not None
    infra1.process.cluster.auth = survivor == "with users of its own"
    for name in BOTH:
        network.reboot(name)
    if survivor == "in reach":
        for _ in range(3):
            await network.sleep(6)  # systemd tries to start it again and again
        assert cluster_ids(network).keys() == {"infra1"}
        assert infra2.restarts == 3
        texts(infra2.log[-1])
        explained = explain_log(infra2.log)
        assert explained is not None
        texts(explained[0])
        silent = (await observe(world_of(spec, network, folder))).members["infra2"]
        assert isinstance(silent, MemberSilent)
        texts(silent)
    else:
        assert len(set(cluster_ids(network).values())) == 2, "they are the old cluster again"
    infra1.isolated = infra1.process.cluster.auth = False
    plan = await make_plan(spec, network, folder)
    assert isinstance(plan, Plan)
    assert [(step.kind, step.host) for step in plan.steps[:2]] == [  # type: ignore[attr-defined]
        ("RetireMember", "infra2"),
        ("RetireMember", "infra3"),
    ]
    await apply_and_check(spec, network, folder)
    assert len(set(cluster_ids(network).values())) == 1
    for name, log in logs.items():
        assert log is not None
        assert log.content in contents(network)[name]


async def test_reachable_members_are_cleared_by_recover_itself(tmp_path: Path) -> None:
    spec = spec_of(5)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    for name in ("infra3", "infra4", "infra5"):
        network.crash(name)
    plan = await recover(spec, network, folder, ("infra3", "infra4", "infra5"))
    done = [(step.kind, step.host) for step in plan.steps if isinstance(step, HostStep)]
    assert done[1:4] == [("CopyData", "infra1"), ("CopyData", "infra2"), ("RetireMember", "infra1")]
    for name in ("infra1", "infra2"):
        assert copied_logs(network, name) == [old_logs(start)[name]]
    assert cluster_ids(network).keys() == {"infra2"}
    assert not network.machines["infra1"].enabled
    for name in ("infra3", "infra4", "infra5"):
        network.reboot(name)
    await apply_and_check(spec, network, folder)


async def test_too_little_free_space_for_a_copy_is_refused_before_any_member_stops(
    texts: Texts, tmp_path: Path
) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    world = world_of(spec, network, folder)
    one = world_of_one(world, await observe(world), "infra1", BOTH)
    observed = await observe(one)
    sizes = await measure_copies(one, observed, "prod-new")
    assert sizes["infra1"] > 0
    snapshot = SnapshotFile("/s.db", "0" * 64, 1 << 20, 3, "3.6.0")
    assert refuse_recovery_copies(one.spec, observed, snapshot, "prod-new", sizes) == ()
    network.machines["infra1"].free_bytes = space_needed(snapshot)
    (reason,) = refuse_recovery_copies(one.spec, await observe(one), snapshot, "prod-new", sizes)
    texts(reason)
    assert network.commands == []
    plan = plan_recovery(one.spec, await observe(one), snapshot, "prod-new", "aside-1", (), copies=False)
    assert isinstance(plan, Plan)
    assert "CopyData" not in {step.kind for step in plan.steps}


@pytest.mark.parametrize("kind", quick_first("killed", "crash", "crash and killed"))
async def test_after_a_kill_at_any_command_the_same_recover_finishes(tmp_path: Path, kind: str) -> None:
    """At the end of each run, two old members start again."""
    spec, start = await lose_quorum(tmp_path)
    async for network, folder in kill_and_finish(spec, start, kind):
        assert stored_keys(network, "infra1")[b"/registry/a"] == b"1"
        # Each copy has one token. If the first run did not write its marker, the second run has another token.
        assert set(copied_logs(network, "infra1")) == {old_logs(start)["infra1"]}
        assert not any(path.endswith(".part") for path in network.machines["infra1"].nodes)
        for name in BOTH:
            network.reboot(name)
        assert cluster_ids(network).keys() == {"infra1"}, "the fence exists before the recovery is complete"
        await apply_and_check(spec, network, folder)
        assert stored_keys(network, "infra2")[b"/registry/a"] == b"1"


async def kill_and_finish(spec: Spec, start: Start, kind: str) -> AsyncIterator[tuple[FakeNetwork, Path]]:
    """Yield the state after an interruption at each command of a recover, and a second run that finishes it.

    `kind` says what happens at the command: etcdup is killed, the survivor loses its power, or both.
    """
    whole, folder = start.copy_to("whole")
    await recover(spec, whole, folder)
    for cut in range(1, len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        if "killed" in kind:
            network.cut_after = cut
        if "crash" in kind:
            network.at(cut, lambda network=network: network.crash("infra1"))  # type: ignore[misc]
        with pytest.raises((Killed, EtcdupError)):
            await recover(spec, network, folder)
        network.restart_etcdup()
        if "crash" in kind:
            network.reboot("infra1")
        await finish_recover(spec, network, folder)
        yield network, folder


async def finish_recover(spec: Spec, network: FakeNetwork, folder: Path) -> None:
    """Run recover again, unless the last marker is written and the cluster has a quorum: then nothing is left."""
    observed = await observe(world_of(spec, network, folder))
    if begun_recovery(spec, observed) is None and any(
        seen.leader_id for seen in observed.answering().values()
    ):
        return
    await recover(spec, network, folder, run=2)


def do_nothing(network: FakeNetwork) -> None:
    """Leave two hosts without power."""


def stop_one(network: FakeNetwork) -> None:
    network.reboot("infra2")
    network.machines["infra2"].process = None


def bring_one_back(network: FakeNetwork) -> None:
    network.reboot("infra2")


def fill_disk(network: FakeNetwork) -> None:
    stop_one(network)
    network.machines["infra2"].free_bytes = 1000


def crash_survivor(network: FakeNetwork) -> None:
    network.crash("infra1")


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (do_nothing, "infra2 cannot be reached and may still run", "--fenced infra2"),
        (stop_one, "nothing is lost: infra1, infra2", "run `etcdup apply` to start the stopped members"),
        (fill_disk, "nothing is lost: infra1, infra2", "the disk of infra2 is full"),
        (bring_one_back, "the cluster has a quorum: infra1, infra2 of 3 voters", "member replace"),
        (crash_survivor, "no member answers", "etcdup restore"),
    ],
)
async def test_recover_is_refused_if_less_is_enough(
    tmp_path: Path, change: Callable[[FakeNetwork], None], message: str, hint: str
) -> None:
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    change(network)
    refusal = await expect_refusal(spec, network, folder)
    assert refusal[0].startswith(message)
    assert hint in refusal[1]


@pytest.mark.parametrize("is_member", [True, False])
async def test_two_clusters_with_one_name_are_refused(texts: Texts, tmp_path: Path, is_member: bool) -> None:
    """Without the marker of a restore, etcdup cannot know which cluster is the old one.

    If etcd itself shows that the host is a member of this cluster, its marker is wrong. Then the host is not changed.
    """
    spec, start = await lose_quorum(tmp_path)
    network, folder = start.copy_to("one")
    for name in BOTH:
        network.reboot(name)
    await bring_up(spec, network, folder)
    marker = network.machines["infra3"].file("/etc/etcd/etcdup.json")
    assert marker is not None
    marker.content = (marker.content or b"").replace(b"prod-0123456789ab", b"prod-another")
    if is_member:
        seen = (await observe(world_of(spec, network, folder))).hosts["infra3"]
        assert isinstance(seen, Unreachable)
        texts(seen)
        left = await make_plan(spec, network, folder)
        assert isinstance(left, Plan)
        assert left.steps == ()
        assert left.unknown == ("infra3",)
        assert seen.why in left.notes[0]
        return
    network.machines["infra3"].end_etcd(1)
    answer = await make_plan(spec, network, folder)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
