"""etcdup killed again and again in a roll, a replacement and a downgrade, and a host crashing with every other kill."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.lab.apply_with_faults import apply_cut
from tests.lab.load import load_on
from tests.lab.operator import Operator
from tests.lab.test_bootstrap import by_path
from tests.lab.test_membership import wait_answering
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


def test_rolls_replacements_and_downgrades_arrive_all_the_same(operator: Operator) -> None:
    want(operator, NEW)
    operator.apply()
    with nothing_lost(operator):
        want(operator, NEW, "etcd: {heartbeat_ms: 150}\n")
        cut_each(operator, ROLL)
        operator.apply()
    with nothing_lost(operator):
        apply_cut(operator, "MarkReplacement", words=("member", "replace", "infra3"))
        cut_each(operator, REPLACEMENT)
        operator.apply()
    with nothing_lost(operator):
        want(operator, OLD, "etcd: {heartbeat_ms: 150}\n")
        cut_each(operator, DOWNGRADE)
        operator.apply()
    assert [member["version"] for member in operator.status()["members"]] == [OLD] * 3


def want(operator: Operator, version: str, more: str = "") -> None:
    operator.write(version=version, install=by_path(version), more=more)


@contextmanager
def nothing_lost(operator: Operator) -> Iterator[None]:
    """Clients on a member that nobody restarts on purpose more than once: every write that they were promised stays."""
    with load_on(operator.lab, operator, ["infra2"]) as load:
        yield
        report = load.report()
    assert report.lost == report.ghosts == ()
    assert report.violation is None
    assert "nothing to do" in operator.apply()


def cut_each(operator: Operator, steps: Sequence[str]) -> None:
    """Kills an apply at each of these steps in turn; at every other one infra1 loses power as well."""
    other = operator.lab["infra1"]
    for number, step in enumerate(steps):
        crash = other.kill if number % 2 else None
        apply_cut(operator, step, at=crash)
        if crash:
            other.start()
            other.wait_ssh()
            wait_answering(operator, other.name)
