"""SSH keys and configuration of the lab. Host keys exist before the first boot, so host key checking is strict."""

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.base_image import USERS
from tests.lab.shell import run

# A machine that has no address yet does not respond. A new attempt finds it sooner than a longer timeout.
CONNECT_RETRY_S = 0.1
BANNER_S = 2.0


@dataclass(frozen=True)
class Keys:
    """A folder with key pairs of the operator and of each machine. A machine keeps its pair after a reset."""

    folder: Path

    @property
    def identity_file(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    def create(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o755)
        _keygen(self.identity_file, "operator")
        self.known_hosts.touch()
        self.ssh_config.touch()

    def add_host(self, name: str, address: str) -> None:
        """Create the host key of a machine, and its lines in known_hosts and ssh_config."""
        key = self.host_key(name)
        _keygen(key, name)
        kind, public, _ = key.with_suffix(".pub").read_text().split()
        with self.known_hosts.open("a") as known_hosts:
            known_hosts.write(f"{name},{address} {kind} {public}\n")
        with self.ssh_config.open("a") as config:
            config.write(
                f"Host {name} {address}\n  HostName {address}\n  User root\n"
                f"  IdentityFile {self.identity_file}\n  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {self.known_hosts}\n  StrictHostKeyChecking yes\n"
            )

    def add_address(self, name: str, address: str) -> None:
        """Add the same host key for a second address."""
        kind, public, _ = self.host_key(name).with_suffix(".pub").read_text().split()
        with self.known_hosts.open("a") as known_hosts:
            known_hosts.write(f"{address} {kind} {public}\n")

    def host_key(self, name: str) -> Path:
        return self.folder / f"host_{name}"


def seed_ssh(root: Path, keys: Keys, name: str) -> None:
    """Write the machine's host key, and the operator's public key for all users."""
    key = keys.host_key(name)
    _write_file(root / "etc/ssh/ssh_host_ed25519_key", key.read_text(), 0o600)
    _write_file(root / "etc/ssh/ssh_host_ed25519_key.pub", key.with_suffix(".pub").read_text(), 0o644)
    authorized = keys.identity_file.with_suffix(".pub").read_text()
    for user in USERS:
        home = root / ("root" if user == "root" else f"home/{user}")
        (home / ".ssh").mkdir(exist_ok=True)
        (home / ".ssh").chmod(0o700)
        _write_file(home / ".ssh/authorized_keys", authorized, 0o600)
        run(["chown", "-R", f"--reference={home}", home / ".ssh"])


def wait_for_sshd(address: str, timeout_s: float) -> bool:
    """Wait until sshd sends its banner, and return whether it did. An open port alone is not enough."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=CONNECT_RETRY_S) as connection:
                connection.settimeout(BANNER_S)
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            time.sleep(0.02)
    return False


def _keygen(path: Path, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def _write_file(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)
