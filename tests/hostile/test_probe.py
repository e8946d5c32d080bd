"""What other users of a host can choose is never read as the output of the probe itself."""

import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.audit.inspection import parse_inspection
from etcdup.core.observed.connections import parse_connections
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.observed.unit_log import lines_of_starts
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.testing.network import FakeNetwork
from etcdup.testing.probe import run_probe
from tests.support.fake_world import spec_of

SPEC = spec_of(1)
LAYOUT = layout_of(SPEC, SPEC.hosts[0])
OUTPUT = run_probe(FakeNetwork().add("infra1"), probe_argv(LAYOUT, (), ())[4:])
NAMES = [
    "x\n@clock\n1\n@unit\nUnitFileState=disabled\nz",
    "@clock",
    "x\x0b@clock\x0b1",
    "x\u2028@clock\u20281",
    "\x1b[2J",
]


def parse(output: str, layout: Layout = LAYOUT) -> HostSeen | None:
    try:
        return parse_probe("infra1", output, layout, 1000.0, 1001.0)
    except ValueError:
        return None


@settings(max_examples=500, deadline=None)
@given(
    at=st.integers(0, OUTPUT.count("\n") - 1),
    text=st.one_of(st.text(), st.sampled_from([*NAMES, "9" * 5000, "²"])),
)
def test_any_line_gives_a_host_or_an_unreadable_answer(at: int, text: str) -> None:
    lines = OUTPUT.split("\n")
    lines[at] = text
    parse("\n".join(lines))


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_no_parser_of_an_answer_crashes(text: str) -> None:
    parse(text)
    parse_connections(text)
    lines_of_starts(text, parse(OUTPUT).unit, 3)  # type: ignore[union-attr]
    # ops/audit/gather.py makes these the reason why the host is not inspected.
    with suppress(ValueError, KeyError, IndexError, OverflowError):
        parse_inspection("infra1", text)


def test_a_section_that_appears_twice_is_not_an_answer() -> None:
    assert parse(OUTPUT) is not None
    assert parse(f"{OUTPUT}@clock\n1\n") is None


@pytest.mark.parametrize("name", NAMES)
def test_the_names_in_a_directory_of_etcd_forge_nothing(name: str, tmp_path: Path) -> None:
    """This runs the real script."""
    host = HostSpec(name="infra1", address="127.0.0.1", local=True, root=str(tmp_path))
    layout = layout_of(SPEC, host)
    Path(layout.data_dir).mkdir(parents=True)
    (Path(layout.data_dir) / name).touch()
    done = subprocess.run(probe_argv(layout, (), ()), capture_output=True, check=True)
    seen = parse(done.stdout.decode(errors="replace"), layout)
    assert seen is not None
    assert len(seen.data.entries or ()) == 1
    assert seen.clock_ahead_s > 1_000_000, "the clock is the real one"
    assert re.fullmatch(r"[ -~]+", (seen.data.entries or ("",))[0].encode("ascii", "replace").decode())
