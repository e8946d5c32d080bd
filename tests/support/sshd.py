"""A real sshd for one test, on a loopback port, as root or as any user."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from etcdup.core.spec.model import HostSpec, SshSpec

LOOPBACK = "127.0.0.1"
PRIVILEGE_SEPARATION = Path("/run/sshd")
START_WITHIN_S = 10


def find_sshd() -> str:
    """Return the path of sshd. Skip the test if it is not installed."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def new_key(folder: Path, name: str, *, passphrase: str | None = None, kind: str = "ssh-ed25519") -> Path:
    """Create a key pair in a folder, and return the path of the private key."""
    key = asyncssh.generate_private_key(kind, comment=name)
    path = folder / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bcrypt warns about 16 rounds, which is the default of ssh-keygen
        key.write_private_key(path, "openssh", passphrase, rounds=16)
    path.chmod(0o600)
    key.write_public_key(f"{path}.pub")
    return path


@dataclass
class Sshd:
    """A running sshd, and the files of a user who can log in."""

    folder: Path
    port: int
    identity: Path
    known_hosts: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def host(self, name: str = "infra1") -> HostSpec:
        return HostSpec(name=name, address=LOOPBACK)

    def ssh(self, **changes: object) -> SshSpec:
        """Return the SSH settings for this sshd. The user's ssh_config is not used."""
        settings: dict[str, object] = {
            "port": self.port,
            "identity_file": str(self.identity),
            "known_hosts": str(self.known_hosts),
            "config_file": os.devnull,
        }
        return SshSpec.model_validate({**settings, **changes})

    def known_hosts_line(self, key: Path | None = None) -> str:
        public = Path(f"{key or self.folder / 'host_key'}.pub").read_text()
        return f"[{LOOPBACK}]:{self.port} {public}"

    def log(self) -> str:
        return (self.folder / "sshd.log").read_text()

    def cut(self) -> None:
        """Kill the processes of all connections. The listener keeps running."""
        for pid in _children(self.process.pid):
            _kill_tree(pid)

    def freeze(self) -> None:
        """Stop the processes of all connections with SIGSTOP, so that the peer is silent."""
        for pid in _children(self.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def stop(self) -> None:
        _kill_tree(self.process.pid)
        self.process.wait()


@contextmanager
def run_sshd(
    folder: Path, *, identity: Path | None = None, options: str = "", wrapper: Sequence[str] = ()
) -> Iterator[Sshd]:
    """Run sshd with a new host key. `options` are further lines of sshd_config, which take precedence.

    `wrapper` is a command that executes the words after it.
    """
    program = find_sshd()
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    host_key = new_key(folder, "host_key")
    identity = identity or new_key(folder, "identity")
    port = free_port()
    authorized = _readable_by_all(f"{identity}.pub")
    config = folder / "sshd_config"
    config.write_text(_config(port, host_key, authorized, options))
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [*wrapper, program, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log
        )
    sshd = Sshd(folder, port, identity, folder / "known_hosts", process)
    sshd.known_hosts.write_text(sshd.known_hosts_line())
    try:
        _wait_until_ready(sshd)
        yield sshd
    finally:
        sshd.stop()
        shutil.rmtree(authorized.parent)


def _readable_by_all(public_key: str) -> Path:
    """Return an authorized_keys file that all users can read, because sshd reads it as the user who logs in."""
    folder = Path(tempfile.mkdtemp(prefix="etcdup-sshd-"))
    folder.chmod(0o755)
    path = folder / "authorized_keys"
    path.write_text(Path(public_key).read_text())
    path.chmod(0o644)
    return path


def _config(port: int, host_key: Path, authorized: Path, options: str) -> str:
    return f"""\
{options}
Port {port}
ListenAddress {LOOPBACK}
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel VERBOSE
# A bash that sshd starts reads ~/.bashrc unless SHLVL is 2 or more. The user's ~/.bashrc is not under test.
SetEnv SHLVL=2
MaxStartups 100
"""


def _wait_until_ready(sshd: Sshd) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if sshd.process.poll() is not None:
            raise RuntimeError(f"sshd ended: {sshd.log()}")
        with suppress(OSError), socket.create_connection((LOOPBACK, sshd.port), 1) as probe:
            if probe.recv(4) == b"SSH-":
                return
        time.sleep(0.02)
    raise RuntimeError(f"sshd is not ready: {sshd.log()}")


def wait_for_file(folder: Path, pattern: str) -> None:
    """Wait until a file of this pattern is in the folder."""
    deadline = time.monotonic() + 10
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _kill_tree(pid: int) -> None:
    """Kill a process and its descendants, parents first, so that no parent starts another child."""
    below = _children(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in below:
        _kill_tree(child)
