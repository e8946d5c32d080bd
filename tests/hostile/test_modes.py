"""The modes of directories: no umask decides them, and wrong ones are corrected or named before a host is changed."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from etcdup.core.host.folders import own_rights
from etcdup.core.plan.host_steps import PrepareHost
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.layout import layout_of
from etcdup.remote.host import HostCommand
from etcdup.remote.local import LocalHost
from tests.support.fake_world import bring_up, machines_for, make_plan, spec_of
from tests.support.kill_everywhere import apply_and_check, kill_everywhere, prepare_start
from tests.support.texts import Texts

SPEC = spec_of(1)
LAYOUT = layout_of(SPEC, SPEC.hosts[0])
LOG = "/var/lib/etcd-log/wal"


@pytest.mark.parametrize("umask", ["000", "077", "777"])
def test_the_umask_of_a_login_does_not_decide_modes(tmp_path: Path, umask: str) -> None:
    before = os.umask(int(umask, 8))
    try:
        asyncio.run(LocalHost("here").run_all([HostCommand(("mkdir", "-p", f"{tmp_path}/a/b"), 10.0)]))
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o777 for each in (tmp_path / "a", tmp_path / "a/b")] == [0o755, 0o755]


def test_no_umask_lets_other_users_write_files_of_the_operator(tmp_path: Path) -> None:
    """cluster.yaml can name commands, so other users must not write it."""
    argv = [sys.executable, "-m", "etcdup", "-f", "cluster.yaml", "init", "10.0.0.1"]
    subprocess.run(argv, cwd=tmp_path, umask=0, check=True, timeout=60, capture_output=True)
    modes = {path.name: path.stat().st_mode & 0o022 for path in tmp_path.rglob("*")}
    assert modes["cluster.yaml"] == 0
    assert set(modes.values()) == {0}


@pytest.mark.parametrize("path", own_rights(LAYOUT))
@pytest.mark.parametrize(
    ("mode", "owner"),
    [(0o700, "root:root"), (0o777, "root:root"), (0o775, "root:staff"), (0o755, "etcd:etcd")],
)
async def test_apply_corrects_the_directories_of_etcdup(
    tmp_path: Path, path: str, mode: int, owner: str
) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    machine = start.network.machines["infra1"]
    node = machine.nodes[machine.real(path)]
    node.mode, node.owner = mode, owner
    plan = await make_plan(SPEC, start.network, start.folder)
    assert isinstance(plan, Plan)
    assert [type(step) for step in plan.steps] == [PrepareHost], "no member restarts"
    await apply_and_check(SPEC, start.network, start.folder)
    assert (node.mode, node.owner) == own_rights(LAYOUT)[path]


async def test_the_correction_is_finished_after_a_kill(tmp_path: Path) -> None:
    spec = spec_of(1, f"etcd: {{wal_dir: {LOG}}}\n")
    start = await prepare_start(spec, spec, tmp_path)
    machine = start.network.machines["infra1"]
    for path in (LAYOUT.etc, LAYOUT.versions, LOG):
        machine.nodes[path].mode = 0o777
    assert await kill_everywhere(start, spec)
    assert machine.nodes[LOG].mode == 0o777, "each run has a copy"


@pytest.mark.parametrize("closed", ["/opt", "/var/lib", "/var"])
async def test_a_parent_that_user_etcd_cannot_enter_is_named_before_a_change(
    texts: Texts, tmp_path: Path, closed: str
) -> None:
    network = machines_for(SPEC)
    machine = network.machines["infra1"]
    machine.make_dir("/var/lib")
    machine.make_dir("/opt")
    machine.nodes[closed].mode = 0o750
    before = {name: dict(each.nodes) for name, each in network.machines.items()}
    plan = await make_plan(SPEC, network, tmp_path)
    assert isinstance(plan, Refusal)
    texts(plan)
    assert {name: dict(each.nodes) for name, each in network.machines.items()} == before
    machine.nodes[closed].mode = 0o711
    await bring_up(SPEC, network, tmp_path)


async def test_a_log_of_another_user_is_named_before_a_change(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(1, f"etcd: {{wal_dir: {LOG}}}\n")
    start = await prepare_start(spec, spec, tmp_path)
    machine = start.network.machines["infra1"]
    machine.nodes[LOG].owner, machine.nodes[LOG].mode = "root:root", 0o755
    plan = await make_plan(spec, start.network, start.folder)
    assert isinstance(plan, Refusal)
    texts(plan.reasons[0])
