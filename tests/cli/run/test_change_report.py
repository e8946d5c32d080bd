"""The `--json` of restore and recover: a plan, a complete change on fakes, an interruption and a refusal."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.cli.run.change_report import ChangeReport
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.progress import PlainProgress
from etcdup.cli.run.terminal import Terminal
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, plan_from_json
from etcdup.core.restore.attempt import restore_token
from etcdup.core.restore.restore import plan_restore
from etcdup.core.spec.model import Spec
from etcdup.errors import EXIT_CHANGES, EXIT_DONE, EtcdupError, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner, raise_refusal
from tests.cli.golden import assert_golden
from tests.flows.test_recover import BOTH, lose_quorum, recover
from tests.flows.test_restore import snapshot_in
from tests.support.fake_world import spec_of, world_of
from tests.support.kill_everywhere import prepare_start


def printed_report(
    outcome: ChangeReport, capsys: pytest.CaptureFixture[str], error: EtcdupError | None = None
) -> str:
    """Return stdout without the values that differ between runs."""
    with suppress(EtcdupError), outcome.print_at_exit(Terminal()):
        if error is not None:
            raise error
    text = re.sub(r'ETCDUP_TRUST=\\"\w+', r'ETCDUP_TRUST=\\"0123456789ab', capsys.readouterr().out)
    return re.sub(
        r'"took_ms": [\d.]+', '"took_ms": 1.0', re.sub(r"/[^ \"]*/(?=snapshot\.db|backups/)", "/", text)
    )


def restore_planner(spec: Spec, observed: Observed, folder: Path) -> Planner:
    token, snapshot = restore_token(spec, observed, "prod-restored"), snapshot_in(folder)
    return lambda seen: plan_restore(spec, seen, snapshot, token, "aside-20261125T120000Z")


async def test_a_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_of(1)
    network, folder = (await prepare_start(spec, spec, tmp_path)).copy_to("one")
    world = world_of(spec, network, folder)
    observed = await observe(world)
    planner = restore_planner(spec, observed, folder)
    plan = planner(observed)
    assert isinstance(plan, Plan)
    outcome = ChangeReport("prod", "restore snapshot.db")
    outcome.plan = plan
    outcome.pending = True
    text = printed_report(outcome, capsys)
    assert_golden("restore-pending.json", text)
    assert outcome.exit_code == EXIT_CHANGES
    read = plan_from_json(json.loads(text)["plan"])
    assert [each.identity for each in read.steps] == [each.identity for each in plan.steps]

    outcome.pending = False
    with Journal.in_folder(folder, spec.name) as journal:
        shown = outcome.record_steps_of(PlainProgress(Terminal(), plan))
        outcome.health = await apply(world, plan, planner, shown, journal)
    text = printed_report(outcome, capsys)
    assert_golden("restore-done.json", text)
    facts = json.loads(text)
    assert [each["step"] for each in facts["done"]] == [each["step"] for each in facts["plan"]["steps"]]
    assert (facts["health"]["cluster"], outcome.exit_code) == ("healthy", EXIT_DONE)


async def test_the_plan_of_a_recovery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, start = await lose_quorum(tmp_path)
    outcome = ChangeReport("prod", "recover --fenced infra2 --fenced infra3")
    outcome.plan = await recover(spec, *start.copy_to("one"), BOTH)
    outcome.pending = True
    text = re.sub(r"infra1-\d{8}T\d{6}Z", "infra1-20261125T120000Z", printed_report(outcome, capsys))
    assert_golden("recover-pending.json", text)


async def test_a_refused_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_of(3)
    network, folder = (await prepare_start(spec, spec, tmp_path)).copy_to("one")
    network.machines["infra2"].reachable = False
    network.machines["infra3"].free_bytes = 1000
    observed = await observe(world_of(spec, network, folder))
    refusal = restore_planner(spec, observed, folder)(observed)
    assert isinstance(refusal, Refusal)
    with pytest.raises(RefusedError) as caught:
        raise_refusal(refusal)
    outcome = ChangeReport("prod", "restore snapshot.db")
    assert_golden("restore-refused.json", printed_report(outcome, capsys, caught.value))


def test_an_interrupted_restore_reports_the_steps_that_were_done(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = ChangeReport("prod", "restore snapshot.db")
    said = printed_report(outcome, capsys, Interrupted("interrupted; 1 of 3 steps are done; run it again"))
    assert json.loads(said) == {
        "format": 1,
        "cluster": "prod",
        "verb": "restore snapshot.db",
        "outcome": "interrupted",
        "plan": None,
        "done": [],
        "health": None,
        "error": {
            "message": "interrupted; 1 of 3 steps are done; run it again",
            "detail": "",
            "hint": "",
        },
    }
