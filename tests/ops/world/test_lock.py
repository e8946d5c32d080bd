"""The lock with real shells on this machine, and that each change goes through it."""

import ast
import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest

from etcdup.core.plan.step_registry import STEPS
from etcdup.core.planner.guards import NEED_MAJORITY
from etcdup.core.spec.load import load
from etcdup.errors import LockedError, LockLost, NotLocked, RefusedError
from etcdup.ops import polling
from etcdup.ops.world.lock import ClusterLock, cluster_lock, holder
from etcdup.remote.host import OUTPUT_BYTES, HostCommand
from etcdup.remote.local import LocalHost
from etcdup.remote.sudo import RawResult
from etcdup.testing.host import FakeHost
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import spec_of
from tests.support.texts import Texts

SOURCE = Path(__file__).parents[3] / "src/etcdup"
# The modules that change hosts, and what each of them calls.
CHANGES = {"run_all", "write_all", "hold"}
MODULES = {
    "ops/world/perform.py": {"run_all"},
    "ops/world/lock.py": {"run_all", "hold"},
    "ops/recovery/disk_salvage.py": {"hold"},
}
# These read files before there is a lock: `adopt` takes it for its markers.
READERS = {"ops/adopt/copy_files.py"}
# Disruptive steps that need no majority of locks: they take nothing from a cluster with a quorum, or are the way out
# for an operator whose other hosts are lost.
ALONE = {
    "RotateAuthority", "FormCluster", "StartMember", "RetireMember", "JoinMember", "TakeSnapshot", "CheckV2Store",
    "EnsureRaftSnapshot", "CancelDowngrade", "DisarmSpaceAlarm", "SalvageData", "PlaceData", "RevokeLeases",
    "StartRestored", "FenceOff", "UndoData", "RestoreKeys",
}  # fmt: skip


class NoisyHost(LocalHost):
    """A local host that can write a warning before each command, as sudo does."""

    noise: tuple[str, ...] = ()

    def use_noisy_sudo(self) -> None:
        warning = "sudo: unable to resolve host infra1: Name or service not known"
        self.noise = ("sh", "-c", f'echo "{warning}" >&2; exec "$@"', "sh")

    async def _execute(
        self, argv: Sequence[str], stdin: AsyncIterator[bytes], most_bytes: int = OUTPUT_BYTES
    ) -> RawResult:
        return await super()._execute((*self.noise, *argv), stdin, most_bytes)


class Machine:
    """A local host with a lock, whose shell a test can kill."""

    def __init__(self, folder: Path) -> None:
        self.lock_file = folder / "run/etcdup/lock"
        self.spec = load(
            "name: prod\nversion: 3.6.14\nhosts:\n"
            f"  - {{name: infra1, address: 127.0.0.1, local: true, root: {folder}}}\n"
        )
        self.host = NoisyHost("infra1", own_folder=True)

    def lock(self) -> AbstractAsyncContextManager[ClusterLock]:
        return cluster_lock(self.spec, {"infra1": self.host}, holder("apply"))

    def kill_shell(self) -> None:
        """Kill the shell that holds the lock, and its child, so that the lock is free and its line is still there."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"etcdup-lock" in words and os.fsencode(self.lock_file) in words:
                    os.killpg(int(path.parent.name), signal.SIGKILL)

    def is_free(self) -> bool:
        """Return whether no process holds the lock. A child of a killed shell ends a moment after it."""
        return subprocess.run(["flock", "--nonblock", self.lock_file, "true"], check=False).returncode == 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def wait_until(condition: Callable[[], bool]) -> None:
    async def is_true() -> bool:
        return condition()

    assert await polling.wait_until(polling.MonotonicClock(), is_true, 20)


def is_lost(lock: ClusterLock) -> bool:
    try:
        lock.check()
    except LockLost:
        return True
    return False


async def test_other_users_cannot_open_the_lock(machine: Machine) -> None:
    """flock needs no more than the right to open a file: any local user could block every change."""
    machine.lock_file.parent.mkdir(parents=True)
    machine.lock_file.touch(0o644)
    async with machine.lock():
        modes = {path.name: path.stat().st_mode & 0o777 for path in machine.lock_file.parent.iterdir()}
        assert modes == {"lock": 0o600, "lock.busy": 0o600}
        assert machine.lock_file.parent.stat().st_mode & 0o777 == 0o755


async def test_two_runs_have_different_lines() -> None:
    assert holder("apply") != holder("apply")


async def test_the_end_of_the_shell_is_noticed(machine: Machine) -> None:
    async with machine.lock() as lock:
        lock.check()
        machine.kill_shell()
        await wait_until(lambda: is_lost(lock))
        with pytest.raises(LockLost):
            lock.on("infra1")
        with pytest.raises(LockLost):
            await lock.confirm()


async def test_a_line_that_no_shell_holds_is_no_lock(machine: Machine) -> None:
    async with machine.lock() as lock:
        own = lock.on("infra1")
        machine.kill_shell()
        await wait_until(lambda: is_lost(lock))
        assert machine.lock_file.read_text() == f"{own.line}\n"
        with pytest.raises(NotLocked):
            await machine.host.run_all([HostCommand(("true",))], lock=own)


async def test_a_lost_lock_is_noticed_behind_a_warning_of_sudo(texts: Texts, machine: Machine) -> None:
    """sudo writes to stderr, for example that it cannot resolve the name of the host."""
    async with machine.lock() as lock:
        own = lock.on("infra1")
        machine.host.use_noisy_sudo()
        await lock.confirm()
        machine.lock_file.write_text("another run\n")
        with pytest.raises(NotLocked) as refused:
            await machine.host.run_all([HostCommand(("true",))], lock=own)
        assert refused.value.holder == "another run"
        with pytest.raises(LockLost) as caught:
            await lock.confirm()
        texts(caught.value)


async def test_a_host_that_cannot_check_the_lock_does_not_confirm_it(texts: Texts, machine: Machine) -> None:
    async with machine.lock() as lock:
        machine.lock_file.with_name("lock.busy").unlink()
        machine.lock_file.with_name("lock.busy").mkdir()
        with pytest.raises(LockLost) as caught:
            await lock.confirm()
        texts(caught.value)


async def test_the_next_holder_waits_for_the_last_command_of_the_previous_one(machine: Machine) -> None:
    async with machine.lock() as lock:
        script = 'echo begun >"$1"; sleep 2; echo ended >"$1"'
        told = machine.lock_file.with_name("told")
        command = HostCommand(("sh", "-c", script, "sh", str(told)))
        last = asyncio.create_task(machine.host.run_all([command], lock=lock.on("infra1")))
        await wait_until(told.exists)
        machine.kill_shell()
        await wait_until(machine.is_free)
        async with machine.lock():
            assert told.read_text() == "ended\n"
        await last


async def test_a_process_that_a_command_leaves_behind_does_not_block_the_next_holder(
    machine: Machine,
) -> None:
    async with machine.lock() as lock:
        command = HostCommand(("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"))
        (left,) = await machine.host.run_all([command], lock=lock.on("infra1"))
    async with asyncio.timeout(10), machine.lock():
        pass
    os.kill(int(left.stdout), signal.SIGKILL)


async def test_a_run_without_its_lock_file_does_not_clear_the_file_of_another_one(machine: Machine) -> None:
    async with machine.lock() as first:
        machine.lock_file.unlink()
        async with machine.lock() as second:
            with pytest.raises(NotLocked):
                await machine.host.run_all([HostCommand(("true",))], lock=first.on("infra1"))
            await second.confirm()
            line = machine.lock_file.read_text()
            assert line.strip() == second.on("infra1").line


async def test_a_held_lock_is_refused_with_its_holder(machine: Machine) -> None:
    async with machine.lock() as lock:
        with pytest.raises(LockedError) as refused:
            async with machine.lock():
                pass
        assert lock.on("infra1").line in refused.value.message


async def test_two_hosts_of_cluster_yaml_that_are_one_machine_are_refused() -> None:
    """The first of the two would be overwritten by the second one."""
    machine = FakeNetwork().add("infra1")
    hosts = {name: FakeHost(machine, name) for name in ("infra1", "infra2")}
    with pytest.raises(RefusedError) as refused:
        async with cluster_lock(spec_of(3), hosts, holder("apply")):
            pass
    assert not isinstance(refused.value, LockedError)
    assert machine.locks == {}


def test_only_modules_that_pass_the_lock_change_hosts() -> None:
    """Flows fail at a change without the lock (testing/host.py). No flow may be missing for a module of this list."""
    found: dict[str, set[str]] = {}
    for path in [*(SOURCE / "ops").rglob("*.py"), *(SOURCE / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in CHANGES
            ):
                name = path.relative_to(SOURCE).as_posix()
                if name in READERS:
                    continue
                found.setdefault(name, set()).add(node.func.attr)
                takes = name == "ops/world/lock.py" and node.func.attr == "hold"
                assert takes or "lock" in {keyword.arg for keyword in node.keywords}, f"{name}:{node.lineno}"
    assert found == MODULES


def test_each_disruptive_step_needs_a_majority_or_is_named_here() -> None:
    disruptive = {name for name, step in STEPS.items() if step.disruptive}
    assert disruptive == {step.__name__ for step in NEED_MAJORITY} | ALONE
