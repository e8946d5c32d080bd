"""Faults of fake machines and their etcd: crashes, lost connections, lost disks, and changes of version."""

import hashlib
from collections.abc import Mapping

import pytest

from etcdup.errors import ConnectionLost
from etcdup.remote.etcd.errors import EtcdRefused, EtcdTimeout, EtcdUnsupported
from etcdup.testing.etcd_client import FakeEtcd
from etcdup.testing.host import FakeHost
from etcdup.testing.network import FakeNetwork, Killed
from etcdup.testing.process import PANIC
from tests.support.real_and_fake_etcd import FakeClusterUnderTest

S = 5.0
RESTART = ("systemctl", "restart", "--no-block", "etcd.service")


async def healthy_cluster(version: str = "3.6.14") -> FakeClusterUnderTest:
    """Return three members that have been healthy long enough for each change."""
    place = FakeClusterUnderTest(version)
    await place.bootstrap()
    for machine in place.network.machines.values():
        machine.remove("/run")
        machine.enabled = True
    await place.wait(10)
    place.network.commands.clear()
    return place


def etcd(place: FakeClusterUnderTest, name: str) -> FakeEtcd:
    return FakeEtcd(place.network.machines[name])


def leader(network: FakeNetwork) -> str:
    return network.etcd.leaders[network.etcd.only().cluster_id]


async def install_and_restart(place: FakeClusterUnderTest, name: str, version: str) -> None:
    """Install another binary, and restart the member with it."""
    place.install(name, version)
    await FakeHost(place.network.machines[name]).run(RESTART)


def versions(place: FakeClusterUnderTest) -> Mapping[str, str]:
    """Return the running versions, by machine."""
    machines = place.network.machines.values()
    return {each.name: str(each.process.version) for each in machines if each.process is not None}


async def test_a_crashed_host_is_gone_until_it_boots_and_its_member_starts_by_itself() -> None:
    place = await healthy_cluster()
    was = leader(place.network)
    host = FakeHost(place.network.machines[was])
    place.network.crash(was)
    with pytest.raises(ConnectionLost):
        await host.run(["true"])
    with pytest.raises(EtcdTimeout):
        await etcd(place, was).status(timeout_s=S)
    assert leader(place.network) != was
    place.network.reboot(was)
    await etcd(place, was).prove(b"k", b"back", timeout_s=S)


async def test_members_answer_only_while_there_is_a_quorum() -> None:
    place = await healthy_cluster()
    for name in ("m1", "m2", "m3"):
        place.network.crash(name)
    place.network.reboot("m1")
    with pytest.raises(EtcdTimeout):
        await etcd(place, "m1").status(timeout_s=S)
    place.network.reboot("m2")
    assert (await etcd(place, "m1").status(timeout_s=S)).leader_id != 0


async def test_a_disconnected_host_continues_alone() -> None:
    place = await healthy_cluster()
    place.network.cut_off("m1")
    assert place.network.machines["m1"].process is not None
    with pytest.raises(EtcdTimeout):
        await etcd(place, "m1").status(timeout_s=S)
    place.network.machines["m1"].reachable = True
    assert (await etcd(place, "m1").status(timeout_s=S)).errors == ("etcdserver: no leader",)
    with pytest.raises(EtcdTimeout):
        await etcd(place, "m1").put(b"k", b"v", timeout_s=S)
    await etcd(place, "m2").prove(b"k", b"without it", timeout_s=S)
    place.network.reconnect("m1")
    await etcd(place, "m1").prove(b"k", b"again", timeout_s=S)


async def test_a_member_that_was_removed_while_disconnected_exits_after_it() -> None:
    place = await healthy_cluster()
    member_id = (await etcd(place, "m3").status(timeout_s=S)).member_id
    place.network.cut_off("m3")
    await etcd(place, "m1").remove(member_id, timeout_s=S)
    assert place.network.machines["m3"].process is not None
    place.network.reconnect("m3")
    assert place.network.machines["m3"].process is None
    assert place.network.machines["m3"].failed_at is None


async def test_a_member_with_a_lost_disk_never_starts_empty() -> None:
    place = await healthy_cluster()
    place.network.wipe("m2")
    await place.wait(5)
    await place.wait(5)
    machine = place.network.machines["m2"]
    assert (machine.process, machine.restarts) == (None, 2)
    assert "holds no member" in machine.log[-1]


async def test_a_wiped_voter_panics_again_and_again_until_it_is_removed() -> None:
    place = await healthy_cluster()
    place.wipe("m3")
    await place.start("m3", {name: place.peer_url(name) for name in ("m1", "m2", "m3")})
    await place.wait(5)
    assert place.network.machines["m3"].log[-2:] == [PANIC, PANIC]
    lost = next(each for each in await etcd(place, "m1").members(timeout_s=S) if each.name == "m3")
    await etcd(place, "m1").remove(lost.member_id, timeout_s=S)
    await place.wait(5)
    assert await place.wait_for_end("m3") == 0


async def test_a_host_crashes_with_a_given_command() -> None:
    place = await healthy_cluster()
    place.network.at(2, lambda: place.network.crash("m2"))
    host = FakeHost(place.network.machines["m2"])
    await host.run(["mkdir", "/a"])
    with pytest.raises(ConnectionLost):
        await host.run(["mkdir", "/b"])
    assert place.network.machines["m2"].is_dir("/b"), "the command was done; its result was lost"


async def test_etcdup_is_killed_after_the_change_of_a_call() -> None:
    place = await healthy_cluster()
    place.network.cut_after = 1
    place.network.at(1, lambda: place.network.crash("m3"))
    with pytest.raises(Killed):
        await etcd(place, "m1").add_learner(["https://10.0.0.9:2380"], timeout_s=S)
    place.network.restart_etcdup()
    assert any(each.is_learner for each in await etcd(place, "m1").members(timeout_s=S))
    assert place.network.machines["m3"].process is None


async def test_a_stopped_leader_transfers_its_leadership() -> None:
    place = await healthy_cluster()
    was = leader(place.network)
    await place.stop(was)
    assert leader(place.network) != was


async def test_the_cluster_version_rises_after_the_last_member_and_never_falls() -> None:
    """Rule 46."""
    place = await healthy_cluster("3.5.33")
    cluster = place.network.etcd.only()
    for name in ("m1", "m2"):
        await install_and_restart(place, name, "3.6.14")
    await place.wait(10)
    await place.wait(10)
    assert cluster.version == (3, 5)
    await install_and_restart(place, "m1", "3.5.33")
    assert versions(place) == {"m1": "3.5.33", "m2": "3.6.14", "m3": "3.5.33"}
    for name in ("m1", "m3"):
        await install_and_restart(place, name, "3.6.14")
    await place.wait(1)
    assert cluster.version == (3, 5)
    await place.wait(4)
    assert cluster.version == (3, 6)
    await install_and_restart(place, "m1", "3.5.33")
    assert "m1" not in versions(place)
    assert "invalid downgrade" in place.log("m1")


async def test_no_minor_can_be_skipped() -> None:
    place = await healthy_cluster("3.5.33")
    await install_and_restart(place, "m1", "3.7.1")
    assert "m1" not in versions(place)


async def test_a_downgrade_ends_by_itself_with_the_last_member() -> None:
    """Rule 47."""
    place = await healthy_cluster()
    await etcd(place, "m1").downgrade("enable", "3.5", timeout_s=S)
    await install_and_restart(place, "m1", "3.5.33")
    assert "m1" not in versions(place), "the cluster version has not fallen yet"
    await install_and_restart(place, "m1", "3.6.14")
    await place.wait(1)
    await place.wait(5)
    for name in ("m1", "m2", "m3"):
        assert (await etcd(place, "m3").status(timeout_s=S)).downgrade_to == "3.5.0"
        await install_and_restart(place, name, "3.5.33")
    cluster = place.network.etcd.only()
    assert (cluster.version, cluster.downgrade_to) == ((3, 5), None)
    assert (await etcd(place, "m1").status(timeout_s=S)).storage_version == ""


@pytest.mark.parametrize(
    ("version", "action", "error"),
    [("3.4.45", "validate", EtcdUnsupported), ("3.5.33", "enable", EtcdTimeout)],
)
async def test_releases_without_a_downgrade(version: str, action: str, error: type[Exception]) -> None:
    place = await healthy_cluster(version)
    with pytest.raises(error):
        await etcd(place, "m1").downgrade(action, "3.4", timeout_s=S)  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "accepts"), [("3.5.16", False), ("3.5.30", True), ("3.6.14", True)])
async def test_five_voters_of_which_one_is_dead(version: str, accepts: bool) -> None:
    """Rules 26 and 28: 3.5.30, 3.6.11 and later need only a quorum of the changed cluster."""
    place = FakeClusterUnderTest(version, size=5)
    await place.bootstrap()
    await place.wait(10)
    place.network.crash("m5")
    call = etcd(place, "m1").add_learner(["https://10.0.0.9:2380"], timeout_s=S)
    if accepts:
        assert (await call).is_learner
    else:
        with pytest.raises(EtcdRefused, match="unhealthy cluster"):
            await call


@pytest.mark.parametrize(("version", "stays"), [("3.6.11", False), ("3.6.14", True)])
async def test_old_releases_promote_a_learner_whose_url_is_changed(version: str, stays: bool) -> None:
    """Rule 23."""
    place = await healthy_cluster(version)
    client = etcd(place, "m1")
    learner = await client.add_learner(["https://10.0.0.9:2380"], timeout_s=S)
    await client.update_peer_urls(learner.member_id, ["https://10.0.0.8:2380"], timeout_s=S)
    seen = next(each for each in await client.members(timeout_s=S) if each.member_id == learner.member_id)
    assert seen.is_learner is stays


async def test_a_snapshot_contains_its_checksum() -> None:
    """Rule 54."""
    place = await healthy_cluster()
    await etcd(place, "m1").put(b"k", b"v" * 700, timeout_s=S)
    copy = b"".join([part async for part in etcd(place, "m2").snapshot(timeout_s=S)])
    assert hashlib.sha256(copy[:-32]).digest() == copy[-32:]
    assert len(copy) % 512 == 32


async def test_alarms_auth_and_hashes_are_the_clusters() -> None:
    place = await healthy_cluster()
    cluster = place.network.etcd.only()
    cluster.alarms, cluster.auth = ("NOSPACE on member 1",), True
    assert (await etcd(place, "m1").status(timeout_s=S)).alarms == cluster.alarms
    assert await etcd(place, "m1").is_auth_enabled(timeout_s=S)
    with pytest.raises(EtcdRefused, match="database space exceeded"):
        await etcd(place, "m1").put(b"k", b"v", timeout_s=S)
    assert await etcd(place, "m1").disarm("NOSPACE", timeout_s=S) == ("NOSPACE on member 1",)
    await etcd(place, "m1").put(b"k", b"v", timeout_s=S)
    hashes = [await etcd(place, name).hash_kv(timeout_s=S) for name in ("m1", "m2", "m3")]
    assert len(set(hashes)) == 1


async def test_etcdutl_finds_data_of_the_v2_api() -> None:
    place = await healthy_cluster("3.5.33")
    machine = place.network.machines["m1"]
    machine.put("/opt/etcd/3.5.33/etcdutl", b"")
    check = ["/opt/etcd/3.5.33/etcdutl", "check", "v2store", "--data-dir", "/var/lib/etcd"]
    assert (await FakeHost(machine).run(check)).status == 0
    machine.v2store = True
    assert (await FakeHost(machine).run(check)).status == 1
    assert place.network.commands == []
