"""Wrong clocks: no certificate is issued or installed, and what a wrong clock issued earlier is repaired."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.renewal import certs_to_renew, plan_renewal
from etcdup.core.certs.required import desired_certs
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.planner import plan
from etcdup.core.planner.rotate_ca import plan_ca_rotation
from etcdup.core.recovery.quorum_repair import plan_quorum_repair
from etcdup.core.restore.restore import plan_restore
from etcdup.errors import RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.certs.consumers import issue_consumer
from etcdup.ops.pki.open import open_pki
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.support.cases import quick_first
from tests.support.fake_world import (
    TOKEN,
    RecordingReporter,
    add_machines,
    make_plan,
    planner_of,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import Start, apply_and_check, kill_everywhere, prepare_start
from tests.support.texts import Texts

SPEC = spec_of()
ROLLED = spec_of(more="etcd: {heartbeat_ms: 150, election_ms: 1500}\n")
SNAPSHOT = SnapshotFile("snapshot.db", "00", 20_480, 5, "3.6.0")
AHEAD = {
    "this machine": dict.fromkeys(("infra1", "infra2", "infra3"), -3 * 3600.0),
    "infra2": {"infra2": 3 * 3600.0},
}


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    return await prepare_start(SPEC, SPEC, tmp_path)


def set_clocks(network: FakeNetwork, ahead: dict[str, float]) -> None:
    for name, seconds in ahead.items():
        network.machines[name].clock_ahead_s = seconds


def plan_apply(observed: Observed) -> Plan | Refusal:
    return plan(SPEC, observed, TOKEN)


def plan_renew(observed: Observed) -> Plan | Refusal:
    return plan_renewal(SPEC, observed, certs_to_renew(SPEC, observed, 1000))


def plan_rotation(observed: Observed) -> Plan | Refusal:
    return plan_ca_rotation(SPEC, observed, TOKEN, "trust")


def plan_snapshot(observed: Observed) -> Plan | Refusal:
    return plan_restore(SPEC, observed, SNAPSHOT, TOKEN, "aside-1")


def plan_repair(observed: Observed) -> Plan | Refusal:
    return plan_quorum_repair(SPEC, observed, certs_to_renew(SPEC, observed, 1000), {})


def remove_server_certificate(folder: Path) -> None:
    (folder / "pki/members/infra1/server.pem").unlink()


@pytest.mark.parametrize("whose", AHEAD)
@pytest.mark.parametrize(
    "make",
    quick_first(plan_apply, plan_renew, plan_rotation, plan_snapshot, plan_repair),
)
async def test_no_verb_issues_or_installs_certificates(
    start: Start, make: Callable[[Observed], Plan | Refusal], whose: str
) -> None:
    network, folder = start.copy_to("off")
    remove_server_certificate(folder)
    set_clocks(network, AHEAD[whose])
    answer = make(await observe(world_of(SPEC, network, folder)))
    assert isinstance(answer, Refusal), answer
    (reason,) = [each for each in answer.reasons if each.rules == (94,)]
    assert reason.host == ("" if whose == "this machine" else whose)


async def test_a_new_cluster_gets_no_ca(tmp_path: Path) -> None:
    network = FakeNetwork()
    add_machines(network, SPEC)
    set_clocks(network, AHEAD["this machine"])
    answer = await make_plan(SPEC, network, tmp_path)
    assert isinstance(answer, Refusal)
    assert [(each.host, each.rules) for each in answer.reasons] == [("", (94,))]
    assert not (tmp_path / "pki").exists()


async def test_a_change_without_certificates_is_allowed(start: Start) -> None:
    network, folder = start.copy_to("off")
    set_clocks(network, AHEAD["this machine"])
    await apply_and_check(ROLLED, network, folder)


async def test_a_clock_that_changes_during_the_run_stops_it(start: Start) -> None:
    """The guard is evaluated on the new observation, before anything is issued."""
    network, folder = start.copy_to("off")
    remove_server_certificate(folder)
    world = world_of(SPEC, network, folder)
    planned = planner_of(SPEC)(await observe(world))
    assert isinstance(planned, Plan)
    set_clocks(network, AHEAD["this machine"])
    with Journal.in_folder(folder, "prod") as journal, pytest.raises(RefusedError) as caught:
        await apply(world, planned, planner_of(SPEC), RecordingReporter([]), journal)
    assert isinstance(caught.value.refusal, Refusal)
    assert not (folder / "pki/members/infra1/server.pem").exists()


def issue_with_wrong_clock(network: FakeNetwork, folder: Path, by: timedelta, hosts: int = 1) -> None:
    """Issue all certificates as a machine with a wrong clock does, and install them on the first hosts."""
    pki, now = open_pki(SPEC, folder), datetime.fromtimestamp(network.now(), UTC)
    pki.issue([wanted.role for wanted in desired_certs(SPEC)], now + by)
    for name in list(network.machines)[:hosts]:
        for kind in ("server", "peer", "health"):
            cert, _ = pki.pair(f"{kind}/{name}")
            network.machines[name].nodes[f"/etc/etcd/pki/{kind}.pem"].content = cert


WRONG = {"not valid yet": timedelta(days=250), "expired": timedelta(days=-400)}


@pytest.mark.parametrize("by", WRONG.values(), ids=WRONG)
async def test_certificates_come_first_if_no_member_answers(start: Start, by: timedelta) -> None:
    network, folder = start.copy_to("silent")
    issue_with_wrong_clock(network, folder, by)
    observed = await observe(world_of(ROLLED, network, folder))
    assert all(isinstance(seen, MemberSilent) for seen in observed.members.values())
    answer = planner_of(ROLLED)(observed)
    assert isinstance(answer, Plan), answer
    kinds = [step.kind for step in answer.steps]
    assert kinds == ["IssueCertificates", *["InstallFiles"] * 3, *["InstallFiles", "RestartMember"] * 3]
    assert all(step.proof == "handshake" for step in answer.steps[1:4] if isinstance(step, InstallFiles))
    await apply_and_check(ROLLED, network, folder)


@pytest.mark.parametrize("hosts", quick_first(1, 3))
async def test_the_repair_is_finished_after_a_kill_at_any_command(start: Start, hosts: int) -> None:
    """If all members have such certificates, the first new ones bring back one member, which has no quorum."""
    network, folder = start.copy_to("silent")
    issue_with_wrong_clock(network, folder, timedelta(days=250), hosts)
    network.commands.clear()
    assert await kill_everywhere(Start(network, folder), ROLLED) > 0


async def test_without_due_certificates_a_restart_is_refused_with_the_fault_of_the_members(
    texts: Texts,
    start: Start,
) -> None:
    network, folder = start.copy_to("silent")
    for machine in network.machines.values():
        assert machine.process is not None
        machine.process.ready = False
        machine.isolated = True
    answer = await make_plan(ROLLED, network, folder)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def test_a_consumer_gets_no_certificate_while_the_clock_is_behind(start: Start) -> None:
    network, folder = start.copy_to("behind")
    pki, now = open_pki(SPEC, folder), datetime.fromtimestamp(network.now(), UTC)
    with pytest.raises(RefusedError):
        issue_consumer(SPEC, folder, pki, "patroni", now - timedelta(hours=2), csr=None, renew=False)
    issue_consumer(SPEC, folder, pki, "patroni", now, csr=None, renew=False)
