"""Compaction by revision, and additional variables of the process: each change restarts the members, one by one."""

from pathlib import Path

import pytest

from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan
from tests.support.fake_world import bring_up, make_plan, running_network, spec_of
from tests.support.kill_everywhere import apply_and_check, kill_everywhere, prepare_start

REVISIONS = "etcd: {auto_compaction: {revisions: 10000}}\n"
VARIABLES = "etcd: {environment: {GODEBUG: madvdontneed=1, GOMAXPROCS: 4}}\n"


@pytest.mark.parametrize("edit", [REVISIONS, VARIABLES])
async def test_the_edit_and_its_reverse_restart_each_member_once(edit: str, tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    for spec in (spec_of(3, edit), spec_of(3)):
        answer = await make_plan(spec, network, tmp_path)
        assert isinstance(answer, Plan)
        restarts = [step.host for step in answer.steps if isinstance(step, RestartMember)]
        assert sorted(restarts) == ["infra1", "infra2", "infra3"]
        await bring_up(spec, network, tmp_path)
        await apply_and_check(spec, network, tmp_path)


async def test_the_process_has_the_variables(tmp_path: Path) -> None:
    network = await running_network(spec_of(3, VARIABLES), tmp_path)
    for machine in network.machines.values():
        assert machine.process is not None
        settings = machine.process.environment
        assert (settings["GODEBUG"], settings["GOMAXPROCS"]) == ("madvdontneed=1", "4")


async def test_another_value_of_a_variable_is_a_restart_too(tmp_path: Path) -> None:
    """Of a process, only variables of etcd are read. So the digest of the others must differ."""
    network = await running_network(spec_of(3, VARIABLES), tmp_path)
    answer = await make_plan(spec_of(3, VARIABLES.replace("4", "2")), network, tmp_path)
    assert isinstance(answer, Plan)
    assert sum(isinstance(step, RestartMember) for step in answer.steps) == 3


@pytest.mark.parametrize("edit", [REVISIONS, VARIABLES])
async def test_after_a_kill_at_any_command_the_next_apply_finishes(edit: str, tmp_path: Path) -> None:
    start = await prepare_start(spec_of(3), spec_of(3, edit), tmp_path)
    await kill_everywhere(start, spec_of(3, edit))
