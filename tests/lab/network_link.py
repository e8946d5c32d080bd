"""A machine's network link: taken down and up again, or made slow and lossy."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab.cgroup import Cgroup
from tests.lab.network import BRIDGE, Namespace
from tests.lab.shell import LabError

RELAY = Path(__file__).with_name("relay.py")


class Link:
    """The lab's end of a machine's network link. The link exists while the machine is on."""

    def __init__(self, namespace: Namespace, machine: str, number: int, cgroup: Cgroup) -> None:
        self.name = f"vb-{machine}"  # the name that systemd-nspawn gives it; a long name is an altname of the interface
        self._namespace = namespace
        self._far, self._near = f"far{number}", f"near{number}"
        self._cgroup = cgroup
        self._relay: subprocess.Popen[bytes] | None = None

    def down(self) -> None:
        self._namespace.ip("link", "set", "dev", self.name, "down")

    def up(self) -> None:
        self._namespace.ip("link", "set", "dev", self.name, "up")

    def slow(self, delay_ms: float, loss: float, denied: Sequence[str] = ()) -> None:
        """Put relay.py between the link and the bridge. Not every kernel has netem."""
        self.reset_speed()
        ip = self._namespace.ip
        ip("link", "add", self._far, "type", "veth", "peer", "name", self._near)
        ip("link", "set", "dev", self.name, "nomaster")
        ip("link", "set", self._near, "master", BRIDGE, "up")
        ip("link", "set", self._far, "up")
        words = (RELAY, self._interface(), self._far, delay_ms / 1000, loss, *denied)
        argv = [sys.executable, "-I", *map(str, words)]
        with self._namespace.inside():
            self._relay = subprocess.Popen(
                self._cgroup.entering(argv),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != b"ready\n":
            raise LabError(f"the relay of {self.name} did not start")

    def reset_speed(self) -> None:
        """Remove the relay."""
        if self._stop_relay():
            self._namespace.ip("link", "set", "dev", self.name, "master", BRIDGE)

    def remove_interface(self) -> None:
        """Remove the interface of a machine that lost power, before the next start creates it again.

        The kernel itself removes it only later.
        """
        self._namespace.ip("link", "delete", "dev", self.name, check=False)
        self._stop_relay()

    def _stop_relay(self) -> bool:
        if self._relay is None:
            return False
        self._relay.kill()
        self._relay.communicate()
        self._relay = None
        self._namespace.ip("link", "delete", self._far, check=False)
        return True

    def _interface(self) -> str:
        """Return the interface's primary name, because packet sockets do not accept altnames."""
        shown = self._namespace.ip("-o", "link", "show", "dev", self.name)
        return shown.split()[1].split("@")[0].rstrip(":")
