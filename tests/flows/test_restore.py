"""A restore on fakes: on the same hosts, on other hosts, with another size, and with a kill after every command."""

import asyncio
import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.host.startup_fence import FENCE_PREFIX, superseded_key
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.restore.attempt import restore_token, was_restored
from etcdup.core.restore.restore import BUMP, plan_restore
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.cluster import FakeCluster
from etcdup.testing.machine import CLOSED
from etcdup.testing.network import FakeNetwork
from etcdup.testing.systemd import VOUCHED
from tests.flows.test_destroy import contents
from tests.support.cases import quick_first
from tests.support.fake_world import (
    TOKEN,
    RecordingReporter,
    aside,
    machines_for,
    make_plan,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

CONTENT = b"/registry/a=1\n/registry/b=2\n"


def snapshot_in(folder: Path, made_by: str = "3.6.0", content: bytes = CONTENT) -> SnapshotFile:
    path = folder / "snapshot.db"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return SnapshotFile(str(path), digest, len(content), 3, made_by)


async def restore(
    spec: Spec,
    network: FakeNetwork,
    folder: Path,
    snapshot: SnapshotFile,
    run: int = 1,
    *,
    keep_leases: bool = False,
) -> Plan:
    """Run `etcdup restore`, without the terminal."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    token = restore_token(spec, observed, f"prod-restored-{run}")

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_restore(spec, observed, snapshot, token, aside(run), keep_leases=keep_leases)

    plan = planner(observed)
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(world, plan, planner, RecordingReporter([]), journal)
    return plan


def cut_power(network: FakeNetwork) -> None:
    """Cut the power of all hosts, then boot them one by one: enabled units start, unless a fence keeps them stopped."""
    for name in network.machines:
        network.crash(name)
    for name in network.machines:
        network.reboot(name)


async def expect_refusal(spec: Spec, network: FakeNetwork, folder: Path, snapshot: SnapshotFile) -> list[str]:
    observed = await observe(world_of(spec, network, folder))
    answer = plan_restore(spec, observed, snapshot, restore_token(spec, observed, "prod-x"), "aside-1")
    assert isinstance(answer, Refusal), answer
    return [reason.message for reason in answer.reasons]


async def assert_restored(spec: Spec, network: FakeNetwork, folder: Path) -> None:
    """Assert that one cluster of these hosts runs with the snapshot's keys, and apply has nothing to do."""
    await apply_and_check(spec, network, folder)
    cluster = cluster_of(network)
    assert {key: value for key, value in cluster.keys.items() if key.startswith(b"/registry")} == {
        b"/registry/a": b"1",
        b"/registry/b": b"2",
    }
    assert {member.name for member in cluster.members.values()} == {host.name for host in spec.hosts}


def cluster_of(network: FakeNetwork) -> FakeCluster:
    """Return the one cluster that runs."""
    clusters = {id(m.process.cluster): m.process.cluster for m in network.machines.values() if m.process}
    (cluster,) = clusters.values()
    return cluster


def old_logs(start: Start) -> dict[str, bytes]:
    logs = {}
    for name, machine in start.network.machines.items():
        node = machine.file("/var/lib/etcd/member/wal/0.wal")
        if node is not None:
            logs[name] = node.content or b""
    return logs


async def test_same_hosts(tmp_path: Path) -> None:
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    before = old_logs(start)
    plan = await restore(spec, network, folder, snapshot_in(folder))
    assert [step.kind for step in plan.steps] == [
        *["StageRestore"] * 3,
        "StopMembers",
        *["PlaceData"] * 3,
        "RevokeLeases",
        *["OpenClients"] * 3,
        "StartRestored",
        "FenceOff",
        *["SealRestore"] * 3,
    ]
    await assert_restored(spec, network, folder)
    for name, log in before.items():
        kept = network.machines[name].file(f"/var/lib/etcd.{aside(1)}/member/wal/0.wal")
        assert kept is not None
        assert kept.content == log
        assert network.machines[name].file("/var/lib/etcd.restore.db") is None
    cut_power(network)
    await assert_restored(spec, network, folder)


async def test_a_restore_on_other_hosts_after_all_hosts_are_lost(texts: Texts, tmp_path: Path) -> None:
    old, new = spec_of(3), spec_of([4, 5, 6])
    start = await prepare_start(old, new, tmp_path)
    network, folder = start.copy_to("one")
    for name in ("infra1", "infra2", "infra3"):
        del network.machines[name]
    snapshot = snapshot_in(folder)
    observed = await observe(world_of(new, network, folder))
    answer = plan_restore(new, observed, snapshot, TOKEN, "aside-1")
    assert isinstance(answer, Refusal), answer
    assert [reason.host for reason in answer.reasons] == ["infra1", "infra2", "infra3"]
    for reason in answer.reasons:
        command = (
            f"mkdir -p ./pki/former; mv ./pki/members/{reason.host} ./pki/former/{reason.host}~$(date +%s)"
        )
        texts(reason)
        await asyncio.to_thread(subprocess.run, ["/bin/sh", "-c", command], cwd=folder, check=True)
    await restore(new, network, folder, snapshot)
    await assert_restored(new, network, folder)
    world = world_of(new, network, folder)
    archived = {role.partition("~")[0] for role in world.pki.archived_certs()}
    assert "former/infra1" in archived, "they can still be revoked"


async def test_a_second_restore_raises_revisions_above_the_first(tmp_path: Path) -> None:
    spec = spec_of(1)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    await restore(spec, network, folder, snapshot_in(folder))
    await restore(spec, network, folder, snapshot_in(folder), run=2)
    bumps = [
        argv[argv.index("--bump-revision") + 1] for _, argv in network.commands if "--bump-revision" in argv
    ]
    assert bumps == ["1000000000", "2000000000"]
    # The snapshot is older than both restores. The fence keys of both exist all the same.
    fence_keys = {key for key in cluster_of(network).keys if key.startswith(FENCE_PREFIX.encode())}
    assert fence_keys == {superseded_key(TOKEN), superseded_key("prod-restored-1")}


@pytest.mark.parametrize(("before", "after"), quick_first((3, 3), (3, 5), (5, 3), (1, 1)))
async def test_after_a_kill_at_any_command_the_same_restore_finishes(
    tmp_path: Path, before: int, after: int
) -> None:
    spec = spec_of(after)
    start = await prepare_start(spec_of(before), spec, tmp_path)
    whole, folder = start.copy_to("whole")
    await restore(spec, whole, folder, snapshot_in(folder))
    total = len(whole.commands)
    await assert_restored(spec, whole, folder)
    for cut in kill_points(total):
        network, folder = start.copy_to(str(cut))
        snapshot = snapshot_in(folder)
        await kill_after(cut, network, restore(spec, network, folder, snapshot))
        await restore(spec, network, folder, snapshot, run=2)
        await assert_restored(spec, network, folder)
        assert superseded_key(TOKEN) in cluster_of(network).keys
        assert not any(machine.file(VOUCHED) for machine in network.machines.values())
        for name, log in old_logs(start).items():
            assert log in contents(network)[name], (cut, name)


def bumps_of(commands: list[tuple[str, tuple[str, ...]]]) -> dict[str, set[int]]:
    """Return by how much each host raises the revisions of the data, in all of its attempts."""
    bumps: dict[str, set[int]] = {}
    for name, argv in commands:
        if "--bump-revision" in argv:
            bumps.setdefault(name, set()).add(int(argv[argv.index("--bump-revision") + 1]))
    return bumps


def delete_file(snapshot: SnapshotFile) -> None:
    """Delete the file, as the end of a run deletes its scratch folder."""
    Path(snapshot.path).unlink()


async def test_a_restore_of_an_earlier_revision_resumes_after_every_kill(
    texts: Texts, tmp_path: Path
) -> None:
    """Each run writes its own file, with the same content. All hosts raise the revisions by the same number.

    It is the number of the plan, in which the seven revisions that are left out are added. After a kill at the end the
    restore is complete, and `etcdup restore` refuses to begin it again.
    """
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)

    def rewound_in(folder: Path) -> SnapshotFile:
        folder.mkdir(exist_ok=True)
        return replace(snapshot_in(folder), rewound_from="backup prod-20261122T120000Z", newest=10)

    whole, folder = start.copy_to("whole")
    plan = await restore(spec, whole, folder, rewound_in(folder))
    total = len(whole.commands)
    texts(plan.notes)
    await assert_restored(spec, whole, folder)
    for cut in kill_points(total):
        network, folder = start.copy_to(str(cut))
        first, before = rewound_in(folder), network.commands
        await kill_after(cut, network, restore(spec, network, folder, first))
        delete_file(first)
        second = rewound_in(folder / "second")
        if not was_restored(spec, await observe(world_of(spec, network, folder)), second):
            await restore(spec, network, folder, second, run=2)
        await assert_restored(spec, network, folder)
        assert bumps_of([*before, *network.commands]) == {host.name: {BUMP + 7} for host in spec.hosts}, cut


async def test_apply_refuses_during_a_restore_and_its_hint_names_restore(
    texts: Texts, tmp_path: Path
) -> None:
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    await kill_after(20, network, restore(spec, network, folder, snapshot_in(folder)))
    answer = await make_plan(spec, network, folder)
    assert isinstance(answer, Refusal)
    assert answer.reasons == refuse_unfinished_restore(spec, await observe(world_of(spec, network, folder)))
    texts(answer.reasons[0])


async def test_apply_after_a_restore_to_fewer_hosts_revokes_the_certificates_of_the_others(
    texts: Texts,
    tmp_path: Path,
) -> None:
    start = await prepare_start(spec_of(3), spec_of(1), tmp_path)
    network, folder = start.copy_to("one")
    plan = await restore(spec_of(1), network, folder, snapshot_in(folder))
    texts(plan.notes)
    network.restart_etcdup()
    await assert_restored(spec_of(1), network, folder)
    certs = world_of(spec_of(1), network, folder).pki.observe().former
    assert {role.split("/")[1] for role in certs} == {"infra2", "infra3"}
    assert all(cert.is_revoked for cert in certs.values())


async def test_fresh_hosts_become_a_clone(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    await restore(spec, network, tmp_path, snapshot_in(tmp_path))
    await assert_restored(spec, network, tmp_path)


def disconnect_host(network: FakeNetwork) -> None:
    network.machines["infra2"].reachable = False


def fill_disk(network: FakeNetwork) -> None:
    network.machines["infra2"].free_bytes = 1000


@pytest.mark.parametrize(
    ("harm", "made_by"),
    [
        (disconnect_host, "3.6.0"),
        (fill_disk, "3.6.0"),
        (None, "3.7.0"),
    ],
)
async def test_refused_before_any_command(
    texts: Texts, tmp_path: Path, harm: Callable[[FakeNetwork], None] | None, made_by: str
) -> None:
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    if harm:
        harm(network)
    reasons = await expect_refusal(spec, network, folder, snapshot_in(folder, made_by))
    texts(reasons)
    assert network.commands == []


async def test_foreign_data_is_refused(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    network.machines["infra1"].put("/var/lib/etcd/member/wal/0.wal", b"other data")
    (reason,) = set(await expect_refusal(spec, network, tmp_path, snapshot_in(tmp_path)))
    texts(reason)


async def test_another_file_during_a_restore_is_refused(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    await kill_after(20, network, restore(spec, network, folder, snapshot_in(folder)))
    other = snapshot_in(folder, content=b"/registry/c=3\n")
    texts(await expect_refusal(spec, network, folder, other))


async def test_a_separate_wal_directory_is_exchanged_with_the_data(tmp_path: Path) -> None:
    spec = spec_of(3, "etcd: {wal_dir: /var/lib/etcd-log/wal}\n")
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    logs = {name: machine.file("/var/lib/etcd-log/wal/0.wal") for name, machine in network.machines.items()}
    await restore(spec, network, folder, snapshot_in(folder))
    await assert_restored(spec, network, folder)
    for name, log in logs.items():
        assert log is not None
        kept = network.machines[name].file(f"/var/lib/etcd-log/wal.{aside(1)}/0.wal")
        assert kept is not None
        assert kept.content == log.content


async def test_a_restore_stops_the_leader_after_the_other_members(tmp_path: Path) -> None:
    """A leader that is stopped together with the others waits seven seconds to transfer its leadership."""
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    observed = await observe(world_of(spec, network, folder))
    (leader,) = (name for name, seen in observed.answering().items() if seen.leader_id == seen.member_id)
    network.commands.clear()
    await restore(spec, network, folder, snapshot_in(folder))
    stopped = [name for name, argv in network.commands if argv[:2] == ("systemctl", "stop")][:3]
    assert sorted(stopped) == [host.name for host in spec.hosts]
    assert stopped[-1] == leader
    assert leader != spec.hosts[-1].name, "the order of the hosts must not explain it"


LEASED = b"@7 /service/pg/leader=pg2\n@7 /service/pg/members/pg2=x\n@8 /masterleases/m=y\n" + CONTENT


def record_claims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets an entry whenever a client could read a key on a lease of the restored data."""
    found: list[str] = []
    count = FakeNetwork.count

    def counting(network: FakeNetwork, name: str, argv: tuple[str, ...]) -> None:
        for machine in network.machines.values():
            process = machine.process
            token = process.environment["ETCD_INITIAL_CLUSTER_TOKEN"] if process else ""
            if process and process.ready and not process.is_closed and token.startswith("prod-restored"):
                found.extend(f"{machine.name} after {argv}" for _ in process.cluster.leases)
        count(network, name, argv)

    monkeypatch.setattr(FakeNetwork, "count", counting)
    return found


@pytest.mark.parametrize("size", [3, 1])
async def test_no_client_reads_a_key_on_a_lease_of_the_snapshot(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds wherever the restore is killed, and although all hosts boot again at every second kill."""
    spec = spec_of(size)
    start = await prepare_start(spec, spec, tmp_path)
    claims = record_claims(monkeypatch)
    whole, folder = start.copy_to("whole")
    await restore(spec, whole, folder, snapshot_in(folder, content=LEASED))
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        snapshot = snapshot_in(folder, content=LEASED)
        await kill_after(cut, network, restore(spec, network, folder, snapshot))
        if cut % 2:
            cut_power(network)
        await restore(spec, network, folder, snapshot, run=2)
        await assert_restored(spec, network, folder)
        assert cluster_of(network).leases == {}
        assert b"/service/pg/leader" not in cluster_of(network).keys
        assert not any(machine.children(CLOSED) for machine in network.machines.values()), cut
        assert claims == [], cut


async def test_leases_are_kept_on_request(tmp_path: Path) -> None:
    """The option may be given only to the command that resumes: it counts until clients can connect."""
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    whole, folder = start.copy_to("whole")
    plan = await restore(spec, whole, folder, snapshot_in(folder, content=LEASED), keep_leases=True)
    assert {"RevokeLeases", "OpenClients"}.isdisjoint(step.kind for step in plan.steps)
    assert set(cluster_of(whole).leases) == {7, 8}
    assert b"/service/pg/leader" in cluster_of(whole).keys
    for cut in kill_points(len(whole.commands), 3):
        for first in (True, False):
            network, folder = start.copy_to(f"{cut}-{first}")
            snapshot = snapshot_in(folder, content=LEASED)
            await kill_after(cut, network, restore(spec, network, folder, snapshot, keep_leases=first))
            await restore(spec, network, folder, snapshot, run=2, keep_leases=not first)
            await assert_restored(spec, network, folder)
            assert not any(machine.children(CLOSED) for machine in network.machines.values()), cut


async def test_a_member_that_boots_before_the_leases_are_revoked_serves_no_client(tmp_path: Path) -> None:
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    network, folder = start.copy_to("one")
    snapshot = snapshot_in(folder, content=LEASED)
    world = world_of(spec, network, folder)

    def check() -> None:
        if placed(network):
            cut_power(network)

    for number in range(1, 200):
        network.at(number, check)
    with pytest.raises(EtcdupError):
        await restore(spec, network, folder, snapshot)
    network.restart_etcdup()
    await network.sleep(20)
    assert all(machine.process is None for machine in network.machines.values())
    assert (await observe(world)).answering() == {}
    await restore(spec, network, folder, snapshot, run=2)
    await assert_restored(spec, network, folder)
    assert cluster_of(network).leases == {}


def placed(network: FakeNetwork) -> bool:
    """Return whether all hosts have the restored data in place."""
    marks = [machine.file("/etc/etcd/etcdup.json") for machine in network.machines.values()]
    return all(mark and b'"placed"' in (mark.content or b"") for mark in marks)
