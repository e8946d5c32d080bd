"""Each screen against its golden file, without colours. Colours add no text."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.cli.views.check_view import check_json, render_check
from etcdup.cli.views.health_view import health_json, health_of, render_health
from etcdup.cli.views.plan_view import render_plan, render_refusal
from etcdup.cli.views.status_view import render_status, status_json, status_of
from etcdup.cli.views.text import Paint
from etcdup.core.audit.audit import audit
from etcdup.core.audit.findings import Disk, Evidence, MemberHash, PortProbe
from etcdup.core.members.limits import limits
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.recovery.recovery import refuse_recovery
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.verdict import judge
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.health import Health, prove, prove_each
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.cli.golden import assert_golden, assert_golden_json
from tests.support.audit_evidence import GOOD_DISK, gather_evidence, with_hosts, with_inspection
from tests.support.fake_world import (
    RecordingReporter,
    add_machines,
    machines_for,
    planner_of,
    spec_of,
    world_of,
)
from tests.support.texts import Texts

pytestmark = pytest.mark.quick

PLAIN, COLOURED = Paint(False), Paint(True)


async def make_plan(spec: Spec, network: FakeNetwork, folder: Path) -> Plan:
    answer = planner_of(spec)(await observe(world_of(spec, network, folder)))
    assert isinstance(answer, Plan), answer
    return answer


async def bring_up_network(spec: Spec, folder: Path) -> FakeNetwork:
    network = machines_for(spec)
    plan = await make_plan(spec, network, folder)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(world_of(spec, network, folder), plan, planner_of(spec), RecordingReporter([]), journal)
    return network


async def observe_steady(spec: Spec, network: FakeNetwork, folder: Path) -> Observed:
    """Return an observation, whose IDs are the same in each run."""
    return await observe(world_of(spec, network, folder))


async def test_the_plan_of_a_new_cluster(tmp_path: Path) -> None:
    spec = spec_of(3)
    plan = await make_plan(spec, machines_for(spec), tmp_path)
    assert_golden("plan-new.txt", render_plan(plan, PLAIN, 130))
    assert_golden("plan-new-narrow.txt", render_plan(plan, PLAIN, 80))


async def test_the_plan_of_a_changed_setting_shows_each_difference_once(tmp_path: Path) -> None:
    network = await bring_up_network(spec_of(3), tmp_path)
    changed = spec_of(3, more="etcd: {quota: 4GiB}\n")
    plan = await make_plan(changed, network, tmp_path)
    assert_golden("plan-changed.txt", render_plan(plan, PLAIN, 130))


async def test_nothing_to_do(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = await bring_up_network(spec, tmp_path)
    plan = await make_plan(spec, network, tmp_path)
    assert render_plan(plan, PLAIN) == "cluster prod: nothing to do\n"


async def test_a_refusal_has_all_reasons(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    network.machines["infra1"].put("/var/lib/etcd/member/wal/0.wal", b"of another program")
    network.machines["infra2"].clock_ahead_s = 400
    answer = planner_of(spec)(await observe(world_of(spec, network, tmp_path)))
    assert isinstance(answer, Refusal)
    assert_golden("refusal.txt", render_refusal(answer, PLAIN))


async def test_colours_add_no_text(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    plan = await make_plan(spec, network, tmp_path)
    coloured = render_plan(plan, COLOURED, 130)
    assert coloured != render_plan(plan, PLAIN, 130)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render_plan(plan, PLAIN, 130)


async def test_the_status_of_a_healthy_cluster(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = await bring_up_network(spec, tmp_path)
    status = status_of(spec, await observe_steady(spec, network, tmp_path))
    assert_golden("status-healthy.txt", render_status(status, PLAIN))
    assert_golden_json("status-healthy.json", status_json(status))


async def test_the_status_of_a_cluster_in_trouble_says_why(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = await bring_up_network(spec, tmp_path)
    observed = await observe_steady(spec, network, tmp_path)
    gone = Unreachable("infra2", "no answer on port 22 within 10 s", "check whether the host runs")
    observed = replace(
        observed,
        hosts={**observed.hosts, "infra2": gone},
        members={**observed.members, "infra2": MemberSilent("no connection: refused")},
    )
    status = status_of(spec, observed)
    assert_golden("status-trouble.txt", render_status(status, PLAIN))
    assert_golden_json("status-trouble.json", status_json(status))


async def test_the_status_of_a_cluster_that_is_being_changed(tmp_path: Path) -> None:
    network = await bring_up_network(spec_of(3), tmp_path)
    spec = spec_of([2, 3, 4, 5, 6])
    add_machines(network, spec)
    network.etcd.only().add_learner(["https://192.168.8.69:2380"])
    network.etcd.only().downgrade_to = (3, 5)
    status = status_of(spec, await observe_steady(spec, network, tmp_path))
    assert_golden("status-changing.txt", render_status(status, PLAIN))
    assert_golden_json("status-changing.json", status_json(status))


async def test_the_health_of_a_cluster_that_differs_from_its_file(texts: Texts, tmp_path: Path) -> None:
    network = await bring_up_network(spec_of(5), tmp_path)
    spec = spec_of(3)
    world = world_of(spec, network, tmp_path)
    observed = await observe(world)
    results = await prove_each(world, observed)
    verdict = judge(spec, observed)
    assert health_of(results, verdict) == "degraded"
    texts(re.sub(r"took [\d.]+", "took N", render_health(results, PLAIN, verdict)))


async def test_a_full_database_is_reported_in_the_same_way_by_each_verb(tmp_path: Path) -> None:
    """All members vote. The alarm is listed once, with the host that raised it and the command that helps."""
    spec = spec_of(3, more="etcd: {quota: 400MiB}\n")
    network = await bring_up_network(spec, tmp_path)
    cluster = network.etcd.only()
    cluster.db_size = 400 * 1024**2
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
    world, larger = world_of(spec, network, tmp_path), spec_of(3, more="etcd: {quota: 1GiB}\n")
    observed = await observe(world)
    results, verdict = await prove_each(world, observed), judge(spec, observed)
    # cluster.yaml has a larger quota, and the processes do not have it yet.
    status = status_of(larger, observed)
    assert_golden("status-full.txt", render_status(status, PLAIN))
    assert_golden_json("status-full.json", status_json(status))
    assert_golden("health-full.txt", render_health(results, PLAIN, verdict))
    assert_golden_json("health-full.json", health_json(results, verdict, (), limits(spec, observed)))
    assert status_json(status)["has_quorum"] is True
    assert health_of(results, verdict) == "degraded"
    plan = await make_plan(spec, network, tmp_path)
    assert_golden("plan-full.txt", render_plan(plan, PLAIN, 120))
    assert_golden("plan-disarm.txt", render_plan(await make_plan(larger, network, tmp_path), PLAIN, 120))
    assert plan.notes == tuple(cause.note for cause in verdict.causes)
    refused = refuse_recovery(spec, observed, ())
    assert_golden("recover-full.txt", render_refusal(Refusal(spec.name, refused), PLAIN))


async def test_users_that_exclude_etcdup_are_reported_in_the_same_way_by_each_verb(tmp_path: Path) -> None:
    """All members vote, so the cluster is not unavailable. The commands that help are shown."""
    spec = spec_of(3)
    network = await bring_up_network(spec, tmp_path)
    network.etcd.only().denied = "user name not found"
    world = world_of(spec, network, tmp_path)
    observed = await observe(world)
    results, status = await prove_each(world, observed), status_of(spec, observed)
    assert_golden("status-denied.txt", render_status(status, PLAIN))
    assert_golden("health-denied.txt", render_health(results, PLAIN, judge(spec, observed)))
    assert (status_json(status)["has_quorum"], health_of(results)) == (True, "degraded")
    refused = planner_of(spec)(observed)
    assert isinstance(refused, Refusal)
    assert_golden("plan-denied.txt", render_refusal(refused, PLAIN))
    (found,) = (each for each in audit(spec, Evidence(observed)) if each.code == "access-denied")
    assert found.fix[1:] == refused.reasons[0].hint[1:] + "."


@pytest.mark.parametrize("member", ["infra2", ""])
async def test_a_corrupt_member_is_not_healthy_and_votes(tmp_path: Path, member: str) -> None:
    """Rule 82: etcd does not always name the member whose data differs."""
    spec = spec_of(3)
    network = await bring_up_network(spec, tmp_path)
    cluster = network.etcd.only()
    (ident,) = (each for each, seen in cluster.members.items() if seen.name == "infra2")
    cluster.alarms = (f"CORRUPT on member {ident:x}" if member else "CORRUPT",)
    observed = await observe_steady(spec, network, tmp_path)
    shown = status_json(status_of(spec, observed))
    assert (shown["has_quorum"], shown["can_lose"], shown["healthy"]) == (True, 1, 0)
    (limit,) = shown["limits"]
    assert limit["kind"] == "CORRUPT"
    assert ("infra2" in limit["why"]) == bool(member)
    if member:
        assert_golden("status-corrupt.txt", render_status(status_of(spec, observed), PLAIN))


async def test_a_cluster_without_responding_members_is_not_called_one_without_quorum(tmp_path: Path) -> None:
    spec = spec_of(1)
    network = await bring_up_network(spec, tmp_path)
    network.crash("infra1")
    status = status_of(spec, await observe_steady(spec, network, tmp_path))
    heading = render_status(status, PLAIN).splitlines()[0]
    assert heading == "cluster prod · health unknown: etcdup cannot connect to a member"


async def test_health_ends_with_the_line_of_etcds_guide(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(3)
    network = await bring_up_network(spec, tmp_path)
    world = world_of(spec, network, tmp_path)
    results = await prove(world, await observe(world))
    assert render_health(results, PLAIN).splitlines()[-1] == "cluster is healthy"
    texts(re.sub(r"took [\d.]+", "took N", render_health(results, PLAIN)))


def test_health_separates_unhealthy_from_silent_and_degraded_from_unavailable() -> None:
    good = Health("infra1", "https://192.168.8.66:2379", 0x8211F1D0F64F3269, 0.01)
    sick = Health("infra2", "https://192.168.8.67:2379", 0xA1, 0.01, "it has no leader")
    silent = Health("infra3", "https://192.168.8.68:2379", 0, 0.0, "etcd does not run")
    assert_golden("health.txt", render_health((good, sick, silent), PLAIN))
    other = replace(good, name="infra4", member_id=0xA2)
    assert health_of((good, other, sick)) == "degraded"
    assert health_of((good, sick, silent)) == "unavailable"


async def gather_full_evidence(folder: Path) -> Evidence:
    """A cluster with findings of each level: a host, a disk, a clock, a link, and data that could not be compared."""
    seen = await gather_evidence(spec_of(3), folder)
    log = Disk("/srv/log/wal", "ext4", 80 * 1024**3, "/dev/sdb1", "/srv/log")
    trips = {"infra2": 0.21, "infra3": 0.34}
    seen = with_inspection(seen, "infra1", disks=(GOOD_DISK, log), round_trips_ms=trips, exposure=1.7)
    seen = with_inspection(seen, "infra2", swap=True, synchronised=None, fsyncs_ms=(0.4,) * 96 + (31.5,) * 4)
    seen = with_hosts(seen, infra1={"clock_ahead_s": 0.8}, infra3={"clock_ahead_s": -0.7})
    seen = with_inspection(seen, "infra3", port_probes=(PortProbe("infra1", 2380, answered=False),))
    data = (MemberHash("infra1", 7, 100), MemberHash("infra2", 7, 100), MemberHash("infra3", 7, 90))
    at = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)
    return replace(seen, hashes=data, observed=replace(seen.observed, at=at))


async def test_a_check_by_host(tmp_path: Path) -> None:
    spec = spec_of(3)
    evidence = await gather_full_evidence(tmp_path)
    findings = audit(spec, evidence)
    assert_golden("check.txt", render_check(spec, evidence, findings, PLAIN))
    assert_golden_json("check.json", check_json(spec, evidence, findings))
    coloured = render_check(spec, evidence, findings, COLOURED)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render_check(spec, evidence, findings, PLAIN)


async def test_a_check_that_finds_nothing(tmp_path: Path) -> None:
    evidence = await gather_evidence(spec_of(3), tmp_path)
    shown = render_check(spec_of(3), evidence, audit(spec_of(3), evidence), PLAIN)
    assert shown.splitlines()[-1] == "no findings"
