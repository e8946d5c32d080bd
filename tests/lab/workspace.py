"""The ID, folder and namespace of a lab. A live process owns them; the next lab removes those of dead processes."""

import fcntl
import itertools
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.lab.cgroup import Cgroup
from tests.lab.disk import unmount_below
from tests.lab.network import Namespace
from tests.lab.ssh import Keys
from tests.support.cache import cache_dir, file_lock

PACKAGES_PORT = 8079
OWNER = "owner"

_counter = itertools.count(1)


@dataclass(frozen=True)
class Workspace:
    lab_id: str
    folder: Path
    base: Path
    operator_address: str
    owner: IO[str] = field(repr=False)  # this process holds a lock on the file until it ends

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.lab_id)

    @property
    def keys(self) -> Keys:
        return Keys(self.folder / "ssh")

    @property
    def packages_url(self) -> str:
        return f"http://{self.operator_address}:{PACKAGES_PORT}/"


def runs() -> Path:
    return cache_dir() / "lab" / "run"


def claim_workspace(base: Path, operator_address: str) -> Workspace:
    """Create a workspace for this process, after the workspaces of dead processes are removed."""
    with file_lock(runs() / ".lock"):
        remove_dead_workspaces()
        lab_id = f"etcdup-{os.getpid()}-{next(_counter)}"
        folder = runs() / lab_id
        folder.mkdir()
        owner = (folder / OWNER).open("w")
        fcntl.flock(owner, fcntl.LOCK_EX)
        print(os.getpid(), file=owner, flush=True)
    return Workspace(lab_id, folder, base, operator_address, owner)


def release_workspace(workspace: Workspace) -> None:
    remove_workspace(workspace.folder)
    workspace.owner.close()


def remove_dead_workspaces() -> None:
    """Remove the labs whose process is dead, and nothing that does not have their IDs."""
    for folder in runs().glob("etcdup-*"):
        if not _owner_is_alive(folder):
            remove_workspace(folder)


def remove_workspace(folder: Path) -> None:
    """Remove everything that the lab of this folder created: processes, mounts, namespace, control groups, files."""
    lab_id = folder.name
    cgroup = Cgroup(lab_id)
    cgroup.kill()
    unmount_below(folder)
    Namespace(lab_id).delete()
    cgroup.remove()
    shutil.rmtree(folder, ignore_errors=True)


def _owner_is_alive(folder: Path) -> bool:
    """Return whether the lock is held. A process ID proves nothing: IDs are reused and differ between containers."""
    try:
        with (folder / OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
