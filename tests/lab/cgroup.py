"""A control group for each machine: its systemd manages only its own, and a power cut takes all at once."""

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
    """Where systemd keeps track of processes: cgroup2 first, and on hybrid hosts `name=systemd` beside it."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.setdefault(kind, Path(where))
    return [found[kind] for kind in ("cgroup2", "cgroup") if kind in found]


class Cgroup:
    """`name` below the lab's top group, in every hierarchy that systemd uses."""

    def __init__(self, name: str) -> None:
        self.folders = [hierarchy / TOP / name for hierarchy in hierarchies()]

    def create(self) -> None:
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)

    def entering(self, argv: Sequence[str]) -> list[str]:
        """The command that enters this group and then becomes `argv`, under the same process id."""
        return ["/bin/sh", "-c", ENTER, "sh", *map(str, self.folders), "--", *argv]

    def kill(self, timeout_s: float = 10) -> None:
        """All processes in it and below, in one stroke of the kernel; returns when they are gone."""
        group = self.folders[0]
        if not group.exists():
            return
        (group / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + timeout_s
        while "populated 1" in (group / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise LabError(f"{group} still has processes {timeout_s:.0f} s after they were killed")
            time.sleep(0.005)

    def remove(self) -> None:
        """Empty groups only: the kernel refuses others."""
        for folder in self.folders:
            below = [path for path in folder.rglob("*") if path.is_dir()] if folder.exists() else []
            for path in [*sorted(below, reverse=True), folder]:
                with contextlib.suppress(FileNotFoundError):
                    path.rmdir()
