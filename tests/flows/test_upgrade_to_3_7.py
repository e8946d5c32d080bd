"""The upgrade to 3.7 of a quiet cluster that came from 3.5, whose logs have requests that 3.7 cannot read (rule 111).

A fake 3.7 panics on such a log, as 3.7.1 does (tests/local/test_v2_requests.py).
"""

from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.audit.audit import audit
from etcdup.core.host.actions import RESTART_UNIT
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.audit.gather import gather_evidence
from etcdup.ops.world.observe import observe
from etcdup.testing.machine import FakeMachine
from etcdup.testing.network import FakeNetwork
from etcdup.testing.systemd import V2_PANIC
from tests.support.fake_world import add_machines, bring_up, machines_for, spec_of, world_of
from tests.support.kill_everywhere import Start, crash_everywhere, kill_after, kill_everywhere
from tests.support.texts import Texts

# As few entries as possible, since most of these tests apply many times.
QUICK = "etcd: {extra: {snapshot-count: 20}}\n"


def spec_for(version: str, size: int = 3) -> Spec:
    return spec_of(size, QUICK, version=version)


async def from_3_5(folder: Path, size: int = 3) -> Start:
    """Return a quiet cluster of 3.6 that came from 3.5."""
    operator_folder = folder / "operator"
    operator_folder.mkdir()
    network = machines_for(spec_for("3.5.33", size))
    for version in ("3.5.33", "3.6.14"):
        await bring_up(spec_for(version, size), network, operator_folder)
    network.commands.clear()
    return Start(network, operator_folder)


def runs(machine: FakeMachine, version: str) -> bool:
    return machine.process is not None and str(machine.process.version) == version


def forget_snapshot(network: FakeNetwork, name: str) -> None:
    """Make the log of this member one that 3.7 cannot read."""
    process = network.machines[name].process
    assert process is not None
    network.etcd.only().raft_snapshots[process.member_id] = 0


async def commands_until_a_restart(start: Start) -> int:
    """Return the number of commands of an apply to 3.7 until its first restart."""
    whole, folder = start.copy_to("whole")
    await bring_up(spec_for("3.7.1"), whole, folder)
    return next(n for n, (_, command) in enumerate(whole.commands, 1) if RESTART_UNIT in command)


async def codes_of(spec: Spec, start: Start) -> set[str]:
    world = world_of(spec, start.network, start.folder)
    observed = await observe(world)
    start.network.changes_need_lock = False  # `check` takes no lock. Its commands change nothing.
    evidence = await gather_evidence(world, observed, None, disk=False)
    return {finding.code for finding in audit(spec, replace(evidence, not_inspected={}))}


async def test_a_kill_after_any_command_is_finished_by_the_next_apply(tmp_path: Path) -> None:
    assert await kill_everywhere(await from_3_5(tmp_path), spec_for("3.7.1")) > 5


@pytest.mark.parametrize("killed", [True, False])
async def test_a_host_may_crash_at_any_command(tmp_path: Path, killed: bool) -> None:
    start = await from_3_5(tmp_path)
    assert await crash_everywhere(start, spec_for("3.7.1"), killed=killed) > 2


async def test_members_that_joined_later_are_proved_too(tmp_path: Path) -> None:
    start = await from_3_5(tmp_path, size=1)
    for version in ("3.6.14", "3.7.1"):
        add_machines(start.network, spec_for(version))
        await bring_up(spec_for(version), start.network, start.folder)
    assert all(runs(machine, "3.7.1") for machine in start.network.machines.values())


async def test_a_stopped_member_is_proved_before_it_starts_with_3_7(tmp_path: Path) -> None:
    """infra3 stops in the middle of the upgrade, and its log is one that 3.7 cannot read."""
    start = await from_3_5(tmp_path)
    network = start.network
    await kill_after(
        await commands_until_a_restart(start), network, bring_up(spec_for("3.7.1"), network, start.folder)
    )
    assert [runs(machine, "3.7.1") for machine in network.machines.values()].count(True) == 1
    forget_snapshot(network, "infra3")
    network.crash("infra3")
    network.machines["infra3"].enabled = False
    network.reboot("infra3")
    await bring_up(spec_for("3.7.1"), network, start.folder)
    assert all(runs(machine, "3.7.1") for machine in network.machines.values())
    assert V2_PANIC not in network.machines["infra3"].log


async def test_no_member_is_changed_if_the_log_of_one_cannot_be_read(texts: Texts, tmp_path: Path) -> None:
    start = await from_3_5(tmp_path)
    start.network.machines["infra2"].put("/var/lib/etcd/member/wal/0.wal", b"damaged", 0o600, "etcd:etcd")
    with pytest.raises(EtcdupError) as caught:
        await bring_up(spec_for("3.7.1"), start.network, start.folder)
    texts(caught.value)
    assert all(runs(machine, "3.6.14") for machine in start.network.machines.values())
    assert "log-not-read" in await codes_of(spec_for("3.6.14"), start)


@pytest.mark.parametrize("hosts", [3, 1])
async def test_check_reports_logs_that_3_7_cannot_read(tmp_path: Path, hosts: int) -> None:
    """Also that of a host which cluster.yaml does not name any more."""
    start = await from_3_5(tmp_path)
    assert "log-prevents-upgrade" in await codes_of(spec_for("3.6.14", hosts), start)
    await bring_up(spec_for("3.7.1"), start.network, start.folder)
    assert "log-prevents-upgrade" not in await codes_of(spec_for("3.7.1"), start)
