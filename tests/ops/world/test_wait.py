"""When etcdup stops waiting for a member that keeps failing."""

from dataclasses import replace

import pytest

from etcdup.core.observed.model import UnitSeen
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.steps import RestartMember, StartMember
from etcdup.errors import RefusedError
from etcdup.ops.apply.apply import next_phase
from etcdup.ops.world.wait import is_failing


@pytest.mark.parametrize(
    ("before", "now", "gives_up"),
    [
        (UnitSeen(active="inactive"), UnitSeen(active="activating", restarts=1), False),
        (UnitSeen(active="inactive"), UnitSeen(active="activating", restarts=2), True),
        (UnitSeen(active="inactive"), UnitSeen(active="failed"), True),
        # It failed five times, was repaired, and started while systemd waited for the sixth restart.
        (UnitSeen(active="activating", restarts=5), UnitSeen(active="active", restarts=5), False),
        (UnitSeen(active="activating", restarts=5), UnitSeen(active="activating", restarts=7), True),
        # It was stopped first, so that systemd has reset its restart counter.
        (UnitSeen(active="activating", restarts=5), UnitSeen(active="activating", restarts=1), False),
        (UnitSeen(active="activating", restarts=5), UnitSeen(active="activating", restarts=2), True),
    ],
)
def test_only_failures_of_this_start_count(before: UnitSeen, now: UnitSeen, gives_up: bool) -> None:
    assert is_failing(before, now) is gives_up


def test_a_process_that_is_not_etcd_yet_does_not_run() -> None:
    unit = UnitSeen(active="activating", main_pid=7, exe="/opt/etcd/3.6.14/etcd")
    assert unit.is_running
    assert not replace(unit, exe="/usr/lib/systemd/systemd").is_running


@pytest.mark.parametrize("planned", [True, False])
def test_the_start_of_a_failing_member_covers_its_restart_and_the_reverse(planned: bool) -> None:
    start = StartMember(host="infra2", reason="it does not run")
    restart = RestartMember(host="infra2", version="3.6.14", reason="it runs with another setting")
    shown, seen = (start, restart) if planned else (restart, start)
    assert next_phase(Plan("prod", (shown,)), {}, Plan("prod", (seen,))) == (seen,)
    other = replace(seen, host="infra3")
    with pytest.raises(RefusedError, match="infra3 is now also required"):
        next_phase(Plan("prod", (shown,)), {}, Plan("prod", (other,)))
