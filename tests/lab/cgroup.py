"""A control group for each machine: its systemd manages only this group, and a power cut kills all of it at once."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.shell import LabError

TOP = "etcdup-lab"

ENTER = """
until [ "$1" = -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done
shift; exec "$@"
"""


def hierarchies() -> list[Path]:
    """Return the hierarchies in which systemd tracks processes: cgroup2, and `name=systemd` on hybrid hosts."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.setdefault(kind, Path(where))
    return [found[kind] for kind in ("cgroup2", "cgroup") if kind in found]


class Cgroup:
    """The group `name` below the lab's top group, in every hierarchy that systemd uses."""

    def __init__(self, name: str) -> None:
        self.folders = [hierarchy / TOP / name for hierarchy in hierarchies()]

    def create(self) -> None:
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)

    def entering(self, argv: Sequence[str]) -> list[str]:
        """Return the command that enters this group and then executes `argv` with the same process ID."""
        return ["/bin/sh", "-c", ENTER, "sh", *map(str, self.folders), "--", *argv]

    def kill(self, timeout_s: float = 10) -> None:
        """Kill all processes in the group and below with one write to cgroup.kill, and wait until they are gone."""
        group = self.folders[0]
        if not group.exists():
            return
        (group / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + timeout_s
        while "populated 1" in (group / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise LabError(f"{group} still has processes {timeout_s:.0f} s after the kill")
            time.sleep(0.005)

    def remove(self) -> None:
        """Remove the group and the groups below it. All must be empty."""
        for folder in self.folders:
            below = [path for path in folder.rglob("*") if path.is_dir()] if folder.exists() else []
            for path in [*sorted(below, reverse=True), folder]:
                with contextlib.suppress(FileNotFoundError):
                    path.rmdir()
