"""Room on a full disk: what etcdup put there and can bring again goes; old data is told of, never touched."""

from collections.abc import Mapping
from dataclasses import dataclass

from etcdup.core.observed.model import ASIDE_PREFIX, DirSeen, HostSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import FreeSpace
from etcdup.core.recovery.disk_salvage import salvage_path
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

DISK_SPACE_TIMEOUT_S = 60.0
# Below this etcd cannot even make its next log file, which it takes 64 MB for at once.
FULL_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class DiskSpace:
    """On the file system of a host's data, in bytes by path: what may go, and old data, which may not."""

    spare: Mapping[str, int]
    kept: Mapping[str, int]


def full_directory(seen: HostSeen) -> DirSeen | None:
    """The directory of etcd's whose disk is full."""
    return next((each for each in (seen.data, seen.wal) if each and each.free_bytes < FULL_BYTES), None)


def disk_space_argv(spec: Spec, seen: HostSeen) -> tuple[str, ...]:
    """A read-only command that says what lies on the disk that is full."""
    directory, layout = full_directory(seen) or seen.data, layout_of(spec, spec.host(seen.host))
    return ("sh", "-c", DISK_SPACE_SCRIPT, "room", directory.path, layout.versions, *_in_use(seen))


def parse_disk_space(stdout: str) -> DiskSpace:
    """Raises ValueError."""
    found: dict[str, dict[str, int]] = {"spare": {}, "kept": {}}
    for line in stdout.splitlines():
        kind, kib, path = line.split(" ", 2)
        found[kind][path] = int(kib) * 1024
    return DiskSpace(found["spare"], found["kept"])


def can_free_enough(seen: HostSeen, room: DiskSpace | None) -> bool:
    """Whether etcd could go on once all that may go is gone."""
    directory = full_directory(seen)
    return directory is None or (
        room is not None and directory.free_bytes + sum(room.spare.values()) >= FULL_BYTES
    )


def free_space_step(seen: HostSeen, room: DiskSpace) -> FreeSpace:
    directory = full_directory(seen) or seen.data
    return FreeSpace(
        host=seen.host,
        paths=tuple(sorted(room.spare)),
        reason=f"{directory.path} has {show_size(directory.free_bytes)} left: etcd cannot write",
        rules=(68,),
    )


def refuse_free_space(step: FreeSpace, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Nothing goes but unpacked versions that nobody uses, and copies that were never finished or were for one use."""
    seen = observed.reachable().get(step.host)
    if seen is None:
        return (Refused(f"{step.host} cannot be reached", host=step.host),)
    layout = layout_of(spec, spec.host(step.host))
    wrong = [path for path in step.paths if not _can_remove(path, layout, seen)]
    return (Refused(f"{wrong[0]} on {step.host} is not to be removed", host=step.host),) if wrong else ()


def full_disk_remedy(seen: HostSeen, room: DiskSpace | None) -> str:
    """What a person has to do about a full disk."""
    directory = full_directory(seen) or seen.data
    need = show_size(FULL_BYTES)
    said = f"the disk of {seen.host} is full: make {need} of room in {directory.path}, then `etcdup apply`"
    kept = sorted(room.kept.items(), key=lambda each: -each[1]) if room else []
    old = ", ".join(f"{path} ({show_size(size)})" for path, size in kept)
    return f"{said}. Old data lies there, which only you may move away: {old}" if old else said


def _can_remove(path: str, layout: Layout, seen: HostSeen) -> bool:
    parent, _, name = path.rpartition("/")
    if parent == layout.versions:
        return name not in ("", ".", "..", "current", *_in_use(seen))
    left = {salvage_path(each) for each in (seen.data, seen.wal) if each}
    return (name.endswith(".part") and "cold-" in name) or path.removesuffix(".part") in left


def _in_use(seen: HostSeen) -> tuple[str, ...]:
    """Versions that run or would be started."""
    running = seen.unit.exe.removesuffix(" (deleted)").split("/")[-2:-1]
    return tuple(dict.fromkeys((*running, *filter(None, (seen.current,)))))


DISK_SPACE_SCRIPT = r"""
set -eu
directory=$1 versions=$2
shift 2
device=$(stat -c %d -- "$directory")
told() {
  [ -d "$2" ] && [ ! -L "$2" ] && [ "$(stat -c %d -- "$2")" = "$device" ] || return 0
  size=$(du -sk -- "$2")
  printf '%s %s %s\n' "$1" "${size%%[!0-9]*}" "$2"
}
for each in "$versions"/* "$versions"/.[!.]*; do
  for used in "$@"; do [ "${each##*/}" != "$used" ] || continue 2; done
  told spare "$each"
done
for each in "$directory".aside-* "$directory".cold-* "$directory".salvage* "$directory"/@ASIDE@*; do
  case $each in
    *cold-*.part | "$directory".salvage | "$directory".salvage.part) told spare "$each" ;;
    "$directory"/@ASIDE@salvage | "$directory"/@ASIDE@salvage.part) told spare "$each" ;;
    *) told kept "$each" ;;
  esac
done
""".replace("@ASIDE@", ASIDE_PREFIX)
