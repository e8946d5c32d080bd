"""The screens of `maintain`: plans, and the hashes of the members."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.cli.views.hashes_view import hashes_json, render_hashes
from etcdup.cli.views.plan_view import render_plan, render_refusal
from etcdup.cli.views.text import Paint
from etcdup.core.audit.findings import MemberHash
from etcdup.core.audit.hashes import outcome_of
from etcdup.core.maintain.causes import explain_cause, reasons_to_return
from etcdup.core.maintain.compaction import Compaction
from etcdup.core.maintain.defrag import plan_defrag
from etcdup.core.maintain.fix_space import Measured, members_to_shrink, plan_fix_space
from etcdup.core.maintain.leadership import plan_move_leader
from etcdup.core.maintain.space import Space, Use
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, plan_from_json, plan_to_json
from etcdup.core.planner.offline_defrag import plan_offline_defrag
from etcdup.core.planner.repair import Repair, decide_repair, plan_repair
from etcdup.core.planner.repair_data import Evidence
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.cli.golden import assert_golden, assert_golden_json
from tests.support.fake_world import running_network, spec_of, world_of

pytestmark = pytest.mark.quick

PLAIN = Paint(False)
SPEC = spec_of()
MIB = 1024**2
SAME = tuple(MemberHash(f"infra{number}", 0x3F0A21, 40, revision=57) for number in (1, 2, 3))


async def observe_fragmented(folder: Path, network: FakeNetwork) -> Observed:
    cluster = network.etcd.only()
    cluster.db_size, cluster.db_in_use = 1500 * MIB, 300 * MIB
    world = world_of(SPEC, network, folder)
    world.reads_activity = True
    return await observe(world)


async def test_plans(tmp_path: Path) -> None:
    network = await running_network(SPEC, tmp_path)
    observed = await observe_fragmented(tmp_path, network)
    plan = plan_defrag(SPEC, observed, [host.name for host in SPEC.hosts])
    assert isinstance(plan, Plan)
    assert_golden("maintain-defrag.txt", render_plan(plan, PLAIN, 100))
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan
    offline = plan_offline_defrag(SPEC, observed, "prod-0123456789ab", (), 200 * MIB)
    assert isinstance(offline, Plan)
    assert_golden("maintain-defrag-offline.txt", render_plan(offline, PLAIN, 100))
    assert plan_from_json(json.loads(json.dumps(plan_to_json(offline)))) == offline
    move = plan_move_leader(SPEC, observed, "infra2")
    assert isinstance(move, Plan)
    assert_golden("maintain-move-leader.txt", render_plan(move, PLAIN, 100))


async def observe_full(folder: Path, network: FakeNetwork) -> Observed:
    cluster = network.etcd.only()
    cluster.db_size = cluster.db_in_use = 2048 * MIB
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
    world = world_of(SPEC, network, folder)
    world.reads_activity = True
    return await observe(world)


def measured(keys: int, old: int) -> Measured:
    """Return the use of a full database with these MiB of keys and of history."""
    whole = Use(keys=40_000, bytes=keys * MIB, old=900_000, old_bytes=old * MIB)
    space = Space(
        1_840_210, 40, 2048 * MIB, (keys + old + 8) * MIB, whole, 12, {b"/registry/events/default/": whole},
        other_bytes=8 * MIB, changed=((b"/registry/events/default/web", 20, 9000),),
    )  # fmt: skip
    recent = Compaction(1_831_005, 46_000, (keys + old // 100) * MIB)
    return Measured(space, recent, Compaction(space.revision, 40_000, keys * MIB))


@pytest.mark.parametrize(("name", "keys", "old"), [("", 300, 1700), ("-refused", 1900, 100)])
async def test_a_full_database(tmp_path: Path, name: str, keys: int, old: int) -> None:
    network = await running_network(SPEC, tmp_path)
    observed, use = await observe_full(tmp_path, network), measured(keys, old)
    answer = plan_fix_space(SPEC, observed, use, members_to_shrink(SPEC, observed, use))
    shown = (
        render_plan(answer, PLAIN, 100) if isinstance(answer, Plan) else render_refusal(answer, PLAIN, 100)
    )
    reasons = "".join(f"- {each}\n" for each in reasons_to_return(SPEC, use.space, SPEC.etcd.quota))
    assert_golden(f"maintain-fix-space{name}.txt", f"cause: {explain_cause(use.space)}\n\n{shown}\n{reasons}")
    if isinstance(answer, Plan):
        assert plan_from_json(json.loads(json.dumps(plan_to_json(answer)))) == answer


async def test_a_refusal(tmp_path: Path) -> None:
    network = await running_network(SPEC, tmp_path)
    process = network.machines["infra3"].process
    assert process is not None
    process.blocked_until = network.now() + 60
    network.machines["infra1"].free_bytes = 200 * MIB
    refused = plan_defrag(SPEC, await observe_fragmented(tmp_path, network), ["infra1"])
    assert isinstance(refused, Refusal)
    assert_golden("maintain-defrag-refused.txt", render_refusal(refused, PLAIN, 100))


@pytest.mark.parametrize(
    ("hashes", "outcome"),
    [
        (SAME, "same"),
        (SAME[:1], "same"),
        ((*SAME[:2], MemberHash("infra3", 1, 40, revision=57)), "different"),
        ((*SAME[:2], MemberHash("infra3", 1, 41, revision=57)), "not compared"),
        ((*SAME[:2], MemberHash("infra3", why="etcd does not run")), "not compared"),
        ((SAME[0], MemberHash("infra2", 1, 40), MemberHash("infra3", why="silent")), "different"),
    ],
)
def test_hashes(hashes: tuple[MemberHash, ...], outcome: str) -> None:
    assert outcome_of(hashes) == outcome


def test_the_screen_of_verify() -> None:
    hashes = (*SAME[:2], MemberHash("infra3", why="etcd does not run"))
    assert_golden("maintain-verify.txt", render_hashes(SAME, PLAIN) + render_hashes(hashes, PLAIN))
    assert_golden_json("maintain-verify.json", hashes_json("prod", hashes))


async def test_a_repair(tmp_path: Path) -> None:
    network = await running_network(SPEC, tmp_path)
    network.etcd.only().alarms = ("CORRUPT",)
    observed = replace(await observe(world_of(SPEC, network, tmp_path)), repaired="infra2")
    other = (SAME[0], MemberHash("infra2", 0x51, 40, revision=57), SAME[2])
    found = decide_repair(SPEC, "infra2", observed, Evidence(other))
    assert isinstance(found, Repair)
    answer = plan_repair(SPEC, found, observed, "prod-0123456789ab")
    assert isinstance(answer, Plan)
    tie = (*other[:2], MemberHash("infra3", 0x7, 40, revision=57))
    reasons = decide_repair(SPEC, "infra2", observed, Evidence(tie))
    assert isinstance(reasons, tuple)
    refused = render_refusal(Refusal(SPEC.name, reasons), PLAIN, 100)
    assert_golden(
        "maintain-repair.txt",
        f"{render_hashes(other, PLAIN)}\n{render_plan(answer, PLAIN, 100)}\n{render_hashes(tie, PLAIN)}\n{refused}",
    )
    assert plan_from_json(json.loads(json.dumps(plan_to_json(answer)))) == answer
