"""A machine's disk: an overlay on the base image, on a real file system, so that fdatasync has its real cost."""

import shutil
import time
from pathlib import Path

from tests.lab.shell import LabError, run


class Disk:
    """`root` is the machine's file system, without the file systems that the machine itself mounts."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.root = folder / "root"
        self._base = base
        self._folder = folder
        self._volumes: dict[str, Path] = {}

    def create(self) -> None:
        for name in ("root", "upper", "work", "volumes"):
            (self._folder / name).mkdir(parents=True)
        layers = f"lowerdir={self._base},upperdir={self._folder / 'upper'},workdir={self._folder / 'work'}"
        run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root])

    def destroy(self) -> None:
        unmount_below(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._volumes.clear()

    def add_volume(self, path: str, size_mib: int) -> Path:
        """Create an ext4 file system for `path` in a file, and return the file. It is mounted before each start."""
        image = self._folder / "volumes" / path.strip("/").replace("/", "-")
        with image.open("xb") as file:
            file.truncate(size_mib << 20)
        run(["mkfs.ext4", "-q", "-m", "0", image])
        self._volumes[path] = image
        return image

    def has_volume(self, path: str) -> bool:
        return path in self._volumes

    def mount_volumes(self) -> None:
        for path, image in self._volumes.items():
            where = self.root / path.lstrip("/")
            where.mkdir(parents=True, exist_ok=True)
            if not where.is_mount():
                run(["mount", "-o", "loop", image, where])


def unmount_below(folder: Path, timeout_s: float = 5) -> None:
    """Unmount everything below `folder`. A machine that was just killed may hold its mounts a moment longer."""
    deadline = time.monotonic() + timeout_s
    for where in reversed(_mounts_below(folder)):
        while (done := run(["umount", where], check=False)).returncode != 0:
            if time.monotonic() > deadline:
                raise LabError(f"cannot unmount {where}: {done.stderr.strip()}")
            time.sleep(0.05)


def _mounts_below(folder: Path) -> list[str]:
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [where for where in mounted if Path(where).is_relative_to(folder)]
