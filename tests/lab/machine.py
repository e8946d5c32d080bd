"""A Debian machine with systemd and sshd: a systemd-nspawn container that can lose power, network and disk."""

import os
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
SIGRTMIN_PLUS_4 = "38"  # the signal on which systemd as process 1 powers off
FILLER = ".lab-filler"
# What container engines need inside of a machine. Control groups have no controllers there, so engines set no limits.
NESTED = ("--system-call-filter=add_key keyctl bpf",)
LATE_NETWORK = "lab-late-network.service"
LATE_NETWORK_UNIT = """\
[Unit]
DefaultDependencies=no
Before=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sleep {seconds}
[Install]
WantedBy=network-online.target
"""


class Machine:
    """A machine of a Lab, for example `infra1` at 192.168.8.66. Methods wait for their effect, except as noted."""

    def __init__(self, name: str, address: str, number: int, workspace: Workspace, *, nests: bool) -> None:
        self.name = name
        self._nests = nests
        self.address = self._first_address = address
        self.cgroup = Cgroup(f"{workspace.lab_id}/{name}")
        self._workspace = workspace
        self._id = f"{workspace.lab_id}-{name}"
        self._link = Link(workspace.namespace, self._id, number, self.cgroup)
        self._disk = Disk(workspace.folder / name, workspace.base)
        self._console = workspace.folder / f"{name}.console"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Machine {self.name} {self.address}>"

    # Power

    def start(self) -> None:
        """Power on, with a new disk if there is none. Does not wait for sshd: see `wait_ssh`."""
        if self.is_on():
            raise LabError(f"{self.name} is already on")
        if not self.root.is_mount():
            self._disk.create()
            self._seed()
        self._disk.mount_volumes()
        self.cgroup.create()
        with self._console.open("ab") as console, self._workspace.namespace.inside():
            self._nspawn = subprocess.Popen(
                self.cgroup.entering(self._nspawn_argv()),
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if self._nests else None,
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip

    def wait_ssh(self, timeout_s: float = 30) -> None:
        """Wait until sshd sends its banner."""
        with self._workspace.namespace.inside():
            if not wait_for_sshd(self.address, timeout_s):
                raise LabError(
                    f"{self.name}: sshd is not ready after {timeout_s:.0f} s\n{self._console_tail()}"
                )

    def kill(self) -> None:
        """Cut the power: kill all processes at once. Unsynced writes are not lost, because the kernel keeps running."""
        self.cgroup.kill()
        if self._nspawn is not None:
            self._nspawn.kill()  # a new process may not have entered the group yet
            self._nspawn.wait()
            self._nspawn = None
            self.cgroup.kill()
        self._link.remove_interface()

    def shut_down(self, timeout_s: float = 60) -> None:
        """Power off in order, as `systemctl poweroff` does."""
        if self._nspawn is not None:
            run(["kill", f"-{SIGRTMIN_PLUS_4}", str(self.init_pid())])
            self._nspawn.wait(timeout_s)
        self.kill()

    def reboot(self, timeout_s: float = 30) -> None:
        """Cut the power, start again with the same disk, and wait for sshd."""
        self.kill()
        self.start()
        self.wait_ssh(timeout_s)

    def reset(self) -> None:
        """Cut the power and start with a new disk, the same address and host key. Does not wait for sshd."""
        self.remove()
        self.start()

    def remove(self) -> None:
        """Cut the power and delete the disk."""
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
            *(NESTED if self._nests else ()),
        ]  # fmt: skip

    def _seed(self) -> None:
        """Write the files that differ from the base image."""
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (etc / "systemd/network/10-host0.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )
        (etc / "apt/sources.list").write_text(f"deb [trusted=yes] {self._workspace.packages_url} ./\n")
        seed_ssh(self.root, self._workspace.keys, self.name)

    def _console_tail(self) -> str:
        return "\n".join(self._console.read_text(errors="replace").splitlines()[-20:])

    # Network. A power cut removes all these faults, because the next start creates a new link.

    def readdress(self, address: str) -> None:
        """Add a second address and use it from now on. The first address stays until `reset`."""
        self.run(f"ip address add {address}/24 dev host0")
        self.run(f"sed -i '/^Address=/a Address={address}/24' /etc/systemd/network/10-host0.network")
        self._workspace.keys.add_address(self.name, address)
        self.address = address

    def cut_off(self) -> None:
        """Take the link down: connections hang and are not refused."""
        self._link.down()

    def cut_off_from(self, *others: "Machine | str") -> None:
        """Block the traffic with these machines or addresses in both directions. All others are not affected."""
        for other in others:
            address = other if isinstance(other, str) else other.address
            self.run(f"ip route replace blackhole {address}/32")

    def reconnect(self) -> None:
        """Undo `cut_off`, `cut_off_from`, `deny` and `slow`."""
        self._link.reset_speed()
        self._link.up()
        self.run("ip route flush type blackhole")

    def deny(self, *others: "Machine") -> None:
        """Block new connections from these machines to this one, as a firewall does. The other direction works."""
        self._link.slow(0, 0, [other.address for other in others])

    def slow(self, delay_ms: float, loss: float = 0.0) -> None:
        """Delay each frame in both directions by `delay_ms` (a round trip: twice that), and drop this share."""
        self._link.slow(delay_ms, loss)

    # Disk

    @property
    def root(self) -> Path:
        """The machine's file system on this computer, also while it is off, without its own mounts (/run, /tmp)."""
        return self._disk.root

    def small_disk(self, path: str, size_mib: int) -> None:
        """Mount an ext4 file system of this size on `path`, also after each reboot. It contains a lost+found."""
        image = self._disk.add_volume(path, size_mib)
        if not self.is_on():
            return
        loop = run(["losetup", "--find", "--show", image]).stdout.strip()
        minor = loop.removeprefix("/dev/loop")
        # The machine mounts it itself, so the mount ends with the machine. The kernel then frees the loop device.
        self.run(f"mkdir -p {path}; [ -e {loop} ] || mknod {loop} b 7 {minor}; mount -t ext4 {loop} {path}")
        run(["losetup", "--detach", loop])

    def fill_disk(self, path: str) -> None:
        """Fill a small disk until "No space left on device". Any other disk is shared with this computer."""
        if not self._disk.has_volume(path):
            raise LabError(f"{path} on {self.name} is not a small disk")
        fill = f"dd if=/dev/zero bs=$size >>{shlex.quote(path)}/{FILLER} 2>/dev/null"
        self.run(f"for size in 1M 4k; do {fill}; done; sync")

    def free_disk(self, path: str) -> None:
        self.run(f"rm -f {shlex.quote(path)}/{FILLER}")

    def read(self, path: str) -> str:
        return self.run(f"cat {shlex.quote(path)}").stdout

    def write(self, path: str, text: str, mode: str = "644") -> None:
        quoted = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {quoted}); cat >{quoted}; chmod {mode} {quoted}", stdin=text)

    # Network of systemd

    def delay_network_online(self, seconds: float) -> None:
        """Let network-online.target be reached only this long after it is first needed, now and after each boot."""
        self.write(f"/etc/systemd/system/{LATE_NETWORK}", LATE_NETWORK_UNIT.format(seconds=seconds))
        self.run(f"systemctl daemon-reload; systemctl enable {LATE_NETWORK}")

    # Clock

    def shift_clock(self, seconds: float) -> None:
        """Shift the clock of commands over SSH, also under sudo. Services and `run` keep the computer's time."""
        if seconds == 0:
            self.run(f"rm -f {CLOCK}")
            return
        lines = ["LD_PRELOAD=/usr/local/lib/libfaketime.so", f"FAKETIME={seconds:+}", "DONT_FAKE_MONOTONIC=1"]
        self.write(CLOCK, "".join(f"export {line}\n" for line in lines))

    # Commands without SSH

    def run(
        self, command: str, *, check: bool = True, stdin: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root in the machine's namespaces. It needs neither network nor sshd."""
        env = [f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]
        argv = [*self._nsenter(), "env", "-i", *env, "/bin/sh", "-c", command]
        return run(argv, check=check, stdin=stdin, timeout_s=timeout_s)

    def init_pid(self, timeout_s: float = 10) -> int:
        """Return the process ID on this computer of the machine's process 1."""
        deadline = time.monotonic() + timeout_s
        while self.is_on() and time.monotonic() < deadline:
            assert self._nspawn is not None
            for child in _children(self._nspawn.pid):
                if _is_systemd(child):
                    return child
            time.sleep(0.01)
        raise LabError(f"{self.name} is off\n{self._console_tail() if self._console.exists() else ''}")

    def _nsenter(self) -> Sequence[str]:
        return ["nsenter", "--all", f"--target={self.init_pid()}", "--"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_systemd(pid: int) -> bool:
    """Return whether a process is systemd. At first, process 1 is nspawn, which still creates the namespaces."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return False
    facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    return facts["Name"] == "systemd" and facts["NSpid"].split()[-1] == "1"
