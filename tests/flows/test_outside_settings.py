"""Variables that reach etcd from drop-ins and from systemd: refused for new members, and never a reason to restart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etcdup.core.host.settings import SETTINGS_VARIABLE
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.testing.machine import FakeMachine
from etcdup.testing.systemd import start_unit
from tests.support.fake_world import add_machines, bring_up, machines_for, make_plan, running_network, spec_of
from tests.support.texts import Texts

DROP_IN = "/etc/systemd/system/etcd.service.d/10-old.conf"


def log_level(machine: FakeMachine) -> None:
    machine.drop_ins = {DROP_IN: "[Service]\nEnvironment=ETCD_LOG_LEVEL=debug\n"}


def other_command(machine: FakeMachine) -> None:
    machine.drop_ins = {DROP_IN: "[Service]\nExecStart=\nExecStart=/usr/bin/etcd\n"}


def other_file(machine: FakeMachine) -> None:
    machine.drop_ins = {DROP_IN: "[Service]\nEnvironmentFile=-/etc/default/etcd\n"}


def of_all_services(machine: FakeMachine) -> None:
    machine.drop_ins = {
        "/etc/systemd/system/service.d/x.conf": '[Service]\nEnvironment="A=1" \\\n  "ETCD_NAME=x"\n'
    }


def of_systemd(machine: FakeMachine) -> None:
    machine.manager_environment = {"ETCD_VERSION": "3.6.14"}


@pytest.mark.parametrize(
    "happen",
    [
        log_level,
        other_command,
        other_file,
        of_all_services,
        of_systemd,
    ],
)
async def test_a_new_member_with_other_settings_is_refused(
    texts: Texts, tmp_path: Path, happen: Callable[[FakeMachine], None]
) -> None:
    network = machines_for(spec_of())
    happen(network.machines["infra2"])
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra2"]
    texts(refusal)
    assert network.commands == []


async def test_a_new_member_of_a_cluster_is_refused_too(tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    add_machines(network, spec_of(5))
    log_level(network.machines["infra5"])
    refusal = await make_plan(spec_of(5), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {"infra5"}


async def test_options_that_do_not_change_etcd_are_noted(texts: Texts, tmp_path: Path) -> None:
    network = machines_for(spec_of())
    network.machines["infra2"].drop_ins = {DROP_IN: "[Service]\nMemoryMax=8G\nEnvironment=GOGC=50\n"}
    assert all(result.ok for result in await bring_up(spec_of(), network, tmp_path))
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    assert plan.steps == ()
    texts(plan.notes)


@pytest.mark.parametrize("happen", [log_level, of_systemd])
async def test_a_member_is_not_restarted_for_what_a_restart_does_not_change(
    texts: Texts, tmp_path: Path, happen: Callable[[FakeMachine], None]
) -> None:
    """The restart for a setting brings the variable in. Later plans name its source, and restart nothing."""
    network = await running_network(spec_of(), tmp_path)
    happen(network.machines["infra2"])
    changed = spec_of(3, "etcd: {heartbeat_ms: 110}\n")
    assert all(result.ok for result in await bring_up(changed, network, tmp_path))
    process = network.machines["infra2"].process
    assert process is not None
    name = "ETCD_LOG_LEVEL" if happen is log_level else "ETCD_VERSION"
    assert name in process.environment
    plan = await make_plan(changed, network, tmp_path)
    assert isinstance(plan, Plan)
    assert plan.steps == ()
    texts(plan.notes)


async def test_a_process_with_other_settings_is_still_restarted(tmp_path: Path) -> None:
    """Also one that was started by an earlier etcdup, and so has no digest of its settings."""
    network = await running_network(spec_of(), tmp_path)
    for name, machine in network.machines.items():
        assert machine.process is not None
        if name != "infra1":
            del machine.process.environment[SETTINGS_VARIABLE]
        machine.process.environment["ETCD_HEARTBEAT_INTERVAL"] = "77"
    process = network.machines["infra1"].process
    assert process is not None
    process.environment[SETTINGS_VARIABLE] = "0" * 12
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    assert [step.kind for step in plan.steps] == ["RestartMember"] * 3


async def test_a_line_that_was_deleted_in_the_file_is_a_reason_to_restart(tmp_path: Path) -> None:
    """The process has the digest of all settings, and no drop-in removes one of them."""
    network = await running_network(spec_of(), tmp_path)
    process = network.machines["infra2"].process
    assert process is not None
    del process.environment["ETCD_QUOTA_BACKEND_BYTES"]
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    (step,) = plan.steps
    assert (step.kind, step.reason) == (
        "RestartMember",
        "etcd runs with different settings: ETCD_QUOTA_BACKEND_BYTES",
    )
    network.machines["infra2"].drop_ins = {DROP_IN: "[Service]\nUnsetEnvironment=ETCD_QUOTA_BACKEND_BYTES\n"}
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    assert plan.steps == ()


async def test_a_process_of_a_cut_file_has_one_reason_to_restart(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    process = network.machines["infra2"].process
    assert process is not None
    for name in list(process.environment):
        if name.startswith("ETCD_") and not name.endswith(("NAME", "URLS", "DIR", "FILE", "TOKEN")):
            del process.environment[name]
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    (step,) = plan.steps
    texts(step.reason)


@pytest.mark.parametrize("left", [0, 1, 3])
async def test_a_member_with_an_emptied_file_is_not_started_without_it(
    texts: Texts, tmp_path: Path, left: int
) -> None:
    """etcd would start a new cluster with its defaults. `apply` writes the file, and the member starts."""
    spec = spec_of()
    network = await running_network(spec, tmp_path)
    machine = network.machines["infra2"]
    lines = (machine.nodes["/etc/etcd/etcd.conf"].content or b"").splitlines(keepends=True)
    machine.put("/etc/etcd/etcd.conf", b"".join(lines[: len(lines) * left // 4]), 0o640)
    machine.end_etcd(0)
    start_unit(machine)
    await network.sleep(6.0)
    assert machine.process is None
    texts(machine.log[-1])
    assert all(result.ok for result in await bring_up(spec, network, tmp_path))
