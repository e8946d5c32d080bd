"""Add, remove and exchange members on fake machines, also after a kill at every command."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Refusal
from etcdup.core.spec.load import load
from tests.support.fake_world import make_plan, spec_of
from tests.support.kill_everywhere import apply_and_check, crash_everywhere, kill_everywhere, prepare_start
from tests.support.texts import Texts

CHANGES: dict[str, tuple[Sequence[int], Sequence[int]]] = {
    "1 to 3": ([1], [1, 2, 3]),
    "3 to 5": ([1, 2, 3], [1, 2, 3, 4, 5]),
    "5 to 3": ([1, 2, 3, 4, 5], [1, 2, 3]),
    "5 to 3, without the first two": ([1, 2, 3, 4, 5], [3, 4, 5]),
    "3 to 1": ([1, 2, 3], [2]),
    "1 to another 1": ([1], [2]),
    "all three for three others": ([1, 2, 3], [4, 5, 6]),
}
# For the tests in which a host crashes: these changes have the most steps, of all kinds.
CRASH_CHANGES = ("3 to 5", "5 to 3", "all three for three others")


@pytest.mark.parametrize("change", CHANGES)
async def test_the_members_become_those_of_cluster_yaml(tmp_path: Path, change: str) -> None:
    before, after = map(spec_of, CHANGES[change])
    start = await prepare_start(before, after, tmp_path)
    await apply_and_check(after, start.network, start.folder)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_kill_after_any_command_is_finished_by_the_next_apply(tmp_path: Path, change: str) -> None:
    before, after = map(spec_of, CHANGES[change])
    assert await kill_everywhere(await prepare_start(before, after, tmp_path), after) > 10


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("change", CRASH_CHANGES)
async def test_a_host_may_crash_at_any_command(tmp_path: Path, change: str, killed: bool) -> None:
    before, after = map(spec_of, CHANGES[change])
    assert await crash_everywhere(await prepare_start(before, after, tmp_path), after, killed=killed) >= 10


@pytest.mark.parametrize("size", [1, 3])
async def test_a_change_of_all_addresses_never_forms_a_second_cluster(
    texts: Texts, tmp_path: Path, size: int
) -> None:
    before = spec_of(size)
    start = await prepare_start(before, before, tmp_path)
    text = "".join(f"  - {{name: infra{n}, address: 192.168.9.{n}}}\n" for n in range(1, size + 1))
    after = load(f"name: prod\nversion: 3.6.14\nhosts:\n{text}")
    for host in after.hosts:
        start.network.crash(host.name)
        start.network.add(host.name)
    answer = await make_plan(after, start.network, start.folder)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def test_a_member_stops_before_it_is_removed(tmp_path: Path) -> None:
    """A removed member that runs fails the requests of its clients until it stops by itself."""
    before, after = spec_of([1, 2, 3, 4, 5]), spec_of([1, 2, 3])
    start = await prepare_start(before, after, tmp_path)
    network = start.network
    running: list[int] = []

    def count_running() -> None:
        running.append(sum(machine.process is not None for machine in network.machines.values()))

    for number in range(1, 400):
        network.at(number, count_running)
    await apply_and_check(after, network, start.folder)
    removals = [number for number, (_, argv) in enumerate(network.commands) if "member-remove" in argv]
    assert [running[number - 1] for number in removals] == [4, 3]
