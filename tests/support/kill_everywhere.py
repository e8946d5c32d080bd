"""Kill an apply after every single command and every request to etcd, and check what the next apply does."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
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

# `make test-full` kills after each command. `make test` kills after every n-th one (tests/conftest.py), and the offset
# gives each commit other commands (scripts/test).
STRIDE_VARIABLE = "ETCDUP_TEST_STRIDE"
OFFSET_VARIABLE = "ETCDUP_TEST_OFFSET"


@dataclass(frozen=True)
class Start:
    """A cluster as it was before the change. Each kill starts from a copy of it."""

    network: FakeNetwork
    folder: Path

    def copy_to(self, name: str) -> tuple[FakeNetwork, Path]:
        folder = self.folder.with_name(f"{self.folder.name}-{name}")
        return deepcopy(self.network), Path(shutil.copytree(self.folder, folder))

    @contextmanager
    def copied(self, name: object) -> Iterator[tuple[FakeNetwork, Path]]:
        """Yield a copy whose files are deleted afterwards."""
        network, folder = self.copy_to(str(name))
        yield network, folder
        shutil.rmtree(folder)


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
    """Kill etcdup after every command in turn; the next apply must finish. Return the number of commands."""
    commands = await _count_commands(start, spec)
    for cut in kill_points(commands):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, bring_up(spec, network, folder))
            await apply_and_check(spec, network, folder)
    return commands


async def run_to_each_kill(
    start: Start, spec: Spec, stride: int, *, offset: int
) -> AsyncIterator[tuple[FakeNetwork, Path]]:
    """Yield the cluster after a kill at every n-th command of an apply, for another run than the same one."""
    for cut in kill_points(await _count_commands(start, spec), stride, offset):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, bring_up(spec, network, folder))
            yield network, folder


async def crash_everywhere(start: Start, spec: Spec, *, killed: bool, stride: int = 3) -> int:
    """Cut the power of one host at every third command in turn, another host each time.

    `killed`: etcdup is killed at the same time. Otherwise it continues and must stop or finish safely. When the host
    runs again, the next apply must finish. Return the number of commands.
    """
    commands, names = await _count_commands(start, spec), sorted(start.network.machines)
    for number, cut in enumerate(kill_points(commands, stride)):
        with start.copied(cut) as (network, folder):
            await _crash_once(network, names[number % len(names)], cut, killed, spec, folder)
    return commands


async def _crash_once(
    network: FakeNetwork, victim: str, cut: int, killed: bool, spec: Spec, folder: Path
) -> None:
    network.at(cut, lambda: network.crash(victim))
    network.cut_after = cut if killed else None
    with suppress(Killed, EtcdupError):
        await bring_up(spec, network, folder)
    network.restart_etcdup()
    network.reboot(victim)
    await apply_and_check(spec, network, folder, spared=victim)


async def _count_commands(start: Start, spec: Spec) -> int:
    """Return the number of commands of an uninterrupted apply."""
    with start.copied("whole") as (network, folder):
        await apply_and_check(spec, network, folder)
        return len(network.commands)


def kill_points(commands: int, stride: int = 1, offset: int = 0) -> Sequence[int]:
    """Return after which commands to kill: after each one, except after the last one."""
    return strided(range(1, commands), stride, offset=offset)


def strided(points: Sequence[int], stride: int, *, offset: int = 0) -> Sequence[int]:
    """Return every n-th point. Tests with different offsets take different points.

    Outside `make test-full`, this returns only some of them: other ones for each commit.
    """
    chosen = points[offset % stride :: stride]
    sample = int(os.environ.get(STRIDE_VARIABLE, "1"))
    first = int(os.environ.get(OFFSET_VARIABLE, "0")) % max(1, min(sample, len(chosen)))
    return chosen[first::sample]


def quick_first(*cases: object) -> list[Any]:
    """Return the cases for `parametrize`. Only the first one runs in `make quick`."""
    first, *others = cases
    values = first if isinstance(first, tuple) else (first,)
    return [pytest.param(*values, marks=pytest.mark.quick), *others]
