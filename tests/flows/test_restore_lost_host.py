"""A restore is killed, and a host loses its data before the same restore runs again.

The other members may have started with the restored data. With the same token, the host would get the ID of a member
whose log it does not have, at which etcd panics. The fakes do not panic, so the token is compared.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from etcdup.errors import EtcdupError
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.random_sequences.verbs import Operator, replace_member
from tests.flows.test_destroy import contents
from tests.flows.test_restore import assert_restored, old_logs, restore, snapshot_in
from tests.support.fake_world import spec_of
from tests.support.kill_everywhere import Start, kill_after, kill_points, prepare_start

MARKER = "/etc/etcd/etcdup.json"
IN_PLACE, SERVED = {"placed", "open", "done"}, {"open", "done"}


def wipe_disk(network: FakeNetwork) -> None:
    network.wipe("infra2")


def replace_machine(network: FakeNetwork) -> None:
    network.crash("infra2")
    network.add("infra2")


def markers(network: FakeNetwork) -> dict[str, dict[str, Any]]:
    nodes = {name: machine.file(MARKER) for name, machine in network.machines.items()}
    return {name: json.loads(node.content) for name, node in nodes.items() if node and node.content}


def stage_of_host(network: FakeNetwork, name: str) -> str:
    """Return the stage of the restore on a host; empty if it has not started there."""
    restored: dict[str, str] = markers(network).get(name, {}).get("restored", {})
    return restored.get("stage", "")


def stages(network: FakeNetwork) -> set[str]:
    """Return the stages of the restore on the hosts that stay."""
    return {stage_of_host(network, name) for name in ("infra1", "infra3")} - {""}


async def restore_again(network: FakeNetwork, folder: Path, run: int) -> None:
    """Run the same restore. If clients may have written, it is completed without infra2, which is then replaced."""
    if not stages(network) or not stages(network) <= SERVED:
        try:
            await restore(spec_of(3), network, folder, snapshot_in(folder), run)
        except (
            EtcdupError
        ) as error:  # infra2 lost the data after it was put in place and before its marker said so
            if "run the same command again" not in error.hint:
                raise
            network.restart_etcdup()
            await restore(spec_of(3), network, folder, snapshot_in(folder), run + 2)
        return
    with suppress(EtcdupError):  # the end of the run reports that infra2 is not healthy
        await restore(spec_of(3), network, folder, snapshot_in(folder), run)
    network.restart_etcdup()
    await replace_member("infra2")(Operator(spec_of(3), network, folder, run))


@pytest.mark.parametrize("lose", [wipe_disk, replace_machine])
@pytest.mark.parametrize("killed_again", [False, True])
async def test_a_host_that_lost_its_data_does_not_get_it_with_the_same_token(
    tmp_path: Path, lose: Callable[[FakeNetwork], None], killed_again: bool
) -> None:
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    whole, folder = start.copy_to("restored")
    await restore(spec, whole, folder, snapshot_in(folder))
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, restore(spec, network, folder, snapshot_in(folder)))
        before = stages(network)
        was_in_place = stage_of_host(network, "infra2") in IN_PLACE
        lose(network)
        if killed_again and not before <= SERVED:
            network.cut_after = cut % 40 + 1
            with suppress(Killed):  # a restore that is almost complete has fewer commands
                await restore_again(network, folder, 2)
            network.restart_etcdup()
        await restore_again(network, folder, 3)
        await assert_restored(spec, network, folder)
        after = {name: marker["token"] for name, marker in markers(network).items()}
        assert len(set(after.values())) == 1
        if was_in_place and not before <= SERVED:
            assert "prod-restored-1" not in after.values()
        for name, log in old_logs(Start(start.network, folder)).items():
            assert name == "infra2" or log in contents(network)[name], "the old data is archived"


async def test_a_restore_that_resumes_raises_all_revisions_by_the_same_number(tmp_path: Path) -> None:
    """With different revisions, the members would have different data."""
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    whole, folder = start.copy_to("restored")
    await restore(spec, whole, folder, snapshot_in(folder))
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, restore(spec, network, folder, snapshot_in(folder)))
        await restore(spec, network, folder, snapshot_in(folder), run=2)
        assert len({marker["restored"]["bump"] for marker in markers(network).values()}) == 1
