"""Some Debian machines and an operator's place beside them, in a network of their own."""

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self

from tests.lab import workspace
from tests.lab.base_image import base_image
from tests.lab.cgroup import Cgroup
from tests.lab.http_server import HttpServer
from tests.lab.machine import Machine
from tests.lab.package_repository import package_repository
from tests.lab.shell import LabError

TOOLS = (
    "systemd-nspawn", "debootstrap", "ip", "nsenter", "setpriv", "mkfs.ext4", "losetup",
    "ssh-keygen", "apt-ftparchive",
)  # fmt: skip


def why_not() -> str | None:
    """Why no lab can be had on this computer; None if it can."""
    if sys.platform != "linux":
        return "it takes Linux"
    if os.geteuid() != 0:
        return "it takes root: namespaces, overlay mounts, systemd-nspawn"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"missing {', '.join(missing)}: run scripts/lab-setup"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlayfs (or its module is not loaded: modprobe overlay)"
    return _why_no_cgroups() or _why_no_namespaces()


def _why_no_cgroups() -> str | None:
    group = Cgroup(f"probe-{os.getpid()}")
    if not group.folders or not (group.folders[0].parent.parent / "cgroup.controllers").exists():
        return "no cgroup2 hierarchy is mounted"
    try:
        group.create()
        killable = (group.folders[0] / "cgroup.kill").exists()
        group.remove()
    except OSError as error:
        return f"control groups are not ours to make: {error}"
    return None if killable else "cgroup.kill is missing: it takes Linux 5.14"


def _why_no_namespaces() -> str | None:
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    tried = subprocess.run(argv, capture_output=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces: {tried.stderr.decode().strip()}"


class Lab:
    """`with Lab(machines=3) as lab:` infra1.. at 192.168.8.66.., answering; the operator at 192.168.8.1."""

    def __init__(
        self, machines: int = 3, *, names: Sequence[str] = (), first_address: str = "192.168.8.66"
    ) -> None:
        self.machines: list[Machine] = []
        self.http_servers: list[HttpServer] = []
        self._wanted = list(names) or [f"infra{number + 1}" for number in range(machines)]
        self._first_address = IPv4Address(first_address)
        self._grounds: workspace.Workspace | None = None
        self._made = 0
        self._commands: list[subprocess.Popen[str]] = []
        self._old_sigterm: Callable[[int, FrameType | None], Any] | int | None = None

    why_not = staticmethod(why_not)

    # Life

    def __enter__(self) -> Self:
        if reason := why_not():
            raise LabError(f"no lab: {reason}")
        self._end_on_sigterm()
        atexit.register(self.close)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        operator_address = str(IPv4Address(int(self._first_address) & ~0xFF | 1))
        self._grounds = workspace.claim_workspace(base_image(), operator_address)
        self._grounds.namespace.create(operator_address)
        self._grounds.keys.create()
        for name in self._wanted:
            self._make(name)
        self.each(Machine.start)
        self.wait_ssh()

    def close(self) -> None:
        """All of it ends and goes, down to the last mount; again, it does nothing."""
        if self._grounds is None:
            return
        self._clear_operator()
        for machine in self.machines:
            machine.kill()
        workspace.release_workspace(self._grounds)
        self._grounds = None
        atexit.unregister(self.close)
        if self._old_sigterm is not None:
            signal.signal(signal.SIGTERM, self._old_sigterm)

    def _end_on_sigterm(self) -> None:
        """SIGTERM becomes SystemExit, so that `with` blocks end. A handler of somebody else's stays."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._old_sigterm = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    # Machines

    def __getitem__(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    def __iter__(self) -> Iterator[Machine]:
        return iter(self.machines)

    def add_machine(self, name: str | None = None) -> Machine:
        """One more at the next address, answering; `reset` takes it away again."""
        machine = self._make(name or f"infra{self._made + 1}")
        machine.start()
        machine.wait_ssh()
        return machine

    def each(self, act: Callable[[Machine], object]) -> None:
        """On all machines at once."""
        with ThreadPoolExecutor(max_workers=max(1, len(self.machines))) as pool:
            list(pool.map(act, self.machines))

    def reset(self, *, wait: bool = True) -> None:
        """The machines it began with, fresh; answering, if waited for. Servers and added machines go."""
        self._clear_operator()
        for machine in self.machines[len(self._wanted) :]:
            machine.remove()
        del self.machines[len(self._wanted) :]
        self.each(Machine.reset)
        if wait:
            self.wait_ssh()

    def wait_ssh(self, timeout_s: float = 30) -> None:
        self.each(lambda machine: machine.wait_ssh(timeout_s))

    def _make(self, name: str) -> Machine:
        address = str(self._first_address + self._made)
        self._made += 1
        self.workspace.keys.add_host(name, address)
        machine = Machine(name, address, self._made, self.workspace)
        self.machines.append(machine)
        return machine

    # The operator's place

    @property
    def workspace(self) -> workspace.Workspace:
        if self._grounds is None:
            raise LabError("this lab is closed")
        return self._grounds

    @property
    def operator_address(self) -> str:
        return self.workspace.operator_address

    @property
    def ssh_config(self) -> Path:
        return self.workspace.keys.ssh_config

    @property
    def known_hosts(self) -> Path:
        return self.workspace.keys.known_hosts

    @property
    def identity_file(self) -> Path:
        return self.workspace.keys.identity_file

    def inside(self) -> AbstractContextManager[None]:
        """This thread reaches the machines: asyncio in it too, and sockets made here stay so."""
        return self.workspace.namespace.inside()

    def run(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, user: str | None = None,
        cwd: Path | None = None, stdin: str | None = None, timeout_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """The operator's command, beside the machines. Any status is an answer; `env` is added to ours."""
        process = self.popen(argv, env=env, user=user, cwd=cwd, stdin=subprocess.PIPE)
        with process:
            try:
                out, err = process.communicate(stdin or "", timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def popen(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, user: str | None = None,
        cwd: Path | None = None, stdin: int | IO[str] = subprocess.DEVNULL,
        stdout: int | IO[str] = subprocess.PIPE, stderr: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.Popen[str]:  # fmt: skip
        """Its pid is the command's own, so `kill()` hits it; at the latest it ends with the lab."""
        cgroup = Cgroup(f"{self.workspace.lab_id}/operator")
        cgroup.create()
        command = cgroup.entering([*_become(user), *map(str, argv)])
        environment = None if env is None else {**os.environ, **env}
        with self.inside():
            process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, text=True
            )
        self._commands.append(process)
        return process

    def _clear_operator(self) -> None:
        """Commands still running, with all they started, and servers still serving."""
        while self._commands:
            _end(self._commands.pop())  # just started, it may not be in the group yet
        Cgroup(f"{self.workspace.lab_id}/operator").kill()
        while self.http_servers:
            self.http_servers.pop().stop()

    def ssh(self, host: str, command: str, *, user: str = "root", stdin: str | None = None) -> str:
        """What it prints; a status other than 0 is a LabError."""
        done = self.run(["ssh", "-F", self.ssh_config, "-l", user, host, command], stdin=stdin)
        if done.returncode != 0:
            said = f"status {done.returncode}\n{done.stdout}{done.stderr}"
            raise LabError(f"ssh {user}@{host} {command}: {said}")
        return done.stdout

    def http_server(self, folder: Path, port: int = 0) -> HttpServer:
        """Stopped by its `stop()`, by `reset` or with the lab."""
        server = HttpServer(self.workspace.namespace, self.operator_address, folder, port)
        self.http_servers.append(server)
        return server

    def serve_packages(self) -> HttpServer:
        """What every machine's sources.list points to. Until then they are hosts whose mirror is down."""
        return self.http_server(package_repository(), workspace.PACKAGES_PORT)

    def cluster_yaml(self, name: str = "prod", version: str = "3.6.14") -> str:
        """A cluster.yaml of the machines it has now."""
        hosts = "".join(f"  - {{name: {machine.name}, address: {machine.address}}}\n" for machine in self)
        ssh = f"ssh: {{user: root, identity_file: {self.identity_file}, known_hosts: {self.known_hosts}}}\n"
        return f"name: {name}\nversion: {version}\nhosts:\n{hosts}{ssh}"


def _end(process: subprocess.Popen[str]) -> None:
    """Killed if it runs, reaped, its pipes closed: what a test forgot is no warning of a later one."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()


def _become(user: str | None) -> list[str]:
    """After the control group was entered, which only root may."""
    if user is None:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups"]
