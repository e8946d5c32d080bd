"""After a kill, the operator edits cluster.yaml back, or types another command than before. Nothing locks them out."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.testing.network import FakeNetwork
from tests.flows.random_sequences.verbs import RENEW_ALL_DAYS, Operator, Verb, renew_certs, replace_member
from tests.flows.test_destroy import destroy
from tests.support.cases import quick_first
from tests.support.fake_world import bring_up, spec_of
from tests.support.kill_everywhere import (
    apply_and_check,
    kill_after,
    kill_everywhere,
    prepare_start,
    run_to_each_kill,
)

# The previous file, and the file of the apply that is killed.
CHANGES = {
    "two more": (spec_of(3), spec_of(5)),
    "two less": (spec_of(5), spec_of(3)),
    "one other": (spec_of([1, 2, 3]), spec_of([1, 2, 4])),
    "one to three": (spec_of(1), spec_of(3)),
    "all others": (spec_of([1, 2, 3]), spec_of([4, 5, 6])),
    "a setting": (spec_of(3), spec_of(3, "etcd: {heartbeat_ms: 110}\n")),
    "a patch": (spec_of(3, version="3.6.13"), spec_of(3)),
    "a minor": (spec_of(3, version="3.5.33"), spec_of(3)),
}
Rerun = Callable[[Spec, Spec, FakeNetwork, Path], Awaitable[None]]


async def apply_previous_file(before: Spec, after: Spec, network: FakeNetwork, folder: Path) -> None:
    await apply_and_check(before, network, folder)


async def destroy_cluster(before: Spec, after: Spec, network: FakeNetwork, folder: Path) -> None:
    """Members that joined from the killed apply are hosts of the new file, and those that left of the old one."""
    for run, spec in enumerate((after, before)):
        with suppress(RefusedError):
            await destroy(spec, network, folder, run)
        network.restart_etcdup()
    for machine in network.machines.values():
        assert machine.process is None
        assert not machine.enabled
        assert machine.file("/etc/etcd/etcdup.json") is None
        assert not machine.children("/var/lib/etcd")


def verb_first(verb: Verb) -> Rerun:
    """Return a rerun that tries this verb with the new file, and then applies the file."""

    async def rerun(before: Spec, after: Spec, network: FakeNetwork, folder: Path) -> None:
        with suppress(EtcdupError):
            await verb(Operator(after, network, folder, 1))
        network.restart_etcdup()
        await apply_and_check(after, network, folder)

    return rerun


async def replace_staying_member(operator: Operator) -> None:
    await replace_member(operator.spec.hosts[0].name)(operator)


RERUNS: dict[str, Rerun] = {
    "the previous file": apply_previous_file,
    "member replace": verb_first(replace_staying_member),
    "certs renew": verb_first(renew_certs(RENEW_ALL_DAYS)),
    "destroy": destroy_cluster,
}


@pytest.mark.parametrize("change", quick_first(*CHANGES))
@pytest.mark.parametrize("rerun", RERUNS)
async def test_after_a_kill_anything_else_may_follow(tmp_path: Path, change: str, rerun: str) -> None:
    before, after = CHANGES[change]
    start = await prepare_start(before, after, tmp_path)
    # test_exhaustive_reruns.py has every cut of a plan. Here each pair of a change and a rerun has other cuts.
    stride = 11 if rerun == "the previous file" else 29
    offset = 4 * list(CHANGES).index(change) + list(RERUNS).index(rerun)
    async for network, folder in run_to_each_kill(start, after, stride, offset=offset):
        await RERUNS[rerun](before, after, network, folder)


async def test_a_learner_that_never_started_is_of_its_former_host(tmp_path: Path) -> None:
    """Its address is known by two names: one of its certificate, and none of the member list."""
    before, after = CHANGES["two more"]
    network, folder = await killed_after_addition(before, after, tmp_path)
    await apply_and_check(before, network, folder)


async def test_a_learner_that_never_started_is_on_the_machine_of_a_host(tmp_path: Path) -> None:
    """The new file has another peer port for its host, so no name and no peer URL shows that they are one machine."""
    before, after = CHANGES["two more"]
    network, folder = await killed_after_addition(before, after, tmp_path)
    first, second, third, fourth, fifth = after.hosts
    fourth = fourth.model_copy(update={"peer_port": 2390})
    edited = after.model_copy(update={"hosts": (first, second, third, fourth, fifth)})
    await apply_and_check(edited, network, folder)


@pytest.mark.parametrize("hosts", [[1, 2, 3], [1]], ids=["grown", "shrunk"])
@pytest.mark.parametrize("setting", ["peer_port: 2390", "client_port: 2479, peer_port: 2390"])
async def test_two_voters_get_other_ports_after_members_have_joined_or_left(
    tmp_path: Path, hosts: list[int], setting: str
) -> None:
    """Two voters are a quorum only together, so neither of them can restart before there are three, or one."""
    before, killed = spec_of(3), spec_of(1)
    start = await prepare_start(before, killed, tmp_path)
    commands = await commands_of(start.copy_to("counted"), killed)
    removed = next(n for n, (_, argv) in enumerate(commands, 1) if argv == ("etcd", "member-remove"))
    await kill_after(removed, start.network, bring_up(killed, *start.parts))
    assert len(start.network.etcd.only().voters) == 2
    await kill_everywhere(start, spec_of(hosts, f"etcd: {{{setting}}}\n"))


async def killed_after_addition(before: Spec, after: Spec, folder: Path) -> tuple[FakeNetwork, Path]:
    """Return the cluster after a kill between the addition of a learner and its first start."""
    start = await prepare_start(before, after, folder)
    network = start.network
    commands = await commands_of(start.copy_to("whole"), after)
    added = next(n for n, (_, argv) in enumerate(commands, 1) if argv == ("etcd", "member-add"))
    await kill_after(added, network, bring_up(after, network, start.folder))
    return network, start.folder


async def commands_of(copy: tuple[FakeNetwork, Path], spec: Spec) -> list[tuple[str, tuple[str, ...]]]:
    await bring_up(spec, *copy)
    return copy[0].commands
