"""When etcdup stops waiting for a member that keeps failing."""

from dataclasses import replace

import pytest

from etcdup.core.observed.unit import UnitSeen
from etcdup.core.plan.member_steps import RestartMember, StartMember
from etcdup.core.plan.plan import Plan
from etcdup.errors import RefusedError
from etcdup.ops.apply.apply import next_phase
from etcdup.ops.world.wait import is_failing
from tests.support.texts import Texts

RETRYING = UnitSeen(active="activating", sub="auto-restart")
STARTING = UnitSeen(active="activating", sub="start", main_pid=7, exe="/opt/etcd/3.6.14/etcd")


@pytest.mark.parametrize(
    ("restarts_before", "now", "gives_up"),
    [
        (0, replace(RETRYING, restarts=1), False),
        (0, replace(RETRYING, restarts=2), True),
        (0, UnitSeen(active="failed"), True),
        (0, UnitSeen(active="inactive"), True),
        # It failed five times, was repaired, and started while systemd waited for the sixth restart.
        (5, UnitSeen(active="active", restarts=5), False),
        (5, replace(RETRYING, restarts=7), True),
        # It was stopped first, so that systemd has reset its restart counter.
        (5, replace(RETRYING, restarts=1), False),
        (5, replace(RETRYING, restarts=2), True),
        # A start in progress may succeed, however many failed before it.
        (0, replace(STARTING, restarts=7), False),
        # The start waits in systemd's queue: etcd has not been started.
        (0, UnitSeen(active="inactive", queued=True, waits_for=("network-online.target",)), False),
        # systemd 254 has more states between two starts.
        (0, UnitSeen(active="failed", sub="failed-before-auto-restart"), False),
        (0, UnitSeen(active="activating", sub="auto-restart-queued", restarts=1), False),
    ],
)
def test_only_failures_of_this_start_count(restarts_before: int, now: UnitSeen, gives_up: bool) -> None:
    assert is_failing(restarts_before, now) is gives_up


def test_a_process_that_is_not_etcd_yet_does_not_run() -> None:
    unit = UnitSeen(active="activating", main_pid=7, exe="/opt/etcd/3.6.14/etcd")
    assert unit.is_running
    assert not replace(unit, exe="/usr/lib/systemd/systemd").is_running


@pytest.mark.parametrize("planned", [True, False])
def test_the_start_of_a_failing_member_covers_its_restart_and_the_reverse(
    texts: Texts, planned: bool
) -> None:
    start = StartMember(host="infra2", reason="it does not run")
    restart = RestartMember(host="infra2", version="3.6.14", reason="it runs with another setting")
    shown, seen = (start, restart) if planned else (restart, start)
    assert next_phase(Plan("prod", (shown,)), {}, Plan("prod", (seen,))) == (seen,)
    other = replace(seen, host="infra3")
    with pytest.raises(RefusedError) as caught:
        next_phase(Plan("prod", (shown,)), {}, Plan("prod", (other,)))
    texts(caught.value)
