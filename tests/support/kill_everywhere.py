"""Kill an apply after every single command and every request to etcd, and check what the next apply does."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.testing.network import FakeNetwork, Killed
from tests.support import cases
from tests.support.fake_world import add_machines, bring_up, machines_for, make_plan

# `make test-full` kills after each command. `make test` kills after every n-th one (tests/conftest.py), and the offset
# gives each commit other commands (cases.py).
STRIDE_VARIABLE = "ETCDUP_TEST_STRIDE"

# Most applies have fewer commands.
MOST_COMMANDS = 300

Point = TypeVar("Point")


@dataclass(frozen=True)
class Start:
    """A cluster at one moment, with the folder of its operator. Each kill starts from a copy of it."""

    network: FakeNetwork
    folder: Path

    def copy_to(self, name: str) -> tuple[FakeNetwork, Path]:
        folder = self.folder.with_name(f"{self.folder.name}-{name}")
        return deepcopy(self.network), Path(shutil.copytree(self.folder, folder))

    def copy_at(self, point: object) -> "Start":
        """Return a copy of the cluster as it is at this point."""
        return Start(*self.copy_to(str(point)))

    @property
    def parts(self) -> tuple[FakeNetwork, Path]:
        return self.network, self.folder

    def delete(self) -> None:
        """Delete the files of a copy that is not needed any more."""
        shutil.rmtree(self.folder)

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
    commands, killed = await _kill_at_points(start, spec)
    for each in killed:
        await apply_and_check(spec, each.network, each.folder)
        each.delete()
    return commands


async def run_to_each_kill(
    start: Start, spec: Spec, stride: int, *, offset: int
) -> AsyncIterator[tuple[FakeNetwork, Path]]:
    """Yield the cluster after a kill at every n-th command of an apply, for another run than the same one."""
    _, killed = await _kill_at_points(start, spec, stride, offset)
    for each in killed:
        yield each.network, each.folder
        each.delete()


async def crash_everywhere(start: Start, spec: Spec, *, killed: bool, stride: int = 3) -> int:
    """Cut the power of one host at every third command in turn, another host each time.

    `killed`: etcdup is killed at the same time. Otherwise it continues and must stop or finish safely. When the host
    runs again, the next apply must finish. Return the number of commands.
    """
    names = sorted(start.network.machines)
    if killed:
        commands, states = await _kill_at_points(start, spec, stride)
        for number, each in enumerate(states):
            each.network.crash(names[number % len(names)])
            await _return_and_finish(each, names[number % len(names)], spec)
        return commands
    commands = await _count_commands(start, spec)
    for number, cut in enumerate(kill_points(commands, stride)):
        victim, each = names[number % len(names)], start.copy_at(cut)
        each.network.at(cut, partial(each.network.crash, victim))
        with suppress(EtcdupError):
            await bring_up(spec, each.network, each.folder)
        await _return_and_finish(each, victim, spec)
    return commands


async def _return_and_finish(state: Start, victim: str, spec: Spec) -> None:
    state.network.restart_etcdup()
    state.network.reboot(victim)
    await apply_and_check(spec, state.network, state.folder, spared=victim)
    state.delete()


async def _kill_at_points(
    start: Start, spec: Spec, stride: int = 1, offset: int = 0
) -> tuple[int, list[Start]]:
    """Run an apply, and return the number of its commands, and what a kill leaves at each point of `kill_points`.

    A kill leaves what is on the hosts and in the folder of the operator at that moment. So one run is enough, in which
    the cluster is copied at each point. The points of a short apply are known only at its end: it is run again and
    killed.
    """
    whole = start.copy_at("whole")
    states: dict[int, Start] = {}

    def keep() -> None:
        number = len(whole.network.commands)
        states[number] = whole.copy_at(number)
        states[number].network.restart_etcdup()

    for number in kill_points(MOST_COMMANDS, stride, offset):
        whole.network.at(number, keep)
    await apply_and_check(spec, whole.network, whole.folder)
    commands = len(whole.network.commands)
    points = kill_points(commands, stride, offset)
    for number in points:
        if number not in states:
            states[number] = start.copy_at(number)
            await kill_after(number, states[number].network, bring_up(spec, *states[number].parts))
    return commands, [states[number] for number in points]


async def _count_commands(start: Start, spec: Spec) -> int:
    """Return the number of commands of an uninterrupted apply."""
    with start.copied("whole") as (network, folder):
        await apply_and_check(spec, network, folder)
        return len(network.commands)


def record_when(network: FakeNetwork, condition: Callable[[], bool]) -> list[int]:
    """Return a list that the next run fills: after which of its commands the condition is true.

    A test that must kill in this state takes its kills from this list, so that each commit has one of them.
    """
    numbers: list[int] = []

    def record(number: int) -> None:
        if condition():
            numbers.append(number)

    for number in range(1, MOST_COMMANDS):
        network.at(number, partial(record, number))
    return numbers


def kill_points(commands: int, stride: int = 1, offset: int = 0) -> Sequence[int]:
    """Return after which commands to kill: after each one, except after the last one."""
    return strided(range(1, commands), stride, offset=offset)


def strided(points: Sequence[Point], stride: int = 1, *, offset: int = 0) -> Sequence[Point]:
    """Return every n-th point, for example a command or a step. Tests with different offsets take different points.

    Outside `make test-full`, this returns only some of them: other ones for each commit.
    """
    chosen = points[offset % stride :: stride]
    sample = int(os.environ.get(STRIDE_VARIABLE, "1"))
    first = cases.offset() % max(1, min(sample, len(chosen)))
    return chosen[first::sample]
