"""A start that waits in systemd's queue, and the log of the present starts."""

import json

import pytest

from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.observed.unit_log import lines_of_starts
from etcdup.core.spec.layout import layout_of
from etcdup.testing.network import FakeNetwork
from etcdup.testing.probe import run_probe
from tests.support.fake_world import spec_of

SPEC = spec_of(1)
LAYOUT = layout_of(SPEC, SPEC.hosts[0])
# From Debian 12 (systemd 252), a second after its boot.
JOBS = """\
@jobs
80 etcd.service start waiting
79 network-online.target start waiting
78 systemd-networkd-wait-online.service start running
2 multi-user.target start waiting
@after
After=system.slice basic.target time-sync.target network-online.target systemd-journald.socket
"""


def observed_unit(jobs: str) -> UnitSeen:
    """Return the unit that is parsed from the output of a probe with these sections about jobs."""
    files = probe_argv(LAYOUT, (), ())[4:]
    output = run_probe(FakeNetwork().add("infra1"), files)
    return parse_probe("infra1", output.replace("@units\n", f"{jobs}@units\n"), LAYOUT, 0.0, 0.0).unit


def test_a_start_that_waits_in_the_queue_names_what_it_waits_for() -> None:
    unit = observed_unit(JOBS)
    assert unit.queued
    assert unit.waits_for == ("network-online.target",)
    assert not unit.is_running


@pytest.mark.parametrize(
    "jobs",
    [
        "",
        "@jobs\n",
        JOBS.replace("start waiting", "start running"),  # systemd starts etcd now
        JOBS.replace("80 etcd.service start", "80 etcd.service stop"),
        JOBS.replace("etcd.service", "etcd2.service"),
        "@jobs\nNo jobs running.\n",
    ],
)
def test_other_jobs_are_no_queued_start(jobs: str) -> None:
    unit = observed_unit(jobs)
    assert not unit.queued
    assert unit.waits_for == ()


def test_names_of_units_that_systemd_does_not_allow_are_not_shown() -> None:
    unit = observed_unit(JOBS.replace("network-online.target", "\x1b[2J"))
    assert unit.queued
    assert unit.waits_for == ()


def entry(invocation: str, message: object, field: str = "_SYSTEMD_INVOCATION_ID") -> str:
    return json.dumps({"MESSAGE": message, field: invocation, "__CURSOR": "s=1"})


LOG = "\n".join(
    [
        entry("old", "closing etcd server"),
        entry("one", "Starting etcd.service", "INVOCATION_ID"),
        entry("one", "no space left on device"),
        "not JSON",
        entry("two", [110, 111, 27]),
        entry("two", {"a": 1}),
    ]
)


def test_lines_of_the_process_that_was_stopped_before_are_not_read() -> None:
    unit = UnitSeen(invocation="two", restarts=1)
    assert lines_of_starts(LOG, unit, 2) == [
        ["Starting etcd.service", "no space left on device"],
        ["no\x1b"],
    ]
    assert lines_of_starts(LOG, unit, 1) == [["no\x1b"]]


def test_a_start_without_lines_yet_is_the_newest() -> None:
    assert lines_of_starts(LOG, UnitSeen(invocation="three"), 1) == [[]]


def test_a_queued_start_has_no_lines() -> None:
    assert lines_of_starts(LOG, UnitSeen(invocation="two", queued=True), 1) == []
