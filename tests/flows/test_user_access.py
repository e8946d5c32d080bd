"""The users of etcd are enabled, and etcdup is none of them: each verb that writes refuses before its first step."""

from pathlib import Path

import pytest

from etcdup.core.certs.renewal import certs_to_renew, plan_renewal
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.planner.rotate_ca import plan_ca_rotation
from etcdup.core.spec.model import Spec
from etcdup.ops.world.health import has_quorum, prove_each
from etcdup.ops.world.observe import observe
from etcdup.remote.etcd.errors import AuthRequired
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import (
    TOKEN,
    bring_up,
    make_plan,
    running_network,
    spec_of,
    world_of,
)
from tests.support.texts import Texts

CHANGED = "etcd: {heartbeat_ms: 150, election_ms: 1500}\n"


@pytest.fixture(params=["user name not found", "permission denied"])
async def network(request: pytest.FixtureRequest, tmp_path: Path) -> FakeNetwork:
    """Return three members whose users exclude etcdup, or do not give it the role root."""
    network = await running_network(spec_of(), tmp_path)
    cluster = network.etcd.only()
    cluster.auth, cluster.denied = True, request.param
    return network


def plan_each_change(spec: Spec, observed: Observed) -> dict[str, Plan | Refusal]:
    member_id = id_to_replace(spec, "infra1", observed)
    assert isinstance(member_id, int)
    return {
        "member replace": plan_replacement(spec, "infra1", member_id, observed, TOKEN),
        "certs renew": plan_renewal(spec, observed, certs_to_renew(spec, observed, 9999)),
        **{
            f"rotate-ca {stage}": plan_ca_rotation(spec, observed, TOKEN, stage)
            for stage in ("trust", "keep")
        },
    }


async def test_each_verb_refuses_and_changes_nothing(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    for more in ("", CHANGED):
        answer = await make_plan(spec_of(more=more), network, tmp_path)
        assert isinstance(answer, Refusal)
        assert 118 in answer.reasons[0].rules
        texts(answer.reasons[0])
    observed = await observe(world_of(spec_of(), network, tmp_path))
    for verb, answer in plan_each_change(spec_of(), observed).items():
        assert isinstance(answer, Refusal), verb
        assert 118 in answer.reasons[0].rules, verb
    assert network.commands == []


async def test_the_members_vote_and_the_verdict_is_not_unavailable(
    network: FakeNetwork, tmp_path: Path
) -> None:
    world = world_of(spec_of(), network, tmp_path)
    results = await prove_each(world, await observe(world))
    assert has_quorum(results)
    assert not any(result.ok for result in results)
    network.crash("infra2")
    network.crash("infra3")
    assert not has_quorum(await prove_each(world, await observe(world)))


async def test_after_the_role_is_granted_the_same_apply_works(network: FakeNetwork, tmp_path: Path) -> None:
    network.etcd.only().denied = ""
    assert all(result.ok for result in await bring_up(spec_of(more=CHANGED), network, tmp_path))


async def test_a_refused_request_names_the_verb_that_helps(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    world = world_of(spec_of(), network, tmp_path)
    client = await world.etcd("infra1")
    with pytest.raises(AuthRequired) as failed:
        await client.put(b"k", b"v", timeout_s=5)
    texts(failed.value)


@pytest.mark.parametrize(
    "denied",
    [
        "etcdserver: authentication failed, invalid user ID or password",
        "there is no password: KEY exited with status 1",
        "etcdserver: permission denied",
    ],
)
async def test_a_login_that_fails_is_named_before_the_first_step(
    texts: Texts, denied: str, tmp_path: Path
) -> None:
    spec = spec_of(more="etcd: {access: {user: operator, password_command: pass etcd}, heartbeat_ms: 150}\n")
    network = await running_network(spec_of(), tmp_path)
    cluster = network.etcd.only()
    cluster.auth, cluster.denied = True, denied
    answer = await make_plan(spec, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)
    observed = await observe(world_of(spec, network, tmp_path))
    for verb, refused in plan_each_change(spec, observed).items():
        assert isinstance(refused, Refusal), verb
        texts(refused)
    assert network.commands == []


async def test_a_member_without_a_leader_is_not_asked_to_log_in(tmp_path: Path) -> None:
    """A login needs a quorum, so it would only cost time during an outage."""
    spec = spec_of(more="etcd: {access: {user: operator, password_command: pass etcd}}\n")
    network = await running_network(spec_of(), tmp_path)
    network.etcd.only().denied = "etcdserver: authentication failed, invalid user ID or password"
    for name in ("infra2", "infra3"):
        network.crash(name)
    assert (await observe(world_of(spec, network, tmp_path))).denied == ""
    assert (await observe(world_of(spec_of(), network, tmp_path))).denied
