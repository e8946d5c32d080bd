"""The cold copy of a survivor's data: of a stopped member, beside the data directory, whole or not there.

The data itself is moved aside, but may be put back and run on (`restore --undo`): the copy stays as it was on the day
that the quorum was lost. Named by the new cluster's token, so that a recovery that was cut finds its own.
"""

from collections.abc import Collection, Iterator, Mapping

from etcdup.core.observed.model import ASIDE_PREFIX, DirSeen, HostSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import CopyData
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

COPY_TIMEOUT_S = 3600.0
SIZE_TIMEOUT_S = 60.0


def copy_path(directory: DirSeen, token: str) -> str:
    """Beside the folder, or inside a mount point, where what begins so counts as nobody's data."""
    return (
        f"{directory.path}/{ASIDE_PREFIX}cold-{token}"
        if directory.mount
        else f"{directory.path}.cold-{token}"
    )


def hosts_to_copy(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Hosts that have data of the cluster that was lost, still in its place. `spec` is of the one survivor."""
    return tuple(
        name
        for name, seen in sorted(observed.reachable().items())
        if seen.has_member and (mark := seen.marker) is not None and mark.cluster == spec.name
        and not (mark.token == token and mark.restored and mark.restored.stage != "staged")
    )  # fmt: skip


def copy_steps(names: Collection[str], token: str) -> Iterator[CopyData]:
    for name in names:
        reason = "it stays as it is now, whatever is done with the data"
        yield CopyData(host=name, token=token, reason=reason, rules=(62,))


def size_argv(seen: HostSeen, token: str) -> tuple[str, ...]:
    """A read-only command that says how many KiB the copy has yet to take on this host."""
    pairs = []
    for directory in filter(None, (seen.data, seen.wal)):
        pairs += [
            f"{directory.path}/member" if directory.mount else directory.path, copy_path(directory, token)
        ]  # fmt: skip
    return ("sh", "-c", SIZE_SCRIPT, "size", *pairs)


def refuse_copy(
    observed: Observed, sizes: Mapping[str, int], needs: Mapping[str, int]
) -> tuple[Refused, ...]:
    """`sizes` are of the copies; `needs` what else is put on those disks."""
    reasons = []
    for name, size in sizes.items():
        data, need = observed.reachable()[name].data, size + needs.get(name, 0)
        if size and data.free_bytes < need:
            reasons.append(
                Refused(
                    f"no space on {name} for a copy of its data: {data.path} has {show_size(data.free_bytes)} free, "
                    f"{show_size(need)} are needed",
                    hint="make room there, or go on without a copy: `--without-copy` (the data is only moved aside)",
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

# Begun again, it takes nothing for whole that is not: only the rename makes it the copy.
COPY_SCRIPT = """\
set -eu
[ ! -e "$2" ] || exit 0
rm -rf -- "$2.part"
mkdir -m 0700 -- "$2.part"
if [ "$3" = mount ]; then
  for each in "$1"/member "$1"/*.wal "$1"/*.tmp; do [ ! -e "$each" ] || cp -a --reflink=auto -- "$each" "$2.part/"; done
else
  cp -a --reflink=auto -- "$1/." "$2.part/"
fi
sync -f "$2.part"
mv -T -- "$2.part" "$2"
"""
