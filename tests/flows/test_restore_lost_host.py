"""A restore is killed, and a host loses its data before the same restore runs again.

The other members may have started with the restored data. With the same token, the host would get the ID of a member
whose log it does not have, at which etcd panics. The fakes do not panic, so the token is compared.
"""

import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from etcdup.errors import EtcdupError
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.random_sequences.verbs import Operator, replace_member
from tests.flows.test_destroy import contents
from tests.flows.test_restore import assert_restored, old_logs, restore, snapshot_in
from tests.flows.test_undo_restore import undo_restore
from tests.support.fake_world import spec_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start

MARKER = "/etc/etcd/etcdup.json"
SPEC = spec_of(3)
IN_PLACE, SERVED = {"placed", "open", "done"}, {"open", "done"}


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    return await prepare_start(SPEC, SPEC, tmp_path)


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
            await restore(SPEC, network, folder, snapshot_in(folder), run)
        except EtcdupError as error:
            # infra2 lost the data after it was put in place, and before its marker contained that.
            if "run the same command again" not in error.hint:
                raise
            network.restart_etcdup()
            await restore(SPEC, network, folder, snapshot_in(folder), run + 2)
        return
    with suppress(EtcdupError):  # the end of the run reports that infra2 is not healthy
        await restore(SPEC, network, folder, snapshot_in(folder), run)
    network.restart_etcdup()
    await replace_member("infra2")(Operator(SPEC, network, folder, run))


async def killed_restores(start: Start) -> AsyncIterator[tuple[int, FakeNetwork, Path]]:
    """Yield the cluster after a kill at each command of a restore, and the number of that command."""
    with start.copied("restored") as (whole, folder):
        await restore(SPEC, whole, folder, snapshot_in(folder))
    for cut in kill_points(len(whole.commands)):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, restore(SPEC, network, folder, snapshot_in(folder)))
            yield cut, network, folder


@pytest.mark.parametrize("lose", [wipe_disk, replace_machine])
@pytest.mark.parametrize("killed_again", [False, True])
async def test_a_host_that_lost_its_data_does_not_get_it_with_the_same_token(
    start: Start, lose: Callable[[FakeNetwork], None], killed_again: bool
) -> None:
    async for cut, network, folder in killed_restores(start):
        before = stages(network)
        was_in_place = stage_of_host(network, "infra2") in IN_PLACE
        lose(network)
        if killed_again and not before <= SERVED:
            network.cut_after = cut % 40 + 1
            with suppress(Killed):  # a restore that is almost complete has fewer commands
                await restore_again(network, folder, 2)
            network.restart_etcdup()
        await restore_again(network, folder, 3)
        await assert_restored(SPEC, network, folder)
        after = {name: marker["token"] for name, marker in markers(network).items()}
        assert len(set(after.values())) == 1
        if was_in_place and not before <= SERVED:
            assert "prod-restored-1" not in after.values()
        for name, log in old_logs(start).items():
            assert name == "infra2" or log in contents(network)[name], "the old data is archived"


@pytest.mark.parametrize("stage", ["staged", "open", "done"])
async def test_one_marker_does_not_abandon_a_restore_that_serves_clients(start: Start, stage: str) -> None:
    """The marker of infra3 has another token, and says that the token of the restore is a former one."""
    with start.copied("restored") as (whole, folder):
        await restore(SPEC, whole, folder, snapshot_in(folder))
    tried = 0
    for cut in range(len(whole.commands) - 18, len(whole.commands), 3):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, restore(SPEC, network, folder, snapshot_in(folder)))
            if "open" not in (own := {stage_of_host(network, name) for name in ("infra1", "infra2")}):
                continue  # a complete restore can be done again
            assert own <= SERVED
            contradict_restore(network, stage)
            with suppress(EtcdupError):  # it is completed without infra3
                await restore(SPEC, network, folder, snapshot_in(folder), run=2)
            assert not [argv for _, argv in network.commands if argv[:2] == ("systemctl", "stop")]
            assert {markers(network)[name]["token"] for name in ("infra1", "infra2")} == {"prod-restored-1"}
            tried += 1
    assert tried


def contradict_restore(network: FakeNetwork, stage: str) -> None:
    marker = markers(network)["infra3"]
    restored = {**marker["restored"], "stage": stage, "former": [marker["token"]]}
    text = json.dumps({**marker, "token": "another", "restored": restored})
    network.machines["infra3"].put(MARKER, text.encode())
    network.commands.clear()


async def test_a_restore_that_resumes_raises_all_revisions_by_the_same_number(start: Start) -> None:
    """With different revisions, the members would have different data."""
    async for _, network, folder in killed_restores(start):
        await restore(SPEC, network, folder, snapshot_in(folder), run=2)
        assert len({marker["restored"]["bump"] for marker in markers(network).values()}) == 1


@pytest.mark.parametrize("lose", [wipe_disk, replace_machine])
@pytest.mark.parametrize("same_operator", [True, False])
async def test_a_host_that_lost_its_data_in_an_undo_does_not_get_it_with_the_same_token(
    start: Start, lose: Callable[[FakeNetwork], None], same_operator: bool
) -> None:
    """Another operator does not have the file of the snapshot, so a new one is taken from the archived data."""
    await restore(SPEC, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    tried = 0
    async for network, folder, undo_token in killed_undos(start):
        before, lost = stages(network), markers(network)["infra2"]
        if lost["token"] != undo_token or stage_of_host(network, "infra2") not in IN_PLACE:
            continue
        lose(network)
        if not same_operator:
            shutil.rmtree(folder / "backups", ignore_errors=True)
        await undo_again(network, folder, before)
        await apply_and_check(SPEC, network, folder)
        assert len(tokens(network)) == 1
        assert (undo_token in tokens(network)) == (before <= SERVED)
        tried += 1
    assert tried


async def killed_undos(start: Start) -> AsyncIterator[tuple[FakeNetwork, Path, str]]:
    """Yield the cluster after a kill at each command of an undo, and the token of that undo."""
    with start.copied("undone") as (whole, folder):
        await undo_restore(SPEC, whole, folder)
        (undo_token,) = tokens(whole)
    for cut in kill_points(len(whole.commands)):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, undo_restore(SPEC, network, folder))
            yield network, folder, undo_token


async def undo_again(network: FakeNetwork, folder: Path, others: set[str]) -> None:
    """Run the same undo. If clients may have written, it is completed without infra2, which is then replaced."""
    if not others <= SERVED:
        await undo_restore(SPEC, network, folder, run=8)
        return
    if "open" in others:
        with suppress(EtcdupError):  # the end of the run reports that infra2 is not healthy
            await undo_restore(SPEC, network, folder, run=8)
    network.restart_etcdup()
    await replace_member("infra2")(Operator(SPEC, network, folder, 9))


def tokens(network: FakeNetwork) -> set[str]:
    return {marker["token"] for marker in markers(network).values()}
