"""Rules that nothing else shows: etcdup's settings, its unit, its first start and its words after a restore."""

from pathlib import Path

import pytest

from etcdup.cli.restore.restore import _RESTART_WATCHERS
from etcdup.core.audit.findings import HostInspection
from etcdup.core.audit.settings import settings_findings
from etcdup.core.host.actions import STOP_TIMEOUT_S, start_command, stop_command
from etcdup.core.host.settings import settings_of
from etcdup.core.host.unit import unit_text
from etcdup.core.plan.plan import Plan
from etcdup.core.planner.planner import plan
from etcdup.core.spec.layout import layout_of
from etcdup.ops.members.lifecycle import FORM_TIMEOUT_S, HEAD_START_S
from tests.support.audit_evidence import SAFE_SETTINGS
from tests.support.fake_world import TOKEN, bring_up, machines_for, spec_of
from tests.support.initial_states import BASE, Target, first_states, prepared
from tests.support.observed_model import ObservedModel

UNIT = unit_text("prod", "infra1", layout_of(spec_of(), spec_of().hosts[0])).splitlines()
GATES = "InitialCorruptCheck=true,CompactHashCheck=true"


def variables(version: str) -> dict[str, str]:
    spec = spec_of(version=version)
    host = spec.hosts[0]
    return settings_of(spec, host, layout_of(spec, host), TOKEN, peer_common_name=None, trust="").variables()


def test_a_start_does_not_wait_for_readiness() -> None:
    """Rule 1: etcd is ready only with a quorum, which a start of one host after the other never has."""
    assert "--no-block" in start_command(layout_of(spec_of(), spec_of().hosts[0])).argv
    assert {"Type=notify", "TimeoutStartSec=infinity"} <= set(UNIT)


async def test_the_first_member_of_a_new_cluster_starts_before_the_others(tmp_path: Path) -> None:
    """Rule 2. In the time between, exactly one member has been started."""
    spec = spec_of(3)
    network = machines_for(spec)
    wait, started = network.sleep, []

    def running() -> list[str]:
        return [name for name, machine in network.machines.items() if machine.process is not None]

    async def sleep(seconds: float) -> None:
        if seconds == HEAD_START_S:
            started.append(running())
        await wait(seconds)

    network.sleep = sleep  # type: ignore[method-assign]
    await bring_up(spec, network, tmp_path)
    assert [len(names) for names in started] == [1]
    assert len(running()) == 3


def test_a_new_cluster_has_its_time() -> None:
    """Rule 3."""
    assert 30 <= FORM_TIMEOUT_S <= 60


def test_plain_http_between_peers_is_found() -> None:
    """Rule 22: no setting alone makes it https, so the finding has a rule of its own."""
    (found,) = settings_findings(
        HostInspection("infra1", SAFE_SETTINGS | {"listen-peer-urls": "http://10.0.0.1:2380"})
    )
    assert (found.level, found.rules) == ("wrong", (22,))


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("3.4.24", False),
        ("3.4.25", True),
        ("3.5.7", False),
        ("3.5.8", True),
        ("3.6.14", True),
        ("3.7.1", True),
    ],
)
def test_the_floor_of_tls_is_set_where_etcd_has_the_option(version: str, known: bool) -> None:
    """Rule 24. An option that etcd does not have has no effect, and would be drift for ever."""
    assert variables(version).get("ETCD_TLS_MIN_VERSION") == ("TLS1.2" if known else None)


def test_two_dead_members_of_five_leave_before_anything_else() -> None:
    """Rule 37: this works on every release, and additions do not."""
    before, after = spec_of(5, version=BASE), spec_of([1, 2, 3, 6, 7], version=BASE)
    cluster = prepared(Target("two others", after, (3, 4)), before, next(first_states(tuple("HHHDD"))))
    answer = plan(after, ObservedModel(before, after).observed(cluster), TOKEN)
    assert isinstance(answer, Plan)
    changes = [step.kind for step in answer.steps if step.kind in ("RemoveMember", "AddLearner")]
    assert changes == ["RemoveMember", "RemoveMember", "AddLearner", "AddLearner"]


def test_etcd_has_time_to_stop() -> None:
    """Rule 40: systemd kills it after a minute, and etcdup gives up later than that."""
    assert "TimeoutStopSec=60" in UNIT
    assert stop_command(layout_of(spec_of(), spec_of().hosts[0])).timeout_s == STOP_TIMEOUT_S > 60


def test_the_clients_to_restart_after_a_restore_are_named_in_order() -> None:
    """Rules 69 and 104."""
    programs = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
    positions = [_RESTART_WATCHERS.index(program) for program in programs]
    assert positions == sorted(positions)
