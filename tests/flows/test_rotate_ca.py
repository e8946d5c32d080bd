"""`certs rotate-ca` on fake machines: its three phases, their refusals, and the state after a kill."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.ca_rotation import RotationStage, consumers_of_old_ca, rotation_stage
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.rotate_ca import next_stage, plan_ca_rotation
from etcdup.core.spec.model import Spec
from etcdup.errors import PartlyApplied, PkiError, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.core.certs.test_connected_clients import ON_CLIENT, UNKNOWN, log_line
from tests.support.cases import quick_first
from tests.support.fake_world import TOKEN, RecordingReporter, bring_up, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

SPEC = spec_of()
STAGES: tuple[RotationStage, ...] = ("trust", "sign", "drop")
NEXT_STAGE: dict[RotationStage, RotationStage | None] = {"trust": "trust", "sign": "sign", "drop": None}


@pytest.fixture
async def start(tmp_path: Path) -> Start:
    return await prepare_start(SPEC, SPEC, tmp_path)


async def plan_phase(
    network: FakeNetwork, folder: Path, spec: Spec = SPEC
) -> tuple[RotationStage, Plan | Refusal]:
    observed = await observe(world_of(spec, network, folder))
    stage = next_stage(spec, observed, TOKEN)
    return stage, plan_ca_rotation(spec, observed, TOKEN, stage)


async def rotate(
    network: FakeNetwork, folder: Path, spec: Spec = SPEC, *, keep: bool = False
) -> RotationStage:
    """Run the verb once, without the terminal."""
    world = world_of(spec, network, folder)
    stage, plan = await plan_phase(network, folder, spec)
    if keep:
        stage = "keep"
        plan = plan_ca_rotation(spec, await observe(world), TOKEN, stage)
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(
            world,
            plan,
            lambda fresh: plan_ca_rotation(spec, fresh, TOKEN, stage),
            RecordingReporter([]),
            journal,
        )
    return stage


def stage_of(network: FakeNetwork, folder: Path) -> RotationStage | None:
    return rotation_stage(world_of(SPEC, network, folder).pki.observe())


def kinds(answer: Plan | Refusal) -> list[str]:
    assert isinstance(answer, Plan), answer
    return [step.kind for step in answer.steps]


def refusal_text(answer: Plan | Refusal) -> str:
    assert isinstance(answer, Refusal), answer
    return "; ".join(reason.message for reason in answer.reasons)


def ca_files(network: FakeNetwork) -> set[bytes]:
    return {machine.nodes["/etc/etcd/pki/ca.pem"].content or b"" for machine in network.machines.values()}


async def test_three_runs_replace_the_ca(start: Start) -> None:
    network, folder = start.copy_to("whole")
    before, old = world_of(SPEC, network, folder).pki.observe(), ca_files(network)
    roll = ["InstallFiles", "RestartMember"] * 3
    assert kinds((await plan_phase(network, folder))[1]) == ["RotateAuthority", *roll]
    assert await rotate(network, folder) == "trust"
    (both,) = ca_files(network)
    assert both.startswith(next(iter(old)))
    assert both.count(b"BEGIN CERTIFICATE") == 2
    assert world_of(SPEC, network, folder).pki.observe().certs == before.certs, (
        "the leaf certificates are the old ones"
    )

    processes = {name: machine.process for name, machine in network.machines.items()}
    expected = ["RotateAuthority", "IssueCertificates", *["InstallFiles"] * 3]
    assert kinds((await plan_phase(network, folder))[1]) == expected
    assert await rotate(network, folder) == "sign"
    assert {name: machine.process for name, machine in network.machines.items()} == processes
    now = world_of(SPEC, network, folder).pki.observe()
    assert now.ca is not None
    assert {cert.issuer_key for cert in now.certs.values()} == {now.ca.key}

    assert await rotate(network, folder) == "drop"
    (new,) = ca_files(network)
    assert both.endswith(new)
    assert not old & {new}
    assert stage_of(network, folder) is None
    await apply_and_check(SPEC, network, folder)
    assert await rotate(network, folder) == "trust", "a second rotation is possible"
    assert stage_of(network, folder) == "trust"


@pytest.mark.parametrize("stage", quick_first(*STAGES))
async def test_a_kill_at_any_command_of_a_phase(start: Start, stage: RotationStage) -> None:
    """The next run, or an apply, finishes this phase and does not start the next one."""
    network, folder = start.copy_to(stage)
    for _ in range(STAGES.index(stage)):
        await rotate(network, folder)
    network.commands.clear()
    here = Start(network, folder)
    whole, path = here.copy_to("whole")
    assert await rotate(whole, path) == stage
    assert len(whole.commands) >= 6
    for cut in kill_points(len(whole.commands)):
        for finish in ("rotate", "apply"):
            cut_off, path = here.copy_to(f"{cut}-{finish}")
            await kill_after(cut, cut_off, rotate(cut_off, path))
            turned = stage_of(cut_off, path) == NEXT_STAGE[stage]
            if finish == "rotate" and kinds(await make_plan(SPEC, cut_off, path)):
                assert await rotate(cut_off, path) == stage
            await apply_and_check(SPEC, cut_off, path)
            if finish == "rotate" or turned:
                assert stage_of(cut_off, path) == NEXT_STAGE[stage]


async def test_apply_keeps_the_phase(texts: Texts, start: Start) -> None:
    network, folder = start.copy_to("kept")
    for stage in STAGES:
        await rotate(network, folder)
        await bring_up(SPEC, network, folder)
        answer = await make_plan(SPEC, network, folder)
        assert kinds(answer) == []
        assert isinstance(answer, Plan)
        texts(answer.notes)
        assert stage_of(network, folder) == NEXT_STAGE[stage]


async def test_the_old_ca_is_kept_until_each_consumer_has_a_new_certificate_or_is_forgotten(
    texts: Texts,
    start: Start,
) -> None:
    network, folder = start.copy_to("consumers")
    world = world_of(SPEC, network, folder)
    for name in ("kube-apiserver", "patroni"):
        world.pki.issue_consumer(name, (await observe(world)).at)
    await rotate(network, folder)
    assert consumers_of_old_ca(world.pki.observe()) == ()
    await rotate(network, folder)
    assert consumers_of_old_ca(world.pki.observe()) == ("kube-apiserver", "patroni")
    stage, answer = await plan_phase(network, folder)
    assert stage == "drop"
    texts(answer)

    world.pki.issue_consumer("kube-apiserver", (await observe(world)).at)
    world.pki.archive_consumer("patroni")
    assert [path.stem for path in world.pki.archived_consumers()] == ["kube-apiserver", "patroni"]
    with pytest.raises(PkiError) as caught:
        world.pki.archive_consumer("patroni")
    texts(caught.value)
    assert await rotate(network, folder) == "drop"
    assert stage_of(network, folder) is None


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_no_phase_starts_while_a_host_is_unreachable_or_a_member_unhealthy(
    texts: Texts, start: Start, done: int
) -> None:
    network, folder = start.copy_to("sick")
    for _ in range(done):
        await rotate(network, folder)
    before = stage_of(network, folder)
    gone = network.machines.pop("infra3")
    texts((await plan_phase(network, folder))[1])
    network.machines["infra3"] = gone
    gone.isolated = True
    texts((await plan_phase(network, folder))[1])
    assert stage_of(network, folder) == before


async def test_a_host_with_a_former_ca_of_this_pki_is_recognised(start: Start, texts: Texts) -> None:
    network, folder = start.copy_to("put-back")
    machine = network.machines["infra2"]
    old = machine.nodes["/etc/etcd/pki/ca.pem"].content
    for _ in STAGES:
        await rotate(network, folder)
    machine.nodes["/etc/etcd/pki/ca.pem"].content = old
    assert isinstance(await make_plan(SPEC, network, folder), Plan)
    machine.nodes["/etc/etcd/pki/ca.pem"].content = b"a stranger's"
    refused = await make_plan(SPEC, network, folder)
    assert isinstance(refused, Refusal)
    texts(refused)


def log_rejected_client(network: FakeNetwork, address: str, error: str = UNKNOWN) -> None:
    """Write the log line of a rejected client on all members. etcdup reads it only on those without the old CA."""
    at = datetime.fromtimestamp(network.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for machine in network.machines.values():
        machine.log.append(log_line(at, ON_CLIENT, f"{address}:58836", error))


async def test_a_client_with_a_certificate_of_the_old_ca_stops_the_drop(texts: Texts, start: Start) -> None:
    """One member has rejected it, all others still accept it. Neither rotate-ca nor apply continues."""
    network, folder = start.copy_to("seen")
    await rotate(network, folder)
    await rotate(network, folder)
    both = ca_files(network)
    # A client of an unknown CA. Members rejected it before the rotation as well.
    log_rejected_client(network, "10.0.0.8", UNKNOWN.partition(" (")[0])
    log_rejected_client(network, "10.0.0.9")
    with pytest.raises(PartlyApplied) as caught:
        await rotate(network, folder)
    texts(caught.value)
    assert [
        machine.nodes["/etc/etcd/pki/ca.pem"].content in both for machine in network.machines.values()
    ].count(False) == 1
    texts((await plan_phase(network, folder))[1])
    texts(await make_plan(SPEC, network, folder))
    await network.sleep(120)
    texts(await make_plan(SPEC, network, folder))  # a client may wait for two minutes
    await network.sleep(60)
    assert await rotate(network, folder) == "drop"
    assert len(ca_files(network)) == 1
    assert not ca_files(network) & both
    await apply_and_check(SPEC, network, folder)


async def drop_on_one_member(start: Start) -> Start:
    """Return a cluster in which one member trusts only the new CA and rejects a client."""
    network, folder = start.copy_to("half")
    await rotate(network, folder)
    await rotate(network, folder)
    log_rejected_client(network, "10.0.0.9")
    with pytest.raises(PartlyApplied):
        await rotate(network, folder)
    network.commands.clear()
    return Start(network, folder)


async def test_a_resumed_run_waits_for_clients_before_the_next_member(
    texts: Texts, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed right after the first restart has not observed which clients that member rejects."""
    half = await drop_on_one_member(start)
    network, folder = half.copy_to("resumed")
    for machine in network.machines.values():
        machine.log.clear()
    sleep = network.sleep

    async def sleep_while_a_client_connects(seconds: float) -> None:
        await sleep(seconds)
        log_rejected_client(network, "10.0.0.9")

    monkeypatch.setattr(network, "sleep", sleep_while_a_client_connects)
    with pytest.raises(RefusedError) as caught:
        await bring_up(SPEC, network, folder)
    texts(caught.value)
    assert len(ca_files(network)) == 2, "no file of the next member was changed"


async def test_the_way_back_is_one_restart(start: Start) -> None:
    half = await drop_on_one_member(start)
    network, folder = half.copy_to("back")
    answer = plan_ca_rotation(SPEC, await observe(world_of(SPEC, network, folder)), TOKEN, "keep")
    assert kinds(answer) == ["RotateAuthority", "InstallFiles", "RestartMember"]
    await rotate(network, folder, keep=True)
    assert stage_of(network, folder) == "sign"
    (both,) = ca_files(network)
    assert both.count(b"BEGIN CERTIFICATE") == 2
    await apply_and_check(SPEC, network, folder)
    again = plan_ca_rotation(SPEC, await observe(world_of(SPEC, network, folder)), TOKEN, "keep")
    assert kinds(again) == [], "nothing is left to do"
    for machine in network.machines.values():
        machine.log.append('{"level":"info","msg":"starting an etcd server"}')  # as every restart writes it
    assert await rotate(network, folder) == "drop", (
        "the client was fixed: rejections before the restart do not count"
    )
    await apply_and_check(SPEC, network, folder)
    over = plan_ca_rotation(SPEC, await observe(world_of(SPEC, network, folder)), TOKEN, "keep")
    assert refusal_text(over) == "etcdup cannot keep the old CA: no member is dropping a CA now"


async def test_a_kill_at_any_command_of_the_way_back(start: Start) -> None:
    half = await drop_on_one_member(start)
    whole, path = half.copy_to("whole")
    await rotate(whole, path, keep=True)
    assert len(whole.commands) >= 2
    for cut in kill_points(len(whole.commands)):
        network, folder = half.copy_to(str(cut))
        await kill_after(cut, network, rotate(network, folder, keep=True))
        assert stage_of(network, folder) == "sign", "the PKI changes before any command runs on a host"
        await apply_and_check(SPEC, network, folder)
        assert len(ca_files(network)) == 1


async def test_pending_changes_of_apply_come_first(start: Start) -> None:
    network, folder = start.copy_to("drift")
    network.machines["infra1"].nodes["/etc/etcd/etcd.conf"].content = b"# another\n"
    _, answer = await plan_phase(network, folder)
    assert refusal_text(answer) == "the cluster differs from cluster.yaml: apply has 1 step left to do"


async def test_a_passphrase_guards_the_new_key_too(
    texts: Texts, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = start.copy_to("secret")
    monkeypatch.setenv("ETCDUP_CA_PASSPHRASE", "correct horse")
    await rotate(network, folder)
    assert b"ENCRYPTED" in (folder / "pki/next-ca-key.pem").read_bytes()
    await rotate(network, folder)
    assert b"ENCRYPTED" in (folder / "pki/ca-key.pem").read_bytes()
    monkeypatch.setenv("ETCDUP_CA_PASSPHRASE", "wrong")
    with pytest.raises(PkiError) as caught:
        world_of(SPEC, network, folder).pki.rotate_ca(
            "drop", (await observe(world_of(SPEC, network, folder))).at
        )
    texts(caught.value)
    assert stage_of(network, folder) == "sign"
