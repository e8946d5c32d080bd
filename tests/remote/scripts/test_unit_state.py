"""The probe with a real sh, while systemd begins to start etcd: the state of the unit is newer than the queue."""

import os
import subprocess
from pathlib import Path

import pytest

from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.layout import layout_of
from etcdup.ops.world.wait import is_failing
from tests.support.fake_world import spec_of

# What systemd answers before and after the start leaves the queue. The list of jobs is when it leaves it.
SYSTEMCTL = """\
#!/bin/sh
here=${{0%/*}}
case $* in
  *After*) echo After=network-online.target ;;
  list-jobs*)
    {jobs}
    : >"$here/begun" ;;
  *show*)
    echo LoadState=loaded
    if [ -e "$here/begun" ]; then
      printf '%s\\n' ActiveState=activating SubState=start Job=
    else
      printf '%s\\n' ActiveState=inactive SubState=dead Job=7
    fi ;;
esac
"""
WAITS = "echo 7 etcd.service start waiting; echo 8 network-online.target start running"


def probe(folder: Path, jobs: str) -> UnitSeen:
    (folder / "systemctl").write_text(SYSTEMCTL.format(jobs=jobs))
    (folder / "systemctl").chmod(0o755)
    spec = spec_of(1)
    layout = layout_of(spec, spec.hosts[0])
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        probe_argv(layout, (), ()), env={"PATH": path}, capture_output=True, text=True, check=True, timeout=60
    )
    return parse_probe("infra1", done.stdout, layout, 0.0, 0.0).unit


@pytest.mark.parametrize("jobs", [":", WAITS], ids=["it has left the queue", "it is about to leave it"])
def test_a_start_that_leaves_the_queue_has_not_failed(tmp_path: Path, jobs: str) -> None:
    unit = probe(tmp_path, jobs)
    assert unit.active == "activating"
    assert unit.queued == (jobs == WAITS)
    assert not is_failing(0, unit)
