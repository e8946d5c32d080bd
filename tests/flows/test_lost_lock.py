"""An operator whose machine stood still, while another operator changed the cluster.

The hosts release the lock after 30 s without a heartbeat. The first run then must not change anything any more, at
whichever command it stood still, and whether its clock counted that time or not.
"""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, LockedError, LockLost
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import bring_up, lock_of, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, prepare_start, strided

ASLEEP_S = 47.0
# A proof of health writes a key through a member. It changes no host and no member list.
HEALTH_PROOFS = {(f"infra{number}", ("etcd", "put")) for number in range(1, 6)}
# The previous file, the file of the first operator, and the file of the second operator.
CHANGES = {
    "a setting": (
        spec_of(3),
        spec_of(3, "etcd: {heartbeat_ms: 110}\n"),
        spec_of(3, "etcd: {heartbeat_ms: 120}\n"),
    ),
    "two more": (spec_of(3), spec_of(5), spec_of(3)),
    "two less": (spec_of(5), spec_of(3), spec_of(5)),
    "a minor": (spec_of(3, version="3.5.33"), spec_of(3), spec_of(3)),
}


def apply_as_other_operator(spec: Spec, network: FakeNetwork, folder: Path) -> None:
    """Run a whole apply while the first one is stopped."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(apply_and_check(spec, network, folder))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed, failed[0]


async def ends_of_round_trips(start: Start, spec: Spec) -> list[int]:
    """Return after which commands a round trip to a host, or a request to etcd, ends.

    Within a round trip, no other operator acts: the next holder of the lock waits for its end.
    """
    network, folder = start.copy_to("whole")
    await bring_up(spec, network, folder)
    return sorted(set(network.pauses) - {0})


@pytest.mark.parametrize("is_counted", [True, False], ids=["suspended", "paused"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_run_that_stood_still_changes_nothing_more(
    tmp_path: Path, change: str, is_counted: bool
) -> None:
    """The clock of a paused virtual machine does not count the time: then only the hosts notice the lost lock."""
    before, first, second = CHANGES[change]
    start = await prepare_start(before, first, tmp_path)
    for end in strided(await ends_of_round_trips(start, first), 5, offset=2 * is_counted):
        network, folder = start.copy_to(str(end))
        after_second: list[int] = []

        def sleep(
            network: FakeNetwork = network, folder: Path = folder, after_second: list[int] = after_second
        ) -> None:
            network.stand_still(ASLEEP_S, is_counted=is_counted)
            apply_as_other_operator(second, network, folder)
            after_second.append(len(network.commands))

        network.at(end, sleep)
        # A paused run can also notice first that its plan does not fit any more, or find that nothing is left to do.
        with pytest.raises(LockLost) if is_counted else suppress(EtcdupError):
            await bring_up(first, network, folder)
        (done,) = after_second
        assert set(network.commands[done:]) <= HEALTH_PROOFS
        network.restart_etcdup()
        await apply_and_check(second, network, folder)


async def test_a_run_that_lost_its_lock_does_not_release_the_lock_of_another_one(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(), spec_of(), tmp_path)
    network, world = start.network, world_of(spec_of(), start.network, start.folder)
    async with lock_of(world, network):
        network.stand_still(ASLEEP_S)
        async with lock_of(world, network, "the other"):
            lines = [dict(machine.locks) for machine in network.machines.values()]
        for machine, line in zip(network.machines.values(), lines, strict=True):
            machine.locks.update(line)
    assert [machine.locks for machine in network.machines.values()] == lines


async def test_a_short_pause_loses_nothing(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(), CHANGES["a setting"][1], tmp_path)
    start.network.at(5, lambda: start.network.stand_still(15.0))
    await bring_up(CHANGES["a setting"][1], start.network, start.folder)


async def test_two_names_of_one_machine_are_locked_once(tmp_path: Path) -> None:
    """A second lock would be refused by the lock of this run itself."""
    start = await prepare_start(spec_of(), spec_of(), tmp_path)
    world = world_of(spec_of(), start.network, start.folder)
    (alias,) = spec_of([1]).hosts
    alias = alias.model_copy(update={"name": "member-1"})
    await world.connect_host(alias)
    world.extra_hosts["member-1"] = alias
    async with lock_of(world, start.network) as lock:
        assert lock.on("member-1") == lock.on("infra1")
        await lock.confirm()
        with pytest.raises(LockedError):
            async with lock_of(world, start.network):
                pass
