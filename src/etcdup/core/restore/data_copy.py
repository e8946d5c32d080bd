"""The cold copy of a survivor's data: a complete copy of a stopped member's data, next to its data directory.

The data itself is archived, but `restore --undo` may put it back and change it. The copy stays as the data was when
the quorum was lost. Its name contains the new cluster's token, so that an interrupted recovery finds its own copy.
"""

from collections.abc import Collection, Iterator, Mapping

from etcdup.core.host.actions import RunCommand
from etcdup.core.host.member_user import as_user, in_folder_of, name_of
from etcdup.core.observed.directory import ASIDE_PREFIX, DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import CopyData
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

COPY_TIMEOUT_S = 3600.0
SIZE_TIMEOUT_S = 60.0


def copy_path(directory: DirSeen, token: str) -> str:
    """Return the path of the copy: next to the directory, or inside it if it is a mount point.

    Inside a mount point, a name that starts with `aside-` does not count as data.
    """
    return (
        f"{directory.path}/{ASIDE_PREFIX}cold-{token}"
        if directory.mount
        else f"{directory.path}.cold-{token}"
    )


def copy_data_commands(layout: Layout, directory: DirSeen, copy: str, doing: str) -> Iterator[RunCommand]:
    """Yield the commands that copy the data of a stopped member. The member's user reads and writes the files."""
    name = name_of(copy)
    prepare = ("sh", "-c", PREPARE_COPY, "prepare-copy", name, layout.user)
    yield RunCommand(in_folder_of(layout, copy, *prepare), doing, timeout_s=COPY_TIMEOUT_S)
    argv = as_user(layout.user, ("sh", "-c", COPY_SCRIPT, "copy", directory.path, copy))
    yield RunCommand(argv, doing, timeout_s=COPY_TIMEOUT_S)
    yield RunCommand(in_folder_of(layout, copy, "sh", "-c", FINISH_COPY, "finish-copy", name), doing)


def hosts_to_copy(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Return the hosts that still have data of the lost cluster in place. `spec` has only the one survivor."""
    return tuple(
        name
        for name, seen in sorted(observed.reachable().items())
        if seen.has_member
        and (marker := seen.marker_of(spec.name))
        and not (marker.token == token and marker.restored and marker.restored.stage != "staged")
    )


def copy_steps(names: Collection[str], token: str) -> Iterator[CopyData]:
    """Yield one CopyData for each host."""
    for name in names:
        reason = "the copy keeps the data as it is now, whatever changes the data later"
        yield CopyData(host=name, token=token, reason=reason, rules=(62,))


def size_argv(seen: HostSeen, token: str) -> tuple[str, ...]:
    """Return a read-only command that prints how many KiB the copy still needs on this host."""
    pairs = []
    for directory in filter(None, (seen.data, seen.wal)):
        pairs += [
            f"{directory.path}/member" if directory.mount else directory.path, copy_path(directory, token)
        ]  # fmt: skip
    return ("sh", "-c", SIZE_SCRIPT, "size", *pairs)


def refuse_copy(
    observed: Observed, sizes: Mapping[str, int], needs: Mapping[str, int]
) -> tuple[Refused, ...]:
    """Refuse a copy if the disk has not enough free space.

    `sizes` are the bytes of each host's copy, `needs` the bytes of everything else that is written to the same disk.
    """
    reasons = []
    for name, size in sizes.items():
        data, need = observed.reachable()[name].data, size + needs.get(name, 0)
        if size and data.free_bytes < need:
            reasons.append(
                Refused(
                    f"{name}: {data.path} has {show_size(data.free_bytes)} of free space, and a copy of its data"
                    f"{' and the restored data need' if needs.get(name) else ' needs'} {show_size(need)}",
                    hint=f"free disk space on {name}, then run the same command again. Or pass `--without-copy`: the "
                    "old data is then renamed, not copied",
                    host=name,
                    rules=(62,),
                )
            )
    return tuple(reasons)


SIZE_SCRIPT = """\
set -eu
total=0
while [ $# -gt 0 ]; do
  if [ -d "$1" ] && [ ! -e "$2" ]; then size=$(du -sk -- "$1"); total=$((total + ${size%%[!0-9]*})); fi
  shift 2
done
echo "$total"
"""

# The three scripts may be interrupted and run again: only the last rename gives the copy its name, so a copy that has
# the name is complete.
PREPARE_COPY = """\
set -eu
[ ! -e "$1" ] || exit 0
rm -rf -- "$1.part"
mkdir -m 0700 -- "$1.part"
[ -z "$2" ] || chown -- "$2:$2" "$1.part"
"""

COPY_SCRIPT = """\
set -eu
[ ! -e "$2" ] || exit 0
for each in "$1"/member "$1"/*.wal "$1"/*.tmp; do [ ! -e "$each" ] || cp -a --reflink=auto -- "$each" "$2.part/"; done
sync -f "$2.part"
"""

FINISH_COPY = """\
set -eu
[ -e "$1" ] || mv -T -- "$1.part" "$1"
"""
