"""Cutting a whole apply after every single command and every request to etcd, and what the next apply makes of it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.testing.network import FakeNetwork, Killed
from tests.support.fake_world import add_machines, bring_up, machines_for, make_plan


@dataclass(frozen=True)
class Start:
    """A cluster as it was before the change, to be taken up again for each cut."""

    network: FakeNetwork
    folder: Path

    def copy_to(self, name: str) -> tuple[FakeNetwork, Path]:
        folder = self.folder.with_name(f"{self.folder.name}-{name}")
        return deepcopy(self.network), Path(shutil.copytree(self.folder, folder))


async def prepare_start(before: Spec, after: Spec, folder: Path) -> Start:
    """A healthy cluster of `before`, with bare machines for what `after` has more."""
    grown = folder / "grown"
    grown.mkdir()
    network = machines_for(before)
    await bring_up(before, network, grown)
    add_machines(network, after)
    network.commands.clear()
    return Start(network, grown)


async def apply_and_check(spec: Spec, network: FakeNetwork, folder: Path, *, spared: str = "") -> None:
    """Applies, and looks at what there is: nothing left to do, the members of the file run, and no others.

    Only a `spared` host may still have an enabled unit: it was out of reach when its member left.
    """
    results = await bring_up(spec, network, folder)
    assert all(result.ok for result in results)
    left = await make_plan(spec, network, folder)
    assert isinstance(left, Plan), left
    assert left.steps == ()
    wanted = {host.name: f"/opt/etcd/{spec.version}/etcd" for host in spec.hosts}
    processes = {name: machine.process for name, machine in network.machines.items()}
    assert {name: process.exe for name, process in processes.items() if process} == wanted
    enabled = {name for name, machine in network.machines.items() if machine.enabled}
    assert enabled - {spared} == wanted.keys() - {spared}


async def kill_everywhere(start: Start, spec: Spec) -> int:
    """Kills etcdup after every command in turn; the next apply must come to the same end. Returns how many cuts."""
    total = 0
    async for cut, network, folder in _kill_points(start, spec):
        network.cut_after = cut
        with pytest.raises(Killed):
            await bring_up(spec, network, folder)
        network.restart_etcdup()
        await apply_and_check(spec, network, folder)
        total += 1
    return total


async def crash_everywhere(start: Start, spec: Spec, *, killed: bool, stride: int = 3) -> int:
    """One host loses its power with every third command in turn, another one each time, and etcdup dies with it or
    lives on and has to stop or finish safely. When the host is back, the next apply must come to the same end."""
    names = sorted(start.network.machines)
    total = 0
    async for cut, network, folder in _kill_points(start, spec, stride):
        victim = names[total % len(names)]
        network.at(cut, lambda network=network, victim=victim: network.crash(victim))  # type: ignore[misc]
        network.cut_after = cut if killed else None
        with suppress(Killed, EtcdupError):
            await bring_up(spec, network, folder)
        network.restart_etcdup()
        network.reboot(victim)
        await apply_and_check(spec, network, folder, spared=victim)
        total += 1
    return total


async def _kill_points(
    start: Start, spec: Spec, stride: int = 1
) -> AsyncIterator[tuple[int, FakeNetwork, Path]]:
    """A fresh copy of the start for each command that an uncut apply needs."""
    whole, folder = start.copy_to("whole")
    await apply_and_check(spec, whole, folder)
    for cut in range(1, len(whole.commands), stride):
        network, folder = start.copy_to(str(cut))
        yield cut, network, folder
        shutil.rmtree(folder)
