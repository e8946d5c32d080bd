"""Copies of the PKI directory: every verb that writes refuses an older copy. One host alone refuses nothing."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.generation import refuse_stale_pki, unknown_changes
from etcdup.core.certs.renewal import certs_to_renew, plan_renewal
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.destroy import plan_destroy
from etcdup.core.planner.planner import plan
from etcdup.core.planner.replace import plan_replacement
from etcdup.core.planner.rotate_ca import plan_ca_rotation
from etcdup.core.recovery.quorum_repair import plan_quorum_repair
from etcdup.core.recovery.recovery import refuse_recovery
from etcdup.core.restore.restore import plan_restore
from etcdup.core.restore.undo import plan_undo
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.pki.open import open_pki
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork, Killed
from tests.support.cases import quick_first
from tests.support.fake_world import TOKEN, RecordingReporter, bring_up, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

SPEC = spec_of()
ALL = 100_000
GENERATION = "/etc/etcd/pki/generation.json"
SNAPSHOT = SnapshotFile("snapshot.db", "00", 20_480, 5, "3.6.0")


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    return await prepare_start(SPEC, SPEC, tmp_path)


def copy_of(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-{name}")))


async def renew(network: FakeNetwork, folder: Path, *, this_copy: bool = False) -> None:
    """Run `certs renew` for all certificates, with or without `--this-copy`, without the terminal."""
    await network.sleep(60)
    world = world_of(SPEC, network, folder)
    observed = await observe(world)
    chosen = certs_to_renew(SPEC, observed, ALL)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_renewal(SPEC, fresh, chosen, this_copy=this_copy)

    planned = planner(observed)
    assert isinstance(planned, Plan), planned
    if this_copy:
        world.pki.supersede(unknown_changes(observed).values())
    with Journal.in_folder(folder, SPEC.name) as journal:
        await apply_without_proof(world, planned, planner, RecordingReporter([]), journal)


async def look(network: FakeNetwork, folder: Path) -> Observed:
    return await observe(world_of(SPEC, network, folder))


def refuse_recover(observed: Observed) -> Plan | Refusal:
    return Refusal(SPEC.name, refuse_recovery(SPEC, observed, ()))


VERBS: dict[str, Callable[[Observed], Plan | Refusal]] = {
    "apply": lambda observed: plan(SPEC, observed, TOKEN),
    "certs renew": lambda observed: plan_renewal(SPEC, observed, certs_to_renew(SPEC, observed, ALL)),
    "certs rotate-ca": lambda observed: plan_ca_rotation(SPEC, observed, TOKEN, "trust"),
    "member replace": lambda observed: plan_replacement(SPEC, "infra1", 1, observed, TOKEN),
    "restore": lambda observed: plan_restore(SPEC, observed, SNAPSHOT, TOKEN, "aside-1"),
    "restore --undo": lambda observed: plan_undo(SPEC, observed, "aside-1"),
    "recover, by a repair": lambda observed: plan_quorum_repair(SPEC, observed, {}, {}),
    "recover, by a rebuild": refuse_recover,
    "destroy": lambda observed: plan_destroy(SPEC, observed, aside_suffix(observed.at)),
}


@pytest.mark.parametrize("verb", quick_first(*VERBS))
async def test_every_verb_that_writes_refuses_an_older_copy(texts: Texts, start: Start, verb: str) -> None:
    network, mine = start.copy_to("mine")
    older = copy_of(mine, "older")
    await renew(network, mine)
    answer = VERBS[verb](await look(network, older))
    assert isinstance(answer, Refusal), answer
    texts(answer.reasons[0])
    await apply_and_check(SPEC, network, mine)


async def test_a_rotation_of_the_ca_makes_other_copies_older(texts: Texts, start: Start) -> None:
    network, mine = start.copy_to("mine")
    older = copy_of(mine, "older")
    open_pki(SPEC, mine).rotate_ca("trust", datetime.fromtimestamp(network.now(), UTC))
    await bring_up(SPEC, network, mine)
    answer = await make_plan(SPEC, network, older)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
    # Without the CA of the members, this copy must not become the newest one.


async def test_of_two_renewals_from_equal_copies_the_second_one_is_refused(
    texts: Texts, start: Start
) -> None:
    """The second operator issued before the first one wrote to the hosts, so its certificates are newer."""
    network, mine = start.copy_to("mine")
    theirs = copy_of(mine, "theirs")
    raced = deepcopy(network)
    raced.cut_after = len(raced.commands) + 1
    await raced.sleep(120)
    with pytest.raises(Killed):
        await renew(raced, theirs)
    await renew(network, mine)
    await network.sleep(120)
    answer = await make_plan(SPEC, network, theirs)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def test_a_cluster_without_generation_files_is_accepted_and_gets_them(start: Start) -> None:
    network, folder = start.copy_to("old")
    (folder / "pki/generation.json").unlink()
    for machine in network.machines.values():
        machine.remove(GENERATION)
    older = copy_of(folder, "older")
    assert await make_plan(SPEC, network, folder) == Plan(SPEC.name, (), (), TOKEN)
    await renew(network, folder)
    assert all(machine.file(GENERATION) for machine in network.machines.values())
    assert isinstance(await make_plan(SPEC, network, older), Refusal)
    for machine in network.machines.values():  # also by the certificates alone: an older etcdup renewed them
        machine.remove(GENERATION)
    assert isinstance(await make_plan(SPEC, network, older), Refusal)
    await apply_and_check(SPEC, network, folder)


HOSTILE = {
    "a huge generation": json.dumps({"generation": 10**30, "change": "f" * 16}),
    "an unknown change": json.dumps({"generation": 1, "change": "0" * 16}),
    "no text": "\0\1",
    "a long text": '{"change": "' + "a" * 10_000 + '"}',
    "deep JSON": "[" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_one_host_alone_does_not_lock_the_operator_out(texts: Texts, start: Start, text: str) -> None:
    network, folder = start.copy_to("hostile")
    network.machines["infra2"].put(GENERATION, text.encode())
    observed = await look(network, folder)
    assert refuse_stale_pki(SPEC, observed) == ()
    answer = plan(SPEC, observed, TOKEN)
    assert isinstance(answer, Plan)
    texts(answer.notes)
    await renew(network, folder)
    await apply_and_check(SPEC, network, folder)


async def test_one_host_with_a_later_certificate_of_our_ca_is_enough(texts: Texts, start: Start) -> None:
    """The other operator was killed after the first host."""
    network, mine = start.copy_to("mine")
    older = copy_of(mine, "older")
    before = {name: deepcopy(machine.nodes) for name, machine in network.machines.items()}
    await renew(network, mine)
    for name in ("infra2", "infra3"):
        network.machines[name].nodes = before[name]
    answer = await make_plan(SPEC, network, older)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def test_a_certificate_of_another_host_or_ca_is_no_evidence(start: Start, tmp_path: Path) -> None:
    network, mine = start.copy_to("mine")
    older = copy_of(mine, "older")
    before = {name: deepcopy(machine.nodes) for name, machine in network.machines.items()}
    await renew(network, mine)
    newer = network.machines["infra1"].nodes["/etc/etcd/pki/server.pem"].content
    for name, nodes in before.items():
        network.machines[name].nodes = nodes
    network.machines["infra2"].put("/etc/etcd/pki/server.pem", newer or b"")
    network.machines["infra2"].remove(GENERATION)
    assert refuse_stale_pki(SPEC, await look(network, older)) == ()
    await network.sleep(60)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    pki = open_pki(SPEC, foreign)
    pki.issue(["server/infra2"], datetime.fromtimestamp(network.now(), UTC))
    network.machines["infra2"].put("/etc/etcd/pki/server.pem", pki.pair("server/infra2")[0])
    assert refuse_stale_pki(SPEC, await look(network, older)) == ()


async def test_a_copy_from_a_backup_becomes_the_newest_one(start: Start) -> None:
    network, mine = start.copy_to("mine")
    backup = copy_of(mine, "backup")
    await renew(network, mine)
    await renew(network, backup, this_copy=True)
    await apply_and_check(SPEC, network, backup)
    assert isinstance(await make_plan(SPEC, network, mine), Refusal), "the other copy is the older one now"


@pytest.mark.quick
async def test_a_kill_at_any_command_of_a_renewal_from_a_backup(start: Start) -> None:
    network, mine = start.copy_to("mine")
    backup = copy_of(mine, "backup")
    await renew(network, mine)
    network.commands.clear()
    whole, path = deepcopy(network), copy_of(backup, "whole")
    await renew(whole, path, this_copy=True)
    for cut in kill_points(len(whole.commands)):
        cut_off, path = deepcopy(network), copy_of(backup, str(cut))
        await kill_after(cut, cut_off, renew(cut_off, path, this_copy=True))
        await renew(cut_off, path, this_copy=True)
        await apply_and_check(SPEC, cut_off, path)


async def test_a_killed_renewal_leaves_no_older_copy(start: Start) -> None:
    network, folder = start.copy_to("killed")
    network.commands.clear()
    for cut in (1, 2, 3, 5, 8):
        cut_off, path = deepcopy(network), copy_of(folder, str(cut))
        await kill_after(cut, cut_off, renew(cut_off, path))
        await apply_and_check(SPEC, cut_off, path)
