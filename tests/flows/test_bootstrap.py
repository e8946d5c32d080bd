"""Form a cluster on bare machines. A kill after any command leads to the same end state."""

from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import bring_up, machines_for, make_plan, spec_of
from tests.support.kill_everywhere import kill_after, kill_points


def end_state(network: FakeNetwork) -> dict[str, object]:
    """Return the state that must be the same after a whole apply and after an interrupted one."""
    return {
        name: (
            sorted(path for path in machine.nodes if not path.startswith("/run")),
            machine.enabled,
            machine.process is not None and machine.process.exe,
        )
        for name, machine in network.machines.items()
    }


@pytest.mark.parametrize("size", [1, 3, 5])
async def test_bare_machines_become_a_healthy_cluster(tmp_path: Path, size: int) -> None:
    spec = spec_of(size)
    network = machines_for(spec)
    results = await bring_up(spec, network, tmp_path)
    assert [result.ok for result in results] == [True] * size
    left = await make_plan(spec, network, tmp_path)
    assert isinstance(left, Plan)
    assert left.steps == ()


@pytest.mark.quick
async def test_a_kill_after_any_command_is_finished_by_the_next_apply(tmp_path: Path) -> None:
    spec = spec_of(3)
    whole = machines_for(spec)
    (tmp_path / "whole").mkdir()
    await bring_up(spec, whole, tmp_path / "whole")
    total = len(whole.commands)
    assert total > 60
    for cut in kill_points(total):
        network = machines_for(spec)
        folder = tmp_path / str(cut)
        folder.mkdir()
        await kill_after(cut, network, bring_up(spec, network, folder))
        results = await bring_up(spec, network, folder)
        assert all(result.ok for result in results), cut
        assert end_state(network) == end_state(whole), cut
