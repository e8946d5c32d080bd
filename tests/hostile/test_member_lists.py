"""A member can report any member list. It does not decide alone, and no address that only it reports is used."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.audit.audit import audit
from etcdup.core.members.member_list import is_known_address, stray_members
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import DetachMember
from etcdup.core.plan.plan import Plan
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import HostSpec
from etcdup.ops.world.observe import observe
from etcdup.remote.etcd.client import EtcdClient
from tests.hostile.test_markers import SPEC, observed_of
from tests.support.audit_evidence import gather_evidence
from tests.support.fake_world import TOKEN, bring_up, machines_for, world_of
from tests.support.texts import Texts

STRANGER = ListedMember(99, "zz", ("https://10.9.9.9:2380",), ("https://10.9.9.9:2379",), False)


def with_lie(observed: Observed, *names: str) -> Observed:
    """Return the observation after these members named a stranger, in a term that is greater than any other."""
    lies = {
        name: replace(seen, members=(*seen.members, STRANGER), raft_term=2**62)
        for name in names
        if isinstance(seen := observed.members[name], MemberSeen)
    }
    return replace(observed, members={**observed.members, **lies})


def test_the_list_of_most_members_counts(texts: Texts) -> None:
    before = observed_of()
    found = with_lie(before, "infra1")
    assert found.member_list == before.member_list
    assert found.dissenting == ("infra1",)
    assert before.dissenting == ()
    answer = plan(SPEC, found, TOKEN)
    assert isinstance(answer, Plan)
    assert answer.steps == ()
    texts(answer.notes)


def test_without_a_majority_the_newest_list_counts() -> None:
    """Right after a change, one of two members may still have the previous list."""
    found = with_lie(observed_of("HHD"), "infra1")
    assert STRANGER in found.member_list
    assert found.dissenting == ()


async def test_a_dissenting_list_is_a_finding(tmp_path: Path) -> None:
    evidence = await gather_evidence(SPEC, tmp_path)
    lied = replace(evidence, observed=with_lie(evidence.observed, "infra1"))
    assert "member-list-dissents" in {each.code for each in audit(SPEC, lied)}
    assert "member-list-dissents" not in {each.code for each in audit(SPEC, evidence)}


@dataclass
class Liar:
    """A client of a member that names the stranger."""

    client: EtcdClient

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def status(self, *, timeout_s: float) -> MemberSeen:
        seen = await self.client.status(timeout_s=timeout_s)
        return replace(seen, members=(*seen.members, STRANGER))


@pytest.mark.parametrize("liars", [("infra1",), ("infra1", "infra2", "infra3")])
async def test_an_address_that_only_members_report_is_never_dialled(
    liars: tuple[str, ...], tmp_path: Path
) -> None:
    """Such an address would reach the ProxyCommand of ssh_config."""
    network = machines_for(SPEC)
    await bring_up(SPEC, network, tmp_path)
    world, dialled = world_of(SPEC, network, tmp_path), set()
    honest, connect_host = world.etcd, world.connect_host

    async def etcd(name: str) -> Any:
        dialled.add(name)
        return Liar(await honest(name)) if name in liars else await honest(name)

    async def dial(host: HostSpec) -> None:
        dialled.add(host.name)
        await connect_host(host)

    world.etcd, world.connect_host = etcd, dial
    found = await observe(world)
    assert dialled == {host.name for host in SPEC.hosts}
    if len(liars) == 1:
        assert "zz" not in found.hosts
        return
    gone = found.hosts["zz"]
    assert isinstance(gone, Unreachable)
    assert stray_members(SPEC, found.member_list) == (STRANGER,)
    answer = plan(SPEC, found, TOKEN)
    assert not any(isinstance(step, DetachMember) for step in getattr(answer, "steps", ()))


def test_a_former_host_is_known_by_its_certificate() -> None:
    pki = observed_of().pki
    assert is_known_address(pki, SPEC.hosts[0].address)
    assert not is_known_address(pki, "10.9.9.9")
    assert not is_known_address(pki, "")
