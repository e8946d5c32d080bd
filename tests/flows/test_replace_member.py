"""Replace a member on fake machines: a lost disk, a dead host, a healthy member, also after a kill at every command."""

import dataclasses
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest

from etcdup.core.audit.findings import Evidence
from etcdup.core.audit.revocation import revocation_findings
from etcdup.core.certs.inventory import cert_inventory
from etcdup.core.certs.revocation import certs_to_revoke, plan_revocation
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.flows.test_revoke_certs import at_now, record_rejected_peers, revoked_serials
from tests.support.cases import quick_first
from tests.support.fake_world import (
    TOKEN,
    RecordingReporter,
    bring_up,
    machines_for,
    make_plan,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import kill_after, kill_points
from tests.support.texts import Texts

OLD, NEW = "192.168.8.67", "192.168.8.77"
TEXT = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 192.168.8.66}
  - {name: infra2, address: 192.168.8.67}
  - {name: infra3, address: 192.168.8.68}
"""


def do_nothing(network: FakeNetwork) -> None:
    """Leave the member healthy. It is replaced all the same."""


@dataclass(frozen=True)
class Loss:
    """What happens to infra2, and the cluster.yaml for the replacement. `prepare` is before the cluster is formed."""

    happen: Callable[[FakeNetwork], object]
    spec: Spec
    moves: bool = False
    prepare: Callable[[FakeNetwork], object] = do_nothing


def mount_disks(network: FakeNetwork) -> None:
    for machine in network.machines.values():
        machine.make_dir("/var/lib/etcd")
        machine.mounts.add("/var/lib/etcd")


def lose_mount(network: FakeNetwork) -> None:
    network.wipe("infra2")
    network.machines["infra2"].mounts.clear()


def replace_machine(network: FakeNetwork) -> None:
    """Replace the host by a bare machine of the same name."""
    network.crash("infra2")
    network.add("infra2")


def keep_previous_files(network: FakeNetwork) -> None:
    """Leave what a killed apply leaves on the host: the previous files, because the new ones are not proved."""
    network.machines["infra2"].put("/etc/etcd/unproved/etcd.conf", b"ETCD_NAME=infra2\n")


def wipe_and_keep_previous_files(network: FakeNetwork) -> None:
    network.wipe("infra2")
    keep_previous_files(network)


SAME, MOVED = spec_of(3), load(TEXT.replace(OLD, NEW))
LOSSES = {
    "a wiped disk": Loss(lambda network: network.wipe("infra2"), SAME),
    "a dead host, another at its address": Loss(replace_machine, SAME),
    "a dead host, another at a new address": Loss(replace_machine, MOVED, moves=True),
    "a healthy member": Loss(do_nothing, SAME),
    "a healthy member with files that are not proved": Loss(keep_previous_files, SAME),
    "a wiped disk, and files that are not proved": Loss(wipe_and_keep_previous_files, SAME),
    "a dead disk, and a new one at its mount point": Loss(
        lambda network: network.wipe("infra2"), SAME, prepare=mount_disks
    ),
}


async def bring_up_and_lose(folder: Path, loss: Loss) -> FakeNetwork:
    network = machines_for(SAME)
    loss.prepare(network)
    await bring_up(SAME, network, folder)
    loss.happen(network)
    network.commands.clear()
    return network


def copy_network(network: FakeNetwork, start: Path, folder: Path) -> FakeNetwork:
    """Return a copy of the machines, with its own PKI. A new cluster would take ten times as long."""
    copytree(start, folder)
    return deepcopy(network)


async def replace(loss: Loss, network: FakeNetwork, folder: Path, name: str = "infra2") -> None:
    """Run `etcdup member replace NAME` once, without the terminal."""
    world = world_of(loss.spec, network, folder)
    first = await observe(world)
    member_id = id_to_replace(loss.spec, name, first, moves=loss.moves)
    assert isinstance(member_id, int), member_id

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_replacement(loss.spec, name, member_id, observed, TOKEN)

    plan = planner(first)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, loss.spec.name) as journal:
        results = await apply(world, plan, planner, RecordingReporter([]), journal)
    assert all(result.ok for result in results)


async def assert_whole(loss: Loss, network: FakeNetwork, folder: Path) -> None:
    left = await make_plan(loss.spec, network, folder)
    assert isinstance(left, Plan), left
    assert left.steps == ()
    members = network.etcd.only().members.values()
    assert sorted(member.name for member in members) == ["infra1", "infra2", "infra3"]
    assert not any(member.is_learner for member in members)
    urls = {url for member in members for url in member.peer_urls}
    assert urls == {loss.spec.peer_url(host) for host in loss.spec.hosts}


def id_of(network: FakeNetwork, name: str) -> int:
    return next(each.member_id for each in network.etcd.only().members.values() if each.name == name)


@pytest.mark.parametrize("name", LOSSES)
async def test_a_new_member_replaces_the_old_one(tmp_path: Path, name: str) -> None:
    loss = LOSSES[name]
    network = await bring_up_and_lose(tmp_path, loss)
    before = id_of(network, "infra2")
    await replace(loss, network, tmp_path)
    await assert_whole(loss, network, tmp_path)
    assert id_of(network, "infra2") != before


async def test_a_disk_that_is_not_mounted_is_not_replaced(tmp_path: Path) -> None:
    """The data may be on that disk. With a new empty disk at the mount point, it is replaced."""
    loss = Loss(lose_mount, SAME, prepare=mount_disks)
    network = await bring_up_and_lose(tmp_path, loss)
    with pytest.raises(RefusedError):
        await replace(loss, network, tmp_path)
    mount_disks(network)
    await replace(loss, network, tmp_path)
    await assert_whole(loss, network, tmp_path)


@pytest.mark.parametrize("name", quick_first(*LOSSES))
async def test_a_kill_after_any_command_is_finished_by_the_same_command(tmp_path: Path, name: str) -> None:
    await kill_everywhere(LOSSES[name], tmp_path, replace)


@pytest.mark.parametrize("name", ["a wiped disk", "a dead host, another at a new address"])
async def test_a_kill_after_the_marker_is_finished_by_apply(tmp_path: Path, name: str) -> None:
    async def finish(loss: Loss, network: FakeNetwork, folder: Path) -> None:
        if not is_marked(network, "infra2"):
            assert len(network.commands) == 0
            await replace(loss, network, folder)
        await bring_up(loss.spec, network, folder)

    await kill_everywhere(LOSSES[name], tmp_path, finish)


UNREACHABLE = {
    "an unknown key": Unreachable("infra2", "unknown", "compare", has_unknown_key=True),
    "another reason": Unreachable("infra2", "changed", "run `ssh-keygen -R`"),
    "no hint": Unreachable("infra2", "gone"),
}


@pytest.mark.parametrize("name", UNREACHABLE)
async def test_a_new_machine_without_a_login_is_refused(texts: Texts, tmp_path: Path, name: str) -> None:
    loss, gone = LOSSES["a dead host, another at a new address"], UNREACHABLE[name]
    network = await bring_up_and_lose(tmp_path, loss)
    observed = await observe(world_of(loss.spec, network, tmp_path))
    observed = dataclasses.replace(observed, hosts={**observed.hosts, "infra2": gone})
    plan = plan_replacement(loss.spec, "infra2", id_of(network, "infra2"), observed, TOKEN)
    assert isinstance(plan, Refusal)
    assert [reason.host for reason in plan.reasons] == ["infra2"]
    texts(plan)


async def kill_everywhere(
    loss: Loss, tmp_path: Path, finish: Callable[[Loss, FakeNetwork, Path], Awaitable[None]]
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    fresh = await bring_up_and_lose(start, loss)
    whole = copy_network(fresh, start, tmp_path / "whole")
    await replace(loss, whole, tmp_path / "whole")
    for cut in kill_points(len(whole.commands)):
        folder = tmp_path / str(cut)
        network = copy_network(fresh, start, folder)
        await kill_after(cut, network, replace(loss, network, folder))
        await finish(loss, network, folder)
        await assert_whole(loss, network, folder)


async def test_the_data_of_a_healthy_member_is_archived(tmp_path: Path) -> None:
    loss = LOSSES["a healthy member"]
    network = await bring_up_and_lose(tmp_path, loss)
    await replace(loss, network, tmp_path)
    paths = network.machines["infra2"].nodes
    assert [path for path in paths if "aside-" in path and path.endswith(".wal")]


async def test_the_same_command_with_an_address_replaces_once(tmp_path: Path) -> None:
    loss = LOSSES["a dead host, another at a new address"]
    network = await bring_up_and_lose(tmp_path, loss)
    await replace(loss, network, tmp_path)
    after = id_of(network, "infra2")
    await replace(loss, network, tmp_path)
    assert id_of(network, "infra2") == after


async def test_a_crash_of_another_host_stops_it_and_the_next_run_finishes(tmp_path: Path) -> None:
    """The crash of infra3 loses the quorum, not etcdup. After infra3 has booted, the same command finishes."""
    loss = LOSSES["a wiped disk"]
    start = tmp_path / "start"
    start.mkdir()
    fresh = await bring_up_and_lose(start, loss)
    whole = copy_network(fresh, start, tmp_path / "whole")
    await replace(loss, whole, tmp_path / "whole")
    for at in range(1, len(whole.commands)):
        folder = tmp_path / str(at)
        network = copy_network(fresh, start, folder)
        network.at(at, partial(network.crash, "infra3"))
        with pytest.raises(EtcdupError):
            await replace(loss, network, folder)
        network.reboot("infra3")
        await network.sleep(5)
        await replace(loss, network, folder)
        await assert_whole(loss, network, folder)


def is_marked(network: FakeNetwork, name: str) -> bool:
    marker = network.machines[name].file("/etc/etcd/etcdup.json")
    return marker is not None and marker.content is not None and b'"replaces": "' in marker.content


async def mark_and_lose_another(folder: Path) -> FakeNetwork:
    """Kill the replacement of the healthy infra2 before its removal, and then wipe infra3."""
    loss = LOSSES["a healthy member"]
    start = folder / "start"
    start.mkdir()
    fresh = await bring_up_and_lose(start, loss)
    for cut in range(1, 20):
        network = copy_network(fresh, start, folder / f"marked-{cut}")
        await kill_after(cut, network, replace(loss, network, folder / f"marked-{cut}"))
        if is_marked(network, "infra2"):
            assert id_of(network, "infra2") == id_of(fresh, "infra2")
            network.wipe("infra3")
            network.commands.clear()
            copytree(folder / f"marked-{cut}", folder / "lost")
            return network
    raise AssertionError("no marker")


async def test_a_lost_member_is_replaced_before_a_healthy_one(tmp_path: Path) -> None:
    """The host of an unfinished replacement is healthy again, and another host has lost its data.

    The cluster must keep two members with its data: the healthy one is removed when the lost one has a vote again.
    """
    loss = LOSSES["a healthy member"]
    network = await mark_and_lose_another(tmp_path)
    start = tmp_path / "lost"

    async def replace_lost(network: FakeNetwork, folder: Path) -> None:
        await replace(loss, network, folder, name="infra3")

    whole = copy_network(network, start, tmp_path / "whole")
    await replace_lost(whole, tmp_path / "whole")
    await assert_whole(loss, whole, tmp_path / "whole")
    assert {id_of(whole, name) for name in ("infra2", "infra3")}.isdisjoint(
        {id_of(network, name) for name in ("infra2", "infra3")}
    )
    changed = [command[1] for _, command in whole.commands if command[:1] == ("etcd",)]
    removals = [at for at, what in enumerate(changed) if what == "member-remove"]
    assert "member-promote" in changed[removals[0] : removals[1]]
    for cut in kill_points(len(whole.commands)):
        folder = tmp_path / f"cut-{cut}"
        killed = copy_network(network, start, folder)
        await kill_after(cut, killed, replace_lost(killed, folder))
        await replace_lost(killed, folder)
        await assert_whole(loss, killed, folder)


async def test_it_is_refused_if_no_member_answers(texts: Texts, tmp_path: Path) -> None:
    network = await bring_up_and_lose(tmp_path, LOSSES["a wiped disk"])
    for name in ("infra1", "infra3"):
        network.crash(name)
    refused = id_to_replace(SAME, "infra2", await observe(world_of(SAME, network, tmp_path)))
    assert isinstance(refused, Refused)
    texts(refused)


async def test_it_is_refused_if_the_host_is_unreachable(texts: Texts, tmp_path: Path) -> None:
    loss = LOSSES["a wiped disk"]
    network = await bring_up_and_lose(tmp_path, loss)
    network.crash("infra2")
    with pytest.raises(EtcdupError) as caught:
        await replace(loss, network, tmp_path)
    texts(caught.value)


async def test_the_only_member_is_not_replaced(tmp_path: Path) -> None:
    spec = spec_of(1)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    observed = await observe(world_of(spec, network, tmp_path))
    member_id = id_to_replace(spec, "infra1", observed)
    assert isinstance(member_id, int)
    answer = plan_replacement(spec, "infra1", member_id, observed, TOKEN)
    assert isinstance(answer, Refusal)
    assert [reason.message for reason in answer.reasons] == [
        "infra1 is the only voter: no other member has its data"
    ]


def serials_of(network: FakeNetwork, folder: Path) -> set[str]:
    """Return the serial numbers of all certificates that were ever issued for infra2."""
    pki = world_of(SAME, network, folder).pki
    known = {**pki.archived_certs(), **pki.observe().certs}
    return {each.cert.serial for each in certs_to_revoke("infra2", known, at_now(network))}


@pytest.mark.parametrize("name", LOSSES)
async def test_the_certificates_of_the_old_member_are_revoked_before_the_new_one_is_added(
    tmp_path: Path, name: str
) -> None:
    loss = LOSSES[name]
    network = await bring_up_and_lose(tmp_path, loss)
    old = serials_of(network, tmp_path)
    observed = await observe(world_of(loss.spec, network, tmp_path))
    plan = plan_replacement(loss.spec, "infra2", id_of(network, "infra2"), observed, TOKEN)
    assert isinstance(plan, Plan)
    order = [step.kind for step in plan.steps]
    assert order.index("RemoveMember") < order.index("RevokeCertificates") < order.index("AddLearner")
    lists = order[order.index("RevokeCertificates") : order.index("AddLearner")]
    assert lists == ["RevokeCertificates", *["InstallFiles"] * 3]
    rejected = record_rejected_peers(network)
    await replace(loss, network, tmp_path)
    await assert_whole(loss, network, tmp_path)
    assert rejected == []
    assert revoked_serials(network, tmp_path) == old
    assert len(serials_of(network, tmp_path) - old) == 3


@pytest.mark.parametrize("name", ["a healthy member", "a dead host, another at a new address"])
async def test_after_a_kill_the_certificates_are_revoked_and_no_member_rejects_another_one(
    tmp_path: Path, name: str
) -> None:
    async def finish(loss: Loss, network: FakeNetwork, folder: Path) -> None:
        old = serials_of(network, tmp_path / "start")
        rejected = record_rejected_peers(network)
        await replace(loss, network, folder)
        assert rejected == []
        kept = {cert.serial for cert in world_of(SAME, network, folder).pki.observe().certs.values()}
        assert old <= revoked_serials(network, folder)
        assert not kept & revoked_serials(network, folder)

    await kill_everywhere(LOSSES[name], tmp_path, finish)


async def test_without_the_ca_key_the_new_member_has_the_same_certificates(
    texts: Texts, tmp_path: Path
) -> None:
    loss = LOSSES["a dead host, another at its address"]
    network = await bring_up_and_lose(tmp_path, loss)
    old = serials_of(network, tmp_path)
    key = tmp_path / "pki/ca-key.pem"
    content = key.read_bytes()
    key.unlink()
    observed = await observe(world_of(loss.spec, network, tmp_path))
    plan = plan_replacement(loss.spec, "infra2", id_of(network, "infra2"), observed, TOKEN)
    assert isinstance(plan, Plan)
    texts(plan.notes)
    await replace(loss, network, tmp_path)
    await assert_whole(loss, network, tmp_path)
    assert serials_of(network, tmp_path) == old
    key.write_bytes(content)
    await assert_shared_until_revoked(texts, loss.spec, network, tmp_path, old)


async def assert_shared_until_revoked(
    texts: Texts, spec: Spec, network: FakeNetwork, folder: Path, old: set[str]
) -> None:
    """Each plan, `check` and `certs list` name the certificates that the lost host has, until they are revoked."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    left = await make_plan(spec, network, folder)
    assert isinstance(left, Plan)
    texts(left.notes)
    assert [each.code for each in revocation_findings(spec, Evidence(observed))] == [
        "certificates-not-revoked"
    ]
    listed = cert_inventory(spec, (), (), observed.at, None, shared=observed.pki.shared)
    assert any("infra2" in finding for finding in listed.findings)
    chosen = certs_to_revoke("infra2", {**world.pki.archived_certs(), **observed.pki.certs}, observed.at)
    revocation = plan_revocation(spec, observed, chosen)
    assert isinstance(revocation, Plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply_without_proof(
            world,
            revocation,
            lambda fresh: plan_revocation(spec, fresh, chosen),
            RecordingReporter([]),
            journal,
        )
    assert old <= revoked_serials(network, folder)
    observed = await observe(world_of(spec, network, folder))
    assert observed.pki.shared == ()
    assert [*revocation_findings(spec, Evidence(observed))] == []
