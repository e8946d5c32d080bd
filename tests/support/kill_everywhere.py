"""Kill an apply after every single command and every request to etcd, and check what the next apply does."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.testing.network import FakeNetwork, Killed
from tests.support.fake_world import add_machines, bring_up, machines_for, make_plan

# `make quick` kills after every seventh command only (tests/conftest.py).
STRIDE_VARIABLE = "ETCDUP_TEST_STRIDE"


@dataclass(frozen=True)
class Start:
    """A cluster as it was before the change. Each kill starts from a copy of it."""

    network: FakeNetwork
    folder: Path

    def copy_to(self, name: str) -> tuple[FakeNetwork, Path]:
        folder = self.folder.with_name(f"{self.folder.name}-{name}")
        return deepcopy(self.network), Path(shutil.copytree(self.folder, folder))


async def prepare_start(before: Spec, after: Spec, folder: Path) -> Start:
    """Return a healthy cluster of `before`, with bare machines for the additional hosts of `after`."""
    operator_folder = folder / "operator"
    operator_folder.mkdir()
    network = machines_for(before)
    await bring_up(before, network, operator_folder)
    add_machines(network, after)
    network.restart_etcdup()
    return Start(network, operator_folder)


async def apply_and_check(spec: Spec, network: FakeNetwork, folder: Path, *, spared: str = "") -> None:
    """Apply, then assert that nothing is left to do and that exactly the members of cluster.yaml run.

    Only a `spared` host may still have an enabled unit: it could not be reached when its member left.
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


async def kill_after(commands: int, network: FakeNetwork, run: Awaitable[object]) -> None:
    """Kill a run of etcdup after this many commands. Then another etcdup can start."""
    network.cut_after = commands
    with pytest.raises(Killed):
        await run
    network.restart_etcdup()


async def kill_everywhere(start: Start, spec: Spec) -> int:
    """Kill etcdup after every command in turn; the next apply must finish. Return the number of kills."""
    total = 0
    async for cut, network, folder in _kill_points(start, spec):
        await kill_after(cut, network, bring_up(spec, network, folder))
        await apply_and_check(spec, network, folder)
        total += 1
    return total


async def run_to_each_kill(
    start: Start, spec: Spec, stride: int, *, offset: int
) -> AsyncIterator[tuple[FakeNetwork, Path]]:
    """Yield the cluster after a kill at every n-th command of an apply, for another run than the same one."""
    async for cut, network, folder in _kill_points(start, spec, stride, offset):
        await kill_after(cut, network, bring_up(spec, network, folder))
        yield network, folder


async def crash_everywhere(start: Start, spec: Spec, *, killed: bool, stride: int = 3) -> int:
    """Cut the power of one host at every third command in turn, another host each time.

    `killed`: etcdup is killed at the same time. Otherwise it continues and must stop or finish safely. When the host
    runs again, the next apply must finish.
    """
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
    start: Start, spec: Spec, stride: int = 1, offset: int = 0
) -> AsyncIterator[tuple[int, FakeNetwork, Path]]:
    """Yield a new copy of the start for each command of an uninterrupted apply."""
    whole, folder = start.copy_to("whole")
    await apply_and_check(spec, whole, folder)
    for cut in kill_points(len(whole.commands), stride, offset):
        network, folder = start.copy_to(str(cut))
        yield cut, network, folder
        shutil.rmtree(folder)


def kill_points(commands: int, stride: int = 1, offset: int = 0) -> range:
    """Return after which commands to kill: after each one, except after the last one.

    With a stride, tests with different offsets kill after different commands. `make quick` kills only after every
    seventh of them.
    """
    return range(1 + offset % stride, commands, stride * int(os.environ.get(STRIDE_VARIABLE, "1")))


def strided(points: Sequence[int], stride: int, *, offset: int = 0) -> Sequence[int]:
    """Return every n-th point. Tests with different offsets take different points."""
    return points[offset % stride :: stride * int(os.environ.get(STRIDE_VARIABLE, "1"))]


def quick_first(*cases: object) -> list[Any]:
    """Return the cases for `parametrize`. Only the first one runs in `make quick`."""
    first, *others = cases
    values = first if isinstance(first, tuple) else (first,)
    return [pytest.param(*values, marks=pytest.mark.quick), *others]
