"""The closer look's script on this machine, with the programs that tell of a clock put in front of the real ones."""

import subprocess
from pathlib import Path

import pytest

from etcdup.core.closer_look import look_argv, parse_look
from etcdup.core.layout import layout_of
from tests.support.fake_world import spec_of

# chrony's own words (chronyc 4.3, `tracking`).
TRACKING = """\
Reference ID    : C0A80801 (192.168.8.1)
Stratum         : 3
System time     : 0.000001501 seconds slow of NTP time
Leap status     : {}
"""


def put(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("timedatectl", "leap", "synchronised"),
    [
        ("echo yes", None, True),
        ("echo no", "Normal", False),
        ("exit 1", "Normal", True),
        ("exit 1", "Insert second", True),
        ("exit 1", "Not synchronised", False),
        ("exit 1", None, None),
        ("sleep 60", None, None),
    ],
)
def test_whoever_knows_tells_whether_the_clock_is_synchronised(
    tmp_path: Path, timedatectl: str, leap: str | None, synchronised: bool | None
) -> None:
    put(tmp_path, "timedatectl", timedatectl)
    put(tmp_path, "chronyc", f"cat <<'END'\n{TRACKING.format(leap)}END" if leap else "exit 1")
    spec = spec_of(1)
    argv = look_argv(layout_of(spec, spec.hosts[0]), [], disk=False)
    environment = {"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=30)
    assert parse_look("infra1", done.stdout).synchronised is synchronised
