"""`etcdup recover` on real local members: two have lost their data, the third is stopped or runs."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Etcdup, demo_folder, running_demo, wait_until
from tests.support.cases import one_in_turn

MEMBERS = ("infra1", "infra2", "infra3")
# For a stopped member. tests/lab/test_disk_salvage.py tests 3.6.14.
# The member of this version has its write-ahead log in a separate folder.
WITH_WAL_DIR, LOG = "3.7.1", "var/lib/etcd-log"

pytestmark = pytest.mark.apart


@pytest.fixture
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of this version that holds a key, running."""
    version = str(request.param)
    more = f"wal_dir: /{LOG}/wal, " if version == WITH_WAL_DIR else ""
    edit = partial(re.sub, r"etcd: \{", f"etcd: {{{more}")
    with running_demo(tmp_path, version, edit=edit) as etcdup:
        done = etcdup("ctl", "--", "put", "/a", "kept")
        assert done.returncode == 0, done.stderr
        yield etcdup


@pytest.mark.parametrize("up", ["3.6.14"], indirect=True)
def test_uncommitted_entries_at_the_end_of_the_log_are_kept(up: Etcdup) -> None:
    """The other members may have had the entry before they were lost. The member itself does not serve it."""
    leader = json.loads(up("status", "--json").stdout)["leader"]
    others = [name for name in MEMBERS if name != leader]
    variables = up("export", "env").stdout.replace("ETCDCTL_ENDPOINTS", "UNUSED")
    place = demo_folder(up)
    url = re.search(rf"{leader}, address: ([0-9.]+)", (place / "cluster.yaml").read_text())
    assert url is not None
    etcdctl = (
        f"{place}/{leader}/opt/etcd/current/etcdctl --endpoints=https://{url[1]}:2379 --command-timeout=1s"
    )
    for name in others:  # The leader steps down about one second later.
        os.kill(pid_of(up, name), signal.SIGSTOP)
    said = subprocess.run(["sh", "-c", f"{variables}\n{etcdctl} put /late kept"], check=False)
    assert said.returncode != 0
    for name in others:
        lose_disk(up, name)
    wait_until(lambda: not json.loads(up("status", "--json").stdout)["leader"], "it is still the leader")

    done = up("recover", "--yes-recover", "demo")
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stderr.split())
    assert "a member's write-ahead log has entries that no responding member has applied" in shown
    assert f"the data of {leader} is used, the only data that etcdup can reach: {leader} (term" in shown
    for key in ("/a", "/late"):
        assert up("ctl", "--", "get", key, "--print-value-only").stdout == "kept\n"


@pytest.mark.parametrize("up", one_in_turn("3.7.1", "3.4.23", "3.5.33"), indirect=True)
def test_the_data_of_a_stopped_member_is_read_from_its_disk(up: Etcdup) -> None:
    place, etcdup = demo_folder(up), up
    kill(up, "infra1")
    for name in MEMBERS[1:]:
        lose_disk(up, name)
    data = place / "infra1/var/lib/etcd"
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    sure = ("recover", "--yes-recover", "demo")
    if "3.4.23" in (place / "cluster.yaml").read_text():
        kill_while_copy_is_served(etcdup, data, sure)
        assert {path: path.read_bytes() for path in before} == before
    done = etcdup(*sure)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    shown = " ".join(done.stderr.split())
    assert "the data of infra1 is used, the only data that etcdup can reach: infra1 (term" in shown
    assert etcdup("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"
    (kept,) = data.parent.glob("etcd.aside-*")
    assert {path: (kept / path.relative_to(data)).read_bytes() for path in before} == before
    assert list(data.parent.rglob("*.salvage")) == []
    assert not (place / "infra1/run/etcdup/salvage").exists()
    assert find_etcd_on_copy(data) == []


def kill_while_copy_is_served(etcdup: Etcdup, data: Path, words: tuple[str, ...]) -> None:
    """Kill the recovery: the etcd on the copy ends, and the copy is deleted."""
    running = etcdup.start(*words)
    wait_until(lambda: bool(find_etcd_on_copy(data)), "no etcd on a copy")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    wait_until(lambda: not find_etcd_on_copy(data), "the etcd on the copy still runs")
    wait_until(lambda: not data.with_name("etcd.salvage").exists(), "the copy still exists")


def find_etcd_on_copy(data: Path) -> list[str]:
    wanted = f"--data-dir={data}.salvage".encode()
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in words and words[0].endswith(b"/etcd"):
            found.append(each.parent.name)
    return found


def pid_of(etcdup: Etcdup, name: str) -> int:
    return int((demo_folder(etcdup) / name / "run/etcdup/etcd.pid").read_text())


def kill(etcdup: Etcdup, name: str) -> None:
    """Kill a member like a power cut."""
    pid = pid_of(etcdup, name)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "etcd does not end")


def lose_disk(etcdup: Etcdup, name: str) -> None:
    """Kill a member and delete its data."""
    kill(etcdup, name)
    shutil.rmtree(demo_folder(etcdup) / name / "var/lib/etcd")
    shutil.rmtree(demo_folder(etcdup) / name / LOG, ignore_errors=True)
