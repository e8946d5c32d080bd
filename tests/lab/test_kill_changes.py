"""etcdup is killed repeatedly in a rolling restart, a replacement and a downgrade. Some kills crash a host too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.lab.apply_with_faults import apply_and_kill
from tests.lab.load import load_on
from tests.lab.operator import Operator
from tests.lab.test_bootstrap import path_install
from tests.lab.test_membership import wait_until_serving
from tests.support.etcd_binaries import why_not

NEW, OLD = "3.7.1", "3.6.14"
ROLL = ("InstallFiles", "RestartMember", "InstallFiles", "RestartMember", "InstallFiles")
REPLACEMENT = ("RemoveMember", "SetAside", "AddLearner", "start", "PromoteMember")
DOWNGRADE = ("TakeSnapshot", "EnableDowngrade", "SwitchBinaries", "RestartMember", "RestartMember")


@pytest.fixture(autouse=True)
def _binaries() -> None:
    for version in (NEW, OLD):
        if reason := why_not(version):
            pytest.skip(f"no etcd {version}: {reason}")


@pytest.mark.full
def test_killed_restarts_replacements_and_downgrades_are_completed(operator: Operator) -> None:
    write_version(operator, NEW)
    operator.apply()
    with no_lost_writes(operator):
        write_version(operator, NEW, "etcd: {heartbeat_ms: 150}\n")
        kill_at_each(operator, ROLL)
        operator.apply()
    with no_lost_writes(operator):
        apply_and_kill(operator, "MarkReplacement", command=("member", "replace", "infra3"))
        kill_at_each(operator, REPLACEMENT)
        operator.apply()
    with no_lost_writes(operator):
        write_version(operator, OLD, "etcd: {heartbeat_ms: 150}\n")
        kill_at_each(operator, DOWNGRADE)
        operator.apply()
    assert [member["version"] for member in operator.status()["members"]] == [OLD] * 3


def write_version(operator: Operator, version: str, more: str = "") -> None:
    operator.write(version=version, install=path_install(version), more=more)


@contextmanager
def no_lost_writes(operator: Operator) -> Iterator[None]:
    """Put load on infra2, and assert that no acknowledged write is lost and that nothing is left to do."""
    with load_on(operator.lab, operator, ["infra2"]) as load:
        yield
        report = load.report()
    assert report.lost == report.unexpected == ()
    assert report.violation is None
    operator.assert_nothing_to_do()


def kill_at_each(operator: Operator, steps: Sequence[str]) -> None:
    """Kill an apply at each of these steps in turn. At every second kill, infra1 loses power too."""
    other = operator.lab["infra1"]
    for number, step in enumerate(steps):
        crash = other.kill if number % 2 else None
        apply_and_kill(operator, step, before_kill=crash)
        if crash:
            other.start()
            other.wait_ssh()
            wait_until_serving(operator, other.name)
