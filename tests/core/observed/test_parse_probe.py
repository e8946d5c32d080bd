"""The output of the probe is input from another machine: it is checked before it is used."""

import re

import pytest

from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.spec.layout import layout_of
from etcdup.testing.network import FakeNetwork
from etcdup.testing.probe import run_probe
from tests.support.fake_world import spec_of
from tests.support.texts import Texts

SPEC = spec_of(1)
LAYOUT = layout_of(SPEC, SPEC.hosts[0])


def parse_with_clock(clock: str) -> HostSeen:
    arguments = probe_argv(LAYOUT, (), ())[4:]
    output = run_probe(FakeNetwork().add("infra1"), arguments)
    return parse_probe("infra1", re.sub(r"(?<=@clock\n).*", clock, output), LAYOUT, 1000.0, 1001.0)


@pytest.mark.parametrize(("clock", "ahead"), [("1401.0", 400.0), ("1000.5", 0.0), ("0.0", -1000.0)])
def test_the_clock_is_compared_with_the_time_of_the_probe(clock: str, ahead: float) -> None:
    assert parse_with_clock(clock).clock_ahead_s == ahead


@pytest.mark.parametrize("clock", ["nan", "inf", "-inf", "1e300", "now"])
def test_a_clock_without_a_date_is_refused(texts: Texts, clock: str) -> None:
    """A comparison with `nan` is False, so every limit would accept it."""
    with pytest.raises(ValueError) as caught:
        parse_with_clock(clock)
    texts(caught.value)


def test_only_names_that_etcdup_gives_are_archives() -> None:
    machine = FakeNetwork().add("infra1")
    good = (
        "/var/lib/etcd.aside-20260101T000000Z",
        "/var/lib/etcd.cold-prod-01",
        "/etc/etcd.aside-20260101T000000Z",
    )
    bad = tuple(
        f"/var/lib/etcd.{name}" for name in ("aside-a b", "aside-", "aside-$(id)", "aside-mine", "bak")
    )
    for path in (*good, *bad):
        machine.make_dir(path)
    output = run_probe(machine, probe_argv(LAYOUT, (), ())[4:])
    forged = output.replace(
        "@archives\n", "@archives\n=/etc/passwd\n=/var/lib/etcd.aside-20260101T000000Z/../../../etc\n"
    )
    seen = parse_probe("infra1", forged, LAYOUT, 1000.0, 1001.0)
    assert sorted(seen.archives) == sorted(good)
