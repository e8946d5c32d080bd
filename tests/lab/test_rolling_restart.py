"""A rolling restart under load, without a long gap; and two killed members, which the load must report."""

import time

import pytest

from tests.lab.load import load_on
from tests.lab.operator import Operator
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}"),
]


def test_a_rolling_restart_loses_no_write_and_has_no_long_gap(operator: Operator) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    operator.apply()
    names = {machine.name for machine in operator.lab}
    with load_on(operator.lab, operator) as load:
        operator.write(version=VERSION, install=path_install(VERSION), more="etcd: {heartbeat_ms: 150}\n")
        operator.apply()
        load.remove("infra3")  # as in tests that remove and add members
        load.add("infra3")
        report = load.report()
    report.assert_clean(restarted=names)
    assert {each.member for each in report.machines.downtimes} == names, "each was restarted"
    operator.assert_nothing_to_do()


@pytest.mark.full
def test_two_members_killed_at_once_are_reported(operator: Operator) -> None:
    """The load reports a lost quorum as a gap with failures, and no lost write."""
    operator.write(version=VERSION, install=path_install(VERSION))
    operator.apply()
    one, other, _ = operator.lab.machines
    with load_on(operator.lab, operator) as load:
        for machine in (one, other):  # systemd would restart etcd within a second
            machine.run("mkdir -p /run/systemd/system/etcd.service.d")
            machine.write("/run/systemd/system/etcd.service.d/stay.conf", "[Service]\nRestart=no\n")
            machine.run("systemctl daemon-reload")
        for machine in (one, other):
            machine.run("systemctl kill --signal=KILL etcd")
        time.sleep(3)
        for machine in (one, other):
            machine.run("systemctl start etcd --no-block")
        operator.wait_healthy()
        report = load.report()
    assert report.gap.seconds > 2.5
    assert {one.name, other.name} <= {each.member for each in report.failures}
    assert report.unexplained({one.name, other.name}), "no stop was planned, so no stop explains a failure"
    assert report.violation is None
    assert report.lost == report.unexpected == ()
    with pytest.raises(AssertionError, match=r"no write was acknowledged for \d"):
        report.assert_clean(restarted={one.name, other.name})
