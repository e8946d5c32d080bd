"""The commands of a restore, a recovery and an undo; as in commands.py, each list may be cut and begun again."""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.host.actions import (
    FileToWrite,
    HostAction,
    LocalFileInput,
    RunCommand,
    WriteFiles,
    stop_command,
)
from etcdup.core.host.content import TextContent
from etcdup.core.host.marker import marker_file
from etcdup.core.observed.model import ASIDE_PREFIX, DirSeen, HostSeen, Marker, Restored
from etcdup.core.plan.restore_steps import (
    CopyData,
    ForgetRestore,
    MarkUndo,
    PlaceData,
    SealRestore,
    StageRestore,
    UndoData,
)
from etcdup.core.restore.data_copy import COPY_SCRIPT, COPY_TIMEOUT_S, copy_path
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec

RESTORE_TIMEOUT_S = 3600.0

RestoreStep = StageRestore | CopyData | PlaceData | SealRestore | ForgetRestore | MarkUndo | UndoData


def restore_commands(
    step: RestoreStep,
    spec: Spec,
    host: HostSpec,
    seen: HostSeen,
) -> Iterator[HostAction]:
    """The mark comes last in each: it says that all before it is done."""
    layout = layout_of(spec, host)
    match step:
        case StageRestore():
            yield from _stage(step, spec, host, seen, layout)
        case CopyData():
            yield from _copy(step, seen, layout)
        case PlaceData():
            yield from _place_data(seen, layout)
        case MarkUndo():
            yield from _mark_stage(seen, layout, "undo")
        case ForgetRestore():
            yield from _forget(seen, layout)
        case UndoData():
            yield from _undo(step, seen, layout)
        case SealRestore():
            yield from _mark_stage(seen, layout, "done")
            copy = f"{staged_path(seen.data)}.db"
            yield RunCommand(("rm", "-f", copy, layout.fence_disabled), "removing the copy of the snapshot")


def disable_fence_commands(layout: Layout) -> Iterator[HostAction]:
    """Restored members start together: none of them has to ask the others whose place it took (fence.py)."""
    doing = "preparing the start"
    yield RunCommand(("mkdir", "-p", layout.run), doing)
    yield WriteFiles((FileToWrite(layout.fence_disabled, TextContent(""), 0o644, "root:root"),), doing)


def enable_fence_commands(layout: Layout) -> Iterator[HostAction]:
    yield RunCommand(("rm", "-f", layout.fence_disabled), "forgetting the start's settings")


def staged_path(directory: DirSeen) -> str:
    """Where restored data waits, on the same file system: beside the folder, or inside a mount point."""
    return f"{directory.path}/{ASIDE_PREFIX}restore" if directory.mount else f"{directory.path}.restore"


def _stage(
    step: StageRestore, spec: Spec, host: HostSpec, seen: HostSeen, layout: Layout
) -> Iterator[HostAction]:
    copy, folders = f"{staged_path(seen.data)}.db", [staged_path(d) for d in (seen.data, seen.wal) if d]
    doing = "restoring beside what runs"
    argv = ("sh", "-c", RECEIVE, "receive", copy, step.sha256)
    yield RunCommand(argv, "sending the snapshot", LocalFileInput(step.snapshot), RESTORE_TIMEOUT_S)
    yield RunCommand(
        ("rm", "-rf", "--", *folders), doing
    )  # an attempt that was cut short, never a member's data
    yield RunCommand(
        _restore_argv(step, spec, host, layout, copy, folders), doing, timeout_s=RESTORE_TIMEOUT_S
    )
    if layout.supervisor == "systemd":
        yield RunCommand(("chown", "-R", "etcd:etcd", *folders), doing)
    yield RunCommand(("chmod", "0700", *folders), doing)
    formed = seen.marker is not None and seen.marker.formed
    former = seen.marker.former(step.token) if seen.marker else ()
    restored = Restored(step.sha256, "staged", step.aside, step.bump, former)
    marker = Marker(
        spec.name, host.name, step.token, layout.data_dir, formed, mount=seen.data.mount, restored=restored
    )
    yield WriteFiles((marker_file(layout, marker),), "marking the host")


def _restore_argv(
    step: StageRestore, spec: Spec, host: HostSpec, layout: Layout, copy: str, folders: list[str]
) -> tuple[str, ...]:
    """By the version that will run on it: 3.4 has it in etcdctl, later ones in etcdutl (rule 59)."""
    tools = layout.version_dir(str(spec.version))
    old = spec.version.series <= (3, 4)
    tool = ("env", "ETCDCTL_API=3", f"{tools}/etcdctl") if old else (f"{tools}/etcdutl",)
    bump = ("--bump-revision", str(step.bump), "--mark-compacted") if step.bump else ()
    return (
        *tool, "snapshot", "restore", copy, "--name", host.name, "--initial-cluster", spec.initial_cluster(),
        "--initial-cluster-token", step.token, "--initial-advertise-peer-urls", spec.peer_url(host),
        "--data-dir", folders[0], *(("--wal-dir", folders[1]) if len(folders) > 1 else ()), *bump,
    )  # fmt: skip


def _copy(step: CopyData, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Stopped once more, should it have come back since: a copy of what is being written is none."""
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    for directory in filter(None, (seen.data, seen.wal)):
        where = "mount" if directory.mount else "folder"
        argv = ("sh", "-c", COPY_SCRIPT, "copy", directory.path, copy_path(directory, step.token), where)
        yield RunCommand(argv, "copying the data", timeout_s=COPY_TIMEOUT_S)


def _place_data(seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Stopped once more, should it have come back since it was seen to be stopped (rule 57)."""
    assert seen.marker is not None
    assert seen.marker.restored is not None
    doing = "moving old data aside, putting restored data in place"
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    yield RunCommand(("rm", "-f", layout.join), doing)
    for directory in filter(None, (seen.data, seen.wal)):
        where = "mount" if directory.mount else "folder"
        paths = (staged_path(directory), directory.path, seen.marker.restored.aside)
        yield RunCommand(("sh", "-c", PLACE, "place", *paths, where), doing)
    yield from _mark_stage(seen, layout, "placed")


def _undo(step: UndoData, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Where nothing was placed, the data is in its place already, and only what was staged goes."""
    marker = seen.marker
    assert marker is not None
    assert marker.restored is not None
    doing = "moving restored data aside, putting old data back"
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    for directory in filter(None, (seen.data, seen.wal)):
        where = "mount" if directory.mount else "folder"
        paths = (directory.path, marker.restored.aside, step.aside, where)
        yield RunCommand(("sh", "-c", UNDO, "undo", *paths), doing)
        staged = staged_path(directory)
        yield RunCommand(("rm", "-rf", "--", staged, f"{staged}.db", f"{staged}.db.part"), doing)
    yield from _mark_undone(marker, layout)


def _forget(seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    assert seen.marker is not None
    folders = [staged_path(each) for each in (seen.data, seen.wal) if each]
    copies = [f"{folders[0]}.db", f"{folders[0]}.db.part"]
    yield RunCommand(("rm", "-rf", "--", *folders, *copies), "removing what was staged")
    yield from _mark_undone(seen.marker, layout)


def _mark_undone(marker: Marker, layout: Layout) -> Iterator[HostAction]:
    """The cluster before is the one that counts again. How far revisions were raised stays known (rule 58)."""
    restored = marker.restored
    assert restored is not None
    if restored.former:
        former = (*restored.former[:-1], marker.token)
        undone = replace(
            marker, token=restored.former[-1], restored=replace(restored, stage="undone", former=former)
        )
    else:
        undone = replace(marker, restored=None)
    yield WriteFiles((marker_file(layout, undone),), "marking the host")


def _mark_stage(seen: HostSeen, layout: Layout, stage: str) -> Iterator[HostAction]:
    assert seen.marker is not None
    assert seen.marker.restored is not None
    marker = replace(seen.marker, formed=True, restored=replace(seen.marker.restored, stage=stage))
    yield WriteFiles((marker_file(layout, marker),), "marking the host")


# The copy is whole or not there.
RECEIVE = """\
set -eu
umask 077
cat >"$1.part"
echo "$2  $1.part" | sha256sum -c --status || { echo "the snapshot arrived damaged" >&2; exit 1; }
mv -T -- "$1.part" "$1"
"""

# Cut anywhere and begun again, it never takes restored data for old: what was staged has left its place by then.
PLACE = """\
set -eu
if [ "$4" = mount ]; then
  if [ -e "$1" ]; then
    mkdir -p -- "$2/$3"
    for old in "$2"/member "$2"/*.wal "$2"/*.tmp; do [ ! -e "$old" ] || mv -- "$old" "$2/$3/"; done
    mv -T -- "$1" "$1.placing"
  fi
  [ -e "$1.placing" ] || exit 0
  for new in "$1.placing"/*; do [ ! -e "$new" ] || mv -- "$new" "$2/"; done
  rmdir -- "$1.placing"
elif [ -e "$1" ]; then
  [ ! -e "$2" ] || mv -T -- "$2" "$2.$3"
  mv -T -- "$1" "$2"
fi
"""

# Begun again, it never takes old data for restored: the old folder has left its name by then.
UNDO = """\
set -eu
if [ "$4" = mount ]; then
  if [ -e "$1/$2" ]; then
    mkdir -p -- "$1/$3"
    for new in "$1"/member "$1"/*.wal "$1"/*.tmp; do [ ! -e "$new" ] || mv -- "$new" "$1/$3/"; done
    mv -T -- "$1/$2" "$1/$2.undoing"
  fi
  [ -e "$1/$2.undoing" ] || exit 0
  for old in "$1/$2.undoing"/*; do [ ! -e "$old" ] || mv -- "$old" "$1/"; done
  rmdir -- "$1/$2.undoing"
elif [ -e "$1.$2" ]; then
  [ ! -e "$1" ] || mv -T -- "$1" "$1.$3"
  mv -T -- "$1.$2" "$1"
fi
"""
