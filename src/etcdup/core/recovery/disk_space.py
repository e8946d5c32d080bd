"""Free space on a full disk: remove what etcdup put there and can create again. Old data is only reported."""

from collections.abc import Mapping
from dataclasses import dataclass

from etcdup.core.observed.directory import ASIDE_PREFIX
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import FULL_BYTES, free_space_hint, full_directory
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import FreeSpace
from etcdup.core.recovery.disk_salvage import salvage_path
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

DISK_SPACE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class DiskSpace:
    """What uses space on the file system of a host's data, in bytes by path.

    `spare` may be removed. `kept` is old data, which may not.
    """

    spare: Mapping[str, int]
    kept: Mapping[str, int]


def disk_space_argv(spec: Spec, seen: HostSeen) -> tuple[str, ...]:
    """Return a read-only command that prints what uses space on the full disk."""
    directory, layout = full_directory(seen) or seen.data, layout_of(spec, spec.host(seen.host))
    return ("sh", "-c", DISK_SPACE_SCRIPT, "disk-space", directory.path, layout.versions, *_in_use(seen))


def parse_disk_space(stdout: str) -> DiskSpace:
    """Parse the output of `disk_space_argv`. Raises ValueError."""
    found: dict[str, dict[str, int]] = {"spare": {}, "kept": {}}
    for line in stdout.splitlines():
        kind, kib, path = line.split(" ", 2)
        if kind not in found:
            raise ValueError("the output is not that of the script")
        found[kind][path] = int(kib) * 1024
    return DiskSpace(found["spare"], found["kept"])


def can_free_enough(seen: HostSeen, space: DiskSpace | None) -> bool:
    """Return whether etcd can write again once everything that may be removed is removed."""
    directory = full_directory(seen)
    return directory is None or (
        space is not None and directory.free_bytes + sum(space.spare.values()) >= FULL_BYTES
    )


def free_space_step(seen: HostSeen, space: DiskSpace) -> FreeSpace:
    """Return the step that removes everything that may be removed."""
    directory = full_directory(seen) or seen.data
    return FreeSpace(
        host=seen.host,
        paths=tuple(sorted(space.spare)),
        reason=f"{directory.path} has {show_size(directory.free_bytes)} of free space, etcd needs "
        f"{show_size(FULL_BYTES)}",
        rules=(68,),
    )


def refuse_free_space(step: FreeSpace, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to remove anything but unused etcd versions, unfinished copies and temporary copies."""
    seen = observed.reachable().get(step.host)
    if seen is None:
        hint = f"make {step.host} reachable, then run the same command again"
        return (Refused(f"{step.host} cannot be reached", hint=hint, host=step.host),)
    layout = layout_of(spec, spec.host(step.host))
    wrong = [path for path in step.paths if not _can_remove(path, layout, seen)]
    if not wrong:
        return ()
    return (
        Refused(
            f"{wrong[0]} on {step.host} must not be removed: it is neither an unused etcd version nor an incomplete "
            "copy",
            hint="run the same command again: it makes a new plan",
            host=step.host,
        ),
    )


def full_disk_remedy(seen: HostSeen, space: DiskSpace | None) -> str:
    """Return what an operator has to do about a full disk."""
    directory = full_directory(seen) or seen.data
    remedy = f"the disk of {seen.host} is full: {free_space_hint(seen.host, directory)}"
    kept = sorted(space.kept.items(), key=lambda each: -each[1]) if space else []
    old = ", ".join(f"{path} ({show_size(size)})" for path, size in kept)
    return (
        f"{remedy}. You can move this old data to another disk, or delete it with `etcdup archive delete`: {old}"
        if old
        else remedy
    )


def _can_remove(path: str, layout: Layout, seen: HostSeen) -> bool:
    parent, _, name = path.rpartition("/")
    if parent == layout.versions:
        return name not in ("", ".", "..", "current", *_in_use(seen))
    left = {salvage_path(each) for each in (seen.data, seen.wal) if each}
    return (name.endswith(".part") and "cold-" in name) or path.removesuffix(".part") in left


def _in_use(seen: HostSeen) -> tuple[str, ...]:
    """Return the versions that run or that the next start would run."""
    return tuple(dict.fromkeys(filter(None, (seen.unit.running_version, seen.current))))


DISK_SPACE_SCRIPT = r"""
set -eu
directory=$1 versions=$2
shift 2
device=$(stat -c %d -- "$directory")
report() {
  [ -d "$2" ] && [ ! -L "$2" ] && [ "$(stat -c %d -- "$2")" = "$device" ] || return 0
  size=$(du -sk -- "$2")
  printf '%s %s %s\n' "$1" "${size%%[!0-9]*}" "$2"
}
for each in "$versions"/* "$versions"/.[!.]*; do
  for used in "$@"; do [ "${each##*/}" != "$used" ] || continue 2; done
  report spare "$each"
done
for each in "$directory".aside-* "$directory".cold-* "$directory".salvage* "$directory"/@PREFIX@*; do
  case $each in
    *cold-*.part | "$directory".salvage | "$directory".salvage.part) report spare "$each" ;;
    "$directory"/@PREFIX@salvage | "$directory"/@PREFIX@salvage.part) report spare "$each" ;;
    *) report kept "$each" ;;
  esac
done
""".replace("@PREFIX@", ASIDE_PREFIX)
