"""Predicates for the state of a member's process and of its disk in an observation."""

from etcdup.core.observed.directory import DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.spec.units import show_size

# With less free space, etcd cannot create its next write-ahead log file, which it preallocates with 64 MB.
FULL_BYTES = 64 * 1024**2
# At its start, etcd preallocates two of these files. The rest is for the database.
ENOUGH_BYTES = 256 * 1024**2


def is_stopped(observed: Observed, name: str) -> bool:
    """Return True if the host is reachable, its member does not answer, and etcd neither runs nor starts.

    A failed unit that systemd will restart after its delay counts as stopped, and so does a unit whose start waits in
    systemd's queue. Compare `is_inactive`.
    """
    seen = observed.reachable().get(name)
    silent = isinstance(observed.members[name], MemberSilent)
    if not isinstance(seen, HostSeen) or not silent:
        return False
    return not seen.unit.is_running and not seen.unit.is_starting


def is_inactive(seen: HostSeen) -> bool:
    """Return True if there is no process, and systemd will not start one by itself.

    A failed unit that systemd will restart after its delay is not inactive, and neither is a queued start.
    """
    unit = seen.unit
    return not unit.is_running and unit.active in ("inactive", "failed") and not unit.is_coming_up


def full_directory(seen: HostSeen) -> DirSeen | None:
    """Return the directory of etcd whose disk is full, or None."""
    return next((each for each in (seen.data, seen.wal) if each and each.free_bytes < FULL_BYTES), None)


def free_space_hint(host: str, directory: DirSeen) -> str:
    """Return how an operator frees space for a member. The files of its data directory are the member."""
    path, size = directory.path, show_size(ENOUGH_BYTES)
    return (
        f"on {host}, free at least {size} on the file system of {path}, and delete no file in {path}. `etcdup archive "
        "list` shows old data, and what `restore --undo` still needs of it. "
        f"`find $(df --output=target {path} | tail -n 1) -xdev -size +100M` lists large files. Then run `etcdup apply`"
    )
