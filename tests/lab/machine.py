"""A Debian machine with systemd and sshd: a systemd-nspawn container that can lose power, network, disk."""

import shlex
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.lab.base_image import CLOCK
from tests.lab.cgroup import Cgroup
from tests.lab.disk import Disk
from tests.lab.network import BRIDGE
from tests.lab.network_link import Link
from tests.lab.shell import LabError, run
from tests.lab.ssh import seed_ssh, wait_for_sshd
from tests.lab.workspace import Workspace

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SIGRTMIN_PLUS_4 = "38"  # what systemd as process 1 takes for "power off"
FILLER = ".lab-filler"


class Machine:
    """`infra1` at 192.168.8.66, say; made by a Lab. Methods return when it is so, except where said."""

    def __init__(self, name: str, address: str, number: int, grounds: Workspace) -> None:
        self.name = name
        self.address = self._first_address = address
        self.cgroup = Cgroup(f"{grounds.lab_id}/{name}")
        self._grounds = grounds
        self._id = f"{grounds.lab_id}-{name}"
        self._link = Link(grounds.namespace, self._id, number, self.cgroup)
        self._disk = Disk(grounds.folder / name, grounds.base)
        self._console = grounds.folder / f"{name}.console"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Machine {self.name} {self.address}>"

    # Power

    def start(self) -> None:
        """Power on; with a new disk if it has none. Returns before sshd answers: see `wait_ssh`."""
        if self.is_on():
            raise LabError(f"{self.name} is on already")
        if not self.root.is_mount():
            self._disk.create()
            self._seed()
        self._disk.mount_volumes()
        self.cgroup.create()
        with self._console.open("ab") as console, self._grounds.namespace.inside():
            self._nspawn = subprocess.Popen(
                self.cgroup.entering(self._nspawn_argv()),
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip

    def wait_ssh(self, timeout_s: float = 30) -> None:
        """Until sshd greets."""
        with self._grounds.namespace.inside():
            if not wait_for_sshd(self.address, timeout_s):
                raise LabError(f"{self.name}: no sshd within {timeout_s:.0f} s\n{self._console_tail()}")

    def kill(self) -> None:
        """A power cut: every process at once. Writes not yet on the disk are not lost: the kernel is ours."""
        self.cgroup.kill()
        if self._nspawn is not None:
            self._nspawn.kill()  # just started, it may not have been in the group yet
            self._nspawn.wait()
            self._nspawn = None
            self.cgroup.kill()
        self._link.remove_interface()

    def shut_down(self, timeout_s: float = 60) -> None:
        """An orderly power-off, as `systemctl poweroff` does it."""
        if self._nspawn is not None:
            run(["kill", f"-{SIGRTMIN_PLUS_4}", str(self.leader())])
            self._nspawn.wait(timeout_s)
        self.kill()

    def reboot(self, timeout_s: float = 30) -> None:
        """A power cut, then on again with the same disk, until sshd answers."""
        self.kill()
        self.start()
        self.wait_ssh(timeout_s)

    def reset(self) -> None:
        """As if just bought: power cut, new disk, same address and host key. Returns before sshd answers."""
        self.remove()
        self.start()

    def remove(self) -> None:
        """Gone for good with its disk."""
        self.kill()
        self._disk.destroy()
        self.address = self._first_address

    def is_on(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def _nspawn_argv(self) -> list[str]:
        return [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe",
            f"--directory={self.root}", f"--machine={self._id}", f"--hostname={self.name}",
            f"--network-bridge={BRIDGE}", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        ]  # fmt: skip

    def _seed(self) -> None:
        """What makes this machine differ from the base image."""
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (etc / "systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )
        (etc / "apt/sources.list").write_text(f"deb [trusted=yes] {self._grounds.packages_url} ./\n")
        seed_ssh(self.root, self._grounds.keys, self.name)

    def _console_tail(self) -> str:
        return "\n".join(self._console.read_text(errors="replace").splitlines()[-20:])

    # Network. A power cut mends it all: the next start comes with a new cable.

    def readdress(self, address: str) -> None:
        """It gets a second address, which is the one to reach it by from now on; the first stays until `reset`."""
        self.run(f"ip address add {address}/24 dev host0")
        self.run(f"sed -i '/^Address=/a Address={address}/24' /etc/systemd/network/10-host0.network")
        self._grounds.keys.add_address(self.name, address)
        self.address = address

    def cut_off(self) -> None:
        """The cable is pulled: connections hang, nothing is refused."""
        self._link.down()

    def cut_off_from(self, *others: "Machine | str") -> None:
        """Only from these machines or addresses, both ways; the operator, say, still reaches it."""
        for other in others:
            address = other if isinstance(other, str) else other.address
            self.run(f"ip route replace blackhole {address}/32")

    def reconnect(self) -> None:
        """Undoes `cut_off`, `cut_off_from`, `deny` and `slow`."""
        self._link.reset_speed()
        self._link.up()
        self.run("ip route flush type blackhole")

    def deny(self, *others: "Machine") -> None:
        """A firewall in front of it, in one direction: these open no new connection to it, it does to them."""
        self._link.slow(0, 0, [other.address for other in others])

    def slow(self, delay_ms: float, loss: float = 0.0) -> None:
        """Holds each frame to and from it for `delay_ms` (a round trip: twice that), drops this share."""
        self._link.slow(delay_ms, loss)

    # Disk

    @property
    def root(self) -> Path:
        """Its file system seen from here, also when it is off; without its own mounts (/run, /tmp)."""
        return self._disk.root

    def small_disk(self, path: str, size_mib: int) -> None:
        """An ext4 of this size mounted on `path`, lost+found in it as on any; there again after a reboot."""
        image = self._disk.add_volume(path, size_mib)
        if not self.is_on():
            return
        loop = run(["losetup", "--find", "--show", image]).stdout.strip()
        minor = loop.removeprefix("/dev/loop")
        # The machine's own mount, not ours, so it ends with the machine; then the loop device frees itself.
        self.run(f"mkdir -p {path}; [ -e {loop} ] || mknod {loop} b 7 {minor}; mount -t ext4 {loop} {path}")
        run(["losetup", "--detach", loop])

    def fill_disk(self, path: str) -> None:
        """Until "No space left on device". Only a small disk: every other one is this computer's own."""
        if not self._disk.has_volume(path):
            raise LabError(f"{path} on {self.name} is no small disk")
        fill = f"dd if=/dev/zero bs=$size >>{shlex.quote(path)}/{FILLER} 2>/dev/null"
        self.run(f"for size in 1M 4k; do {fill}; done; sync")

    def free_disk(self, path: str) -> None:
        self.run(f"rm -f {shlex.quote(path)}/{FILLER}")

    def read(self, path: str) -> str:
        return self.run(f"cat {shlex.quote(path)}").stdout

    def write(self, path: str, text: str, mode: str = "644") -> None:
        quoted = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {quoted}); cat >{quoted}; chmod {mode} {quoted}", stdin=text)

    # Clock

    def shift_clock(self, seconds: float) -> None:
        """For commands run over SSH, under sudo too. Services and `run` keep the common time."""
        if seconds == 0:
            self.run(f"rm -f {CLOCK}")
            return
        lines = ["LD_PRELOAD=/usr/local/lib/libfaketime.so", f"FAKETIME={seconds:+}", "DONT_FAKE_MONOTONIC=1"]
        self.write(CLOCK, "".join(f"export {line}\n" for line in lines))

    # Inside, without SSH

    def run(
        self, command: str, *, check: bool = True, stdin: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A shell command as root inside it, by its namespaces: works when its network or sshd does not."""
        env = [f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]
        argv = [*self._nsenter(), "env", "-i", *env, "/bin/sh", "-c", command]
        return run(argv, check=check, stdin=stdin, timeout_s=timeout_s)

    def leader(self, timeout_s: float = 10) -> int:
        """The process id, seen from here, of its process 1: nspawn's child that is 1 elsewhere."""
        deadline = time.monotonic() + timeout_s
        while self.is_on() and time.monotonic() < deadline:
            assert self._nspawn is not None
            for child in _children(self._nspawn.pid):
                if _is_systemd(child):
                    return child
            time.sleep(0.01)
        raise LabError(f"{self.name} is off\n{self._console_tail() if self._console.exists() else ''}")

    def _nsenter(self) -> Sequence[str]:
        return ["nsenter", "--all", f"--target={self.leader()}", "--"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_systemd(pid: int) -> bool:
    """Before it became systemd, process 1 is a copy of nspawn that still sets its namespaces up."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return False
    facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    return facts["Name"] == "systemd" and facts["NSpid"].split()[-1] == "1"
