"""Members whose names in etcd are not those of their hosts, as in a cluster that etcdup did not form."""

import shutil
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.flows.test_provided_certs import TLS
from tests.flows.test_restore import restore, snapshot_in
from tests.support.fake_world import (
    add_machines,
    bring_up,
    machines_for,
    make_plan,
    running_network,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import (
    Start,
    apply_and_check,
    kill_after,
    kill_everywhere,
    prepare_start,
    run_to_each_kill,
)
from tests.support.openssl import make_ca, make_cert, make_key
from tests.support.texts import Texts

NAMES = {1: "infra_1", 2: "Node 2 #x", 3: "0123456789abcdef", 4: "infra_4", 5: "new_5"}


def named(*numbers: int, more: str = "", **changed: str) -> Spec:
    """Return the spec of these hosts. `infra2="x"` gives a host another name in etcd."""
    hosts = ""
    for n in numbers:
        member = changed.get(f"infra{n}", NAMES[n])
        hosts += f"  - {{name: infra{n}, address: 192.168.8.{65 + n}, member: '{member}'}}\n"
    return load(f"name: prod\nversion: 3.6.14\nhosts:\n{hosts}{more}")


def etcd_names(network: FakeNetwork) -> set[str]:
    return {member.name for member in network.etcd.only().members.values()}


async def test_a_cluster_is_formed_with_these_names(tmp_path: Path) -> None:
    network = await running_network(named(1, 2, 3), tmp_path)
    assert etcd_names(network) == {NAMES[1], NAMES[2], NAMES[3]}
    await apply_and_check(named(1, 2, 3), network, tmp_path)
    seen = await observe(world_of(named(1, 2, 3), network, tmp_path))
    assert {each.name for each in seen.member_list} == {"infra1", "infra2", "infra3"}


async def test_a_member_is_exchanged_for_another_and_its_host_is_cleared(tmp_path: Path) -> None:
    start = await prepare_start(named(1, 2, 3), named(1, 2, 4), tmp_path)
    await kill_everywhere(start, named(1, 2, 4))


async def test_without_certificates_of_each_host_the_host_is_cleared_too(tmp_path: Path) -> None:
    """With provided certificates, only the member list connects the address of a host with the cluster.

    So a host is not found any more if etcdup is killed between the removal of its member and the clearing.
    """
    ca = make_ca(tmp_path / "ca")
    before, after = (named(*numbers, more=TLS) for numbers in ((1, 2, 3), (1, 3, 4)))
    addresses = tuple({host.address: 1 for spec in (before, after) for host in spec.hosts})
    folder = tmp_path / "operator"
    folder.mkdir()
    shutil.copy(ca.cert, folder / "ca.pem")
    make_cert(ca, folder / "etcd.pem", make_key(folder / "etcd-key.pem"), addresses=addresses)
    network = machines_for(before)
    await bring_up(before, network, folder)
    add_machines(network, after)
    network.restart_etcdup()
    async for killed, copy in run_to_each_kill(Start(network, folder), after, 1, offset=0):
        await apply_and_check(after, killed, copy, spared="infra2")
    await apply_and_check(after, network, folder)
    assert not any(path.startswith("/var/lib/etcd/") for path in network.machines["infra2"].nodes)


async def test_two_members_are_added_after_a_kill_at_any_command(tmp_path: Path) -> None:
    start = await prepare_start(named(1, 2, 3), named(1, 2, 3, 4, 5), tmp_path)
    await kill_everywhere(start, named(1, 2, 3, 4, 5))
    await apply_and_check(named(1, 2, 3, 4, 5), start.network, start.folder)
    assert etcd_names(start.network) == set(NAMES.values())


async def test_a_restore_keeps_the_names(tmp_path: Path) -> None:
    network = await running_network(named(1, 2, 3), tmp_path)
    await restore(named(1, 2, 3), network, tmp_path, snapshot_in(tmp_path))
    processes = [machine.process for machine in network.machines.values()]
    members = [process.member for process in processes if process]
    assert {member.name for member in members if member} == {NAMES[1], NAMES[2], NAMES[3]}
    await apply_and_check(named(1, 2, 3), network, tmp_path)


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (named(1, 2, 3), named(1, 2, 3, infra2="node_2"), '`member: "Node 2 #x"`'),
        (named(1, 2, 3), spec_of(3), "`member: infra_1`"),
        (spec_of(3), named(1, 2, 3), "remove `member`"),
        (named(1, 2, 3), named(1, 2, 3, infra1=NAMES[2], infra2=NAMES[1]), "`member: infra_1`"),
    ],
)
async def test_another_name_is_refused_with_the_line_to_write(
    before: Spec, after: Spec, line: str, *, stopped: bool, tmp_path: Path
) -> None:
    network = await running_network(before, tmp_path)
    if stopped:
        for machine in network.machines.values():
            machine.end_etcd(0)
    answer = await make_plan(after, network, tmp_path)
    assert isinstance(answer, Refusal)
    assert line in " ".join(reason.hint for reason in answer.reasons)
    assert network.commands == []
    written_back = await make_plan(before, network, tmp_path)
    assert isinstance(written_back, Plan)
    assert stopped or written_back.is_empty


async def test_a_name_can_change_until_the_member_exists(tmp_path: Path) -> None:
    """An apply with a wrong name was killed. Without data, the next one uses the new name. With data, it is refused."""
    wrong, right = named(1, infra1="wrong"), named(1)
    whole = machines_for(wrong)
    await bring_up(wrong, whole, tmp_path)
    answers = set()
    for cut in range(1, len(whole.commands)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        network = machines_for(wrong)
        await kill_after(cut, network, bring_up(wrong, network, folder))
        exists = any("/member/wal/" in path for path in network.machines["infra1"].nodes)
        answer = await make_plan(right, network, folder)
        answers.add((exists, type(answer)))
        if isinstance(answer, Plan):
            await apply_and_check(right, network, folder)
            assert etcd_names(network) == {NAMES[1]}
        else:
            await apply_and_check(wrong, network, folder)
    assert answers == {(False, Plan), (True, Refusal)}


async def test_a_new_machine_at_the_address_of_a_member_with_another_host_name(
    texts: Texts, tmp_path: Path
) -> None:
    """The host of infra3 was lost. Its replacement has another name in cluster.yaml."""
    network = await running_network(spec_of(3), tmp_path)
    network.crash("infra3")
    network.machines["infra9"] = network.machines.pop("infra3")
    text = "name: prod\nversion: 3.6.14\nhosts:\n"
    for name, n in (("infra1", 1), ("infra2", 2), ("infra9", 3)):
        text += f"  - {{name: {name}, address: 192.168.8.{65 + n}}}\n"
    answer = await make_plan(load(text), network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_a_file_that_replaces_a_majority_is_refused(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(3), spec_of([1, 4, 5]), tmp_path)
    start.network.commands.clear()
    answer = await make_plan(spec_of([1, 4, 5]), start.network, start.folder)
    assert isinstance(answer, Refusal)
    assert start.network.commands == []
    await apply_and_check(spec_of([1, 2, 4]), start.network, start.folder)
    await apply_and_check(spec_of([1, 4, 5]), start.network, start.folder)


async def test_the_name_in_etcd_does_not_become_the_name_of_the_host(texts: Texts, tmp_path: Path) -> None:
    before = load("name: prod\nversion: 3.6.14\nhosts: [{name: infra1, address: 192.168.8.66, member: m1}]\n")
    network = await running_network(before, tmp_path)
    after = load("name: prod\nversion: 3.6.14\nhosts: [{name: m1, address: 192.168.8.66}]\n")
    answer = await make_plan(after, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)
