"""Debian machines and an operator's address, in a network namespace."""

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
    """Return why the lab cannot run on this computer, or None."""
    if sys.platform != "linux":
        return "the lab needs Linux"
    if os.geteuid() != 0:
        return "the lab needs root for namespaces, overlay mounts and systemd-nspawn"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"{', '.join(missing)} not found on PATH: run scripts/lab-setup"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "the kernel has no overlayfs, or its module is not loaded (run `modprobe overlay`)"
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
        return f"cannot create control groups: {error}"
    return None if killable else "the kernel has no cgroup.kill (added in Linux 5.14)"


def _why_no_namespaces() -> str | None:
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    tried = subprocess.run(argv, capture_output=True, check=False)
    return None if tried.returncode == 0 else f"cannot create namespaces: {tried.stderr.decode().strip()}"


class Lab:
    """`with Lab(machines=3) as lab:` starts infra1, infra2, ... at 192.168.8.66, .67, ...; sshd is ready on all.

    The operator has the address 192.168.8.1. `image` is the root file system of all machines (default: the base image).
    `nests`: a container engine works inside of the machines.
    """

    def __init__(
        self, machines: int = 3, *, names: Sequence[str] = (), first_address: str = "192.168.8.66",
        image: Path | None = None, nests: bool = False,
    ) -> None:  # fmt: skip
        self.machines: list[Machine] = []
        self.http_servers: list[HttpServer] = []
        self._initial_names = list(names) or [f"infra{number + 1}" for number in range(machines)]
        self._first_address = IPv4Address(first_address)
        self._image = image
        self._nests = nests
        self._workspace: workspace.Workspace | None = None
        self._machine_count = 0
        self._commands: list[subprocess.Popen[str]] = []
        self._are_kept = False
        self._old_sigterm: Callable[[int, FrameType | None], Any] | int | None = None

    why_not = staticmethod(why_not)

    # Start and end

    def __enter__(self) -> Self:
        if reason := why_not():
            raise LabError(f"the lab cannot run: {reason}")
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
        self._workspace = workspace.claim_workspace(self._image or base_image(), operator_address)
        self._workspace.namespace.create(operator_address)
        self._workspace.keys.create()
        for name in self._initial_names:
            self._create_machine(name)
        self.each(Machine.start)
        self.wait_ssh()

    def close(self) -> None:
        """Stop all machines and remove everything, mounts too. A second call does nothing."""
        if self._workspace is None:
            return
        self._clear_operator()
        for machine in self.machines:
            machine.kill()
        workspace.release_workspace(self._workspace)
        self._workspace = None
        atexit.unregister(self.close)
        if self._old_sigterm is not None:
            signal.signal(signal.SIGTERM, self._old_sigterm)

    def _end_on_sigterm(self) -> None:
        """Turn SIGTERM into SystemExit, so that `with` blocks end. An existing handler is kept."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._old_sigterm = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    # Machines

    def __getitem__(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    def __iter__(self) -> Iterator[Machine]:
        return iter(self.machines)

    def add_machine(self, name: str | None = None) -> Machine:
        """Add a machine at the next address and wait for its sshd. `reset` removes it."""
        machine = self._create_machine(name or f"infra{self._machine_count + 1}")
        machine.start()
        machine.wait_ssh()
        return machine

    def each(self, act: Callable[[Machine], object]) -> None:
        """Call `act` for all machines in parallel."""
        with ThreadPoolExecutor(max_workers=max(1, len(self.machines))) as pool:
            list(pool.map(act, self.machines))

    def reset(self, *, wait: bool = True) -> None:
        """Give the first machines new disks. Remove added machines and stop servers. `wait`: until sshd is ready."""
        self._clear_operator()
        for machine in self.machines[len(self._initial_names) :]:
            machine.remove()
        del self.machines[len(self._initial_names) :]
        self.each(Machine.reset)
        if wait:
            self.wait_ssh()

    def keep_machines(self) -> None:
        """Say, at the end of a test, that it left the machines as they were: the next test needs no reset."""
        self._are_kept = True

    def reset_changed(self) -> None:
        """Stop commands and servers. Reset the machines, without waiting, unless the test has kept them."""
        if self._are_kept:
            self._clear_operator()
        else:
            self.reset(wait=False)
        self._are_kept = False

    def wait_ssh(self, timeout_s: float = 30) -> None:
        self.each(lambda machine: machine.wait_ssh(timeout_s))

    def _create_machine(self, name: str) -> Machine:
        address = str(self._first_address + self._machine_count)
        self._machine_count += 1
        self.workspace.keys.add_host(name, address)
        machine = Machine(name, address, self._machine_count, self.workspace, nests=self._nests)
        self.machines.append(machine)
        return machine

    # The operator's side

    @property
    def workspace(self) -> workspace.Workspace:
        if self._workspace is None:
            raise LabError("this lab is closed")
        return self._workspace

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
        """Enter the namespace with this thread. Sockets that it creates, asyncio's too, stay in the namespace."""
        return self.workspace.namespace.inside()

    def run(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, user: str | None = None,
        cwd: Path | None = None, stdin: str | None = None, timeout_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command of the operator in the namespace. No exit status raises. `env` is added to the environment."""
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
        """Start a command of the operator in the namespace.

        The pid is that of the command itself, so `kill()` works. The command ends with the lab at the latest.
        """
        cgroup = Cgroup(f"{self.workspace.lab_id}/operator")
        cgroup.create()
        command = cgroup.entering([*_as_user(user), *map(str, argv)])
        environment = None if env is None else {**os.environ, **env}
        with self.inside():
            process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, text=True
            )
        self._commands.append(process)
        return process

    def _clear_operator(self) -> None:
        """Kill all commands with all their children, and stop all servers."""
        while self._commands:
            _end(self._commands.pop())  # a new process may not have entered the group yet
        Cgroup(f"{self.workspace.lab_id}/operator").kill()
        while self.http_servers:
            self.http_servers.pop().stop()

    def ssh(self, host: str, command: str, *, user: str = "root", stdin: str | None = None) -> str:
        """Run a command on a host, and return its output. An exit status other than 0 raises LabError."""
        done = self.run(["ssh", "-F", self.ssh_config, "-l", user, host, command], stdin=stdin)
        if done.returncode != 0:
            output = f"status {done.returncode}\n{done.stdout}{done.stderr}"
            raise LabError(f"ssh {user}@{host} {command}: {output}")
        return done.stdout

    def http_server(self, folder: Path, port: int = 0) -> HttpServer:
        """Start a server of a folder. It stops with `stop()`, `reset` or the lab."""
        server = HttpServer(self.workspace.namespace, self.operator_address, folder, port)
        self.http_servers.append(server)
        return server

    def serve_packages(self) -> HttpServer:
        """Serve the repository of the machines' sources.list. Before this call, the mirror is down for the machines."""
        return self.http_server(package_repository(), workspace.PACKAGES_PORT)

    def cluster_yaml(self, name: str = "prod", version: str = "3.6.14") -> str:
        """Return a cluster.yaml with the current machines."""
        hosts = "".join(f"  - {{name: {machine.name}, address: {machine.address}}}\n" for machine in self)
        ssh = f"ssh: {{user: root, identity_file: {self.identity_file}, known_hosts: {self.known_hosts}}}\n"
        return f"name: {name}\nversion: {version}\nhosts:\n{hosts}{ssh}"


def _end(process: subprocess.Popen[str]) -> None:
    """Kill and reap a process and close its pipes, so that a later test gets no ResourceWarning for it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()


def _as_user(user: str | None) -> list[str]:
    """Return the words that change the user. They follow the words that enter the control group as root."""
    if user is None:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups"]
