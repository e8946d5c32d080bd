"""The plan of a change of a running cluster, as the operator reads it before the confirmation, on narrow terminals."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from etcdup.cli.apply.plan import refuse_stale_plan
from etcdup.cli.run.no_return import confirm_no_return
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.plan_view import render_plan, render_refusal
from etcdup.cli.views.text import Paint
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan, Refusal, plan_from_json, plan_to_json
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.model import Spec
from etcdup.errors import PartlyApplied
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.cli.golden import assert_golden
from tests.support.fake_world import (
    TOKEN,
    add_machines,
    make_plan,
    planner_of,
    running_network,
    spec_of,
    world_of,
)
from tests.support.texts import Texts

pytestmark = pytest.mark.quick

PLAIN = Paint(False)
WIDTHS = (80, 120)


def assert_shown(name: str, answer: Plan | Refusal, widths: Sequence[int] = WIDTHS) -> None:
    for width in widths:
        if isinstance(answer, Refusal):
            text = render_refusal(answer, PLAIN, width)
        else:
            text = render_plan(answer, PLAIN, width)
        assert [line for line in text.splitlines() if len(line) > width and line[:8] != " " * 8] == []
        # Each run has its own CA.
        assert_golden(f"{name}-{width}.txt", re.sub(r'(ETCDUP_TRUST)="\w+"', r'\1="0123456789ab"', text))


async def plan_replace(spec: Spec, name: str, network: FakeNetwork, folder: Path) -> Plan | Refusal:
    observed = await observe(world_of(spec, network, folder))
    member_id = id_to_replace(spec, name, observed)
    assert isinstance(member_id, int)
    return plan_replacement(spec, name, member_id, observed, TOKEN)


CHANGES = {
    "grow": ([1, 2, 3], [1, 2, 3, 4, 5]),
    "shrink": ([1, 2, 3, 4, 5], [3, 4, 5]),
    "swap": ([1, 2, 3], [4, 5, 6]),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_of_members(tmp_path: Path, name: str) -> None:
    before, after = CHANGES[name]
    network = await running_network(spec_of(before), tmp_path)
    spec = spec_of(after)
    add_machines(network, spec)
    assert_shown(f"plan-{name}", await make_plan(spec, network, tmp_path))


async def test_a_replacement_of_a_wiped_member(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = await running_network(spec, tmp_path)
    network.wipe("infra2")
    assert_shown("replace-wiped", await plan_replace(spec, "infra2", network, tmp_path))


async def test_a_replacement_of_a_healthy_member(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = await running_network(spec, tmp_path)
    assert_shown("replace-healthy", await plan_replace(spec, "infra2", network, tmp_path))


VERSION_PATHS = {
    "upgrade": ("3.4.23", "3.7.1"),
    "upgrade-one": ("3.5.33", "3.6.14"),
    "downgrade": ("3.7.1", "3.5.33"),
    "impossible": ("3.5.33", "3.4.45"),
}


@pytest.mark.parametrize("name", VERSION_PATHS)
async def test_a_change_of_version(tmp_path: Path, name: str) -> None:
    before, after = VERSION_PATHS[name]
    network = await running_network(spec_of(3, version=before), tmp_path)
    assert_shown(f"plan-{name}", await make_plan(spec_of(3, version=after), network, tmp_path))


class FixedAnswerTerminal(Terminal):
    """A terminal whose operator always gives the same answer."""

    def __init__(self, answer: bool) -> None:
        super().__init__()
        self.said: list[str] = []
        self._answer = answer

    def say(self, text: str = "") -> None:
        self.said.append(text)

    async def confirm(self, question: str) -> bool:
        self.said.append(question)
        return self._answer


async def find_last_step(folder: Path, minor: str = "3.6") -> tuple[Plan, RestartMember, Observed]:
    """Return the end of a hop from 3.4 to 3.6: that of the last member which gets this minor."""
    network = await running_network(spec_of(3, version="3.4.23"), folder)
    spec = spec_of(3, version="3.6.14")
    observed = await observe(world_of(spec, network, folder))
    plan = planner_of(spec)(observed)
    assert isinstance(plan, Plan)
    ends = [step for step in plan.steps if isinstance(step, RestartMember) and step.no_way_back]
    (step,) = (step for step in ends if step.version.startswith(f"{minor}."))
    return plan, step, observed


@pytest.mark.parametrize(("minor", "golden"), [("3.5", "no-return.txt"), ("3.6", "last-of-a-minor.txt")])
async def test_the_question_before_the_last_member_of_a_minor(
    tmp_path: Path, minor: str, golden: str
) -> None:
    terminal = FixedAnswerTerminal(True)
    await confirm_no_return(terminal, *await find_last_step(tmp_path, minor))
    assert_golden(golden, "\n".join(terminal.said))


async def test_after_a_no_the_last_member_keeps_its_version(texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(PartlyApplied) as caught:
        await confirm_no_return(FixedAnswerTerminal(False), *await find_last_step(tmp_path))
    assert caught.value.exit_code == 5
    texts(caught.value)
    assert caught.value.hint == "to go back, set `version: 3.5.33` in cluster.yaml and run `etcdup apply`"


@pytest.mark.parametrize("name", [*CHANGES, *VERSION_PATHS])
async def test_two_observations_of_an_unchanged_cluster_give_the_same_plan(tmp_path: Path, name: str) -> None:
    before, after = CHANGES.get(name, ([1, 2, 3], [1, 2, 3]))
    versions = VERSION_PATHS.get(name, ("3.6.14", "3.6.14"))
    network = await running_network(spec_of(before, version=versions[0]), tmp_path)
    spec = spec_of(after, version=versions[1])
    add_machines(network, spec)
    first = await make_plan(spec, network, tmp_path)
    await network.sleep(1800)
    second = await make_plan(spec, network, tmp_path)
    if isinstance(first, Plan) and isinstance(second, Plan):
        again = plan_from_json(json.loads(json.dumps(plan_to_json(first))))
        assert refuse_stale_plan(again, second) == ()
    else:
        assert first == second


async def test_a_plan_with_other_steps_is_stale(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(5), tmp_path)
    spec = spec_of(3)
    shown = await make_plan(spec, network, tmp_path)
    network.crash("infra4")
    now = await make_plan(spec, network, tmp_path)
    assert isinstance(shown, Plan)
    assert isinstance(now, Plan)
    assert now.steps
    for saved, fresh in ((shown, now), (now, shown), (shown, Plan(shown.cluster))):
        (reason,) = refuse_stale_plan(saved, fresh)
        texts(reason)
