"""The commands of a restore, a recovery and an undo.

As in core/host/commands.py, each list of commands may be interrupted anywhere and run again from its start.
"""

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
from etcdup.core.host.closed_member import closed_settings
from etcdup.core.host.content import TextContent
from etcdup.core.host.files import desired_settings
from etcdup.core.host.marker import marker_file
from etcdup.core.host.settings import show_settings
from etcdup.core.observed.model import ASIDE_PREFIX, DirSeen, HostSeen, Marker, PkiSeen, Restored
from etcdup.core.plan.restore_steps import (
    CopyData,
    EnableFence,
    ForgetRestore,
    MarkUndo,
    OpenClients,
    PlaceData,
    SealRestore,
    StageRestore,
    UndoData,
)
from etcdup.core.restore.data_copy import COPY_SCRIPT, COPY_TIMEOUT_S, copy_path
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec

RESTORE_TIMEOUT_S = 3600.0

RestoreStep = (
    StageRestore
    | CopyData
    | PlaceData
    | OpenClients
    | SealRestore
    | EnableFence
    | ForgetRestore
    | MarkUndo
    | UndoData
)


def restore_commands(
    step: RestoreStep, spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen
) -> Iterator[HostAction]:
    """Yield the commands of a step. The marker is written last: it means that all commands before it are done."""
    layout = layout_of(spec, host)
    match step:
        case StageRestore():
            yield from _stage(step, spec, host, seen, layout)
        case CopyData():
            yield from _copy(step, seen, layout)
        case PlaceData():
            yield from _place_data(step, spec, host, seen, pki)
        case OpenClients():
            yield from _open_clients(spec, host, seen, pki)
        case MarkUndo():
            yield from _mark_stage(seen, layout, "undo")
        case ForgetRestore():
            yield from _forget(seen, layout)
        case UndoData():
            yield from _undo(step, seen, layout)
        case EnableFence():
            yield from enable_fence_commands(layout)
        case SealRestore():
            yield from _mark_stage(seen, layout, "done")
            copy = f"{staged_path(seen.data)}.db"
            yield RunCommand(("rm", "-f", copy, layout.fence_disabled), "removing the copy of the snapshot")


def disable_fence_commands(layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that switch the startup fence off for one start.

    Restored members start together, so none of them has to check whether its cluster was superseded
    (core/host/startup_fence.py).
    """
    doing = "disabling the startup fence for this start"
    yield RunCommand(("mkdir", "-p", layout.run), doing)
    yield WriteFiles((FileToWrite(layout.fence_disabled, TextContent(""), 0o644, "root:root"),), doing)


def enable_fence_commands(layout: Layout) -> Iterator[HostAction]:
    """Yield the command that switches the startup fence on again."""
    yield RunCommand(("rm", "-f", layout.fence_disabled), "enabling the startup fence")


def staged_path(directory: DirSeen) -> str:
    """Return the path of the staged data: next to the directory, or inside it if it is a mount point.

    It is on the same file system, so that a rename puts the data in place.
    """
    return f"{directory.path}/{ASIDE_PREFIX}restore" if directory.mount else f"{directory.path}.restore"


def _stage(
    step: StageRestore, spec: Spec, host: HostSpec, seen: HostSeen, layout: Layout
) -> Iterator[HostAction]:
    copy, folders = f"{staged_path(seen.data)}.db", [staged_path(d) for d in (seen.data, seen.wal) if d]
    doing = "restoring the snapshot next to the data directory"
    argv = ("sh", "-c", RECEIVE, "receive", copy, step.sha256)
    yield RunCommand(argv, "sending the snapshot", LocalFileInput(step.snapshot), RESTORE_TIMEOUT_S)
    # What is there is the rest of an interrupted attempt, never a member's data.
    yield RunCommand(("rm", "-rf", "--", *folders), doing)
    yield RunCommand(
        _restore_argv(step, spec, host, layout, copy, folders), doing, timeout_s=RESTORE_TIMEOUT_S
    )
    if layout.supervisor == "systemd":
        yield RunCommand(("chown", "-R", "etcd:etcd", *folders), doing)
    yield RunCommand(("chmod", "0700", *folders), doing)
    formed = seen.marker is not None and seen.marker.formed
    former = seen.marker.former(step.token) if seen.marker else ()
    restored = Restored(step.sha256, "staged", step.aside, step.bump, former, step.undoes)
    endpoints = seen.marker.endpoints if seen.marker else ()
    marker = Marker(
        spec.name,
        host.name,
        step.token,
        layout.data_dir,
        formed,
        mount=seen.data.mount,
        restored=restored,
        endpoints=endpoints,
    )
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")


def _restore_argv(
    step: StageRestore, spec: Spec, host: HostSpec, layout: Layout, copy: str, folders: list[str]
) -> tuple[str, ...]:
    """Return the restore command of the etcd version that will run on the data (rule 59).

    In 3.4 the command is in etcdctl, in later versions in etcdutl.
    """
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
    """Yield the commands that copy the data. etcd is stopped again first, in case it has started since.

    A copy of data that etcd is writing would be useless.
    """
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    for directory in filter(None, (seen.data, seen.wal)):
        where = "mount" if directory.mount else "folder"
        argv = ("sh", "-c", COPY_SCRIPT, "copy", directory.path, copy_path(directory, step.token), where)
        yield RunCommand(argv, "copying the data", timeout_s=COPY_TIMEOUT_S)


def _place_data(
    step: PlaceData, spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen
) -> Iterator[HostAction]:
    """Yield the commands that put the restored data in place (rule 57).

    etcd is stopped again first, in case it has started since it was seen to be stopped. The settings that keep clients
    out are written before the data is there, so a host that boots at any time serves no client on this data.
    """
    assert seen.marker is not None
    assert seen.marker.restored is not None
    layout = layout_of(spec, host)
    doing = "archiving the old data, putting the restored data in place"
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    yield RunCommand(("rm", "-f", layout.join), doing)
    if step.closed:
        yield _conf_file(spec, host, seen.marker.token, pki, closed=True)
    for directory in filter(None, (seen.data, seen.wal)):
        where = "mount" if directory.mount else "folder"
        paths = (staged_path(directory), directory.path, seen.marker.restored.aside)
        yield RunCommand(("sh", "-c", PLACE, "place", *paths, where), doing)
    yield from _mark_stage(seen, layout, "placed" if step.closed else "open")


def close_commands(spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen) -> Iterator[HostAction]:
    """Yield the commands that prepare a start in which only etcdup reaches the member. The caller writes the keys.

    The marker says `placed` before the settings change: with `open`, the settings are those for clients.
    """
    assert seen.marker is not None
    layout, doing = layout_of(spec, host), "preparing a start without clients"
    yield stop_command(layout)
    yield from _mark_stage(seen, layout, "placed")
    yield _conf_file(spec, host, seen.marker.token, pki, closed=True)
    yield from disable_fence_commands(layout)
    by_etcd = ("-o", "etcd", "-g", "etcd") if layout.supervisor == "systemd" else ()
    yield RunCommand(("install", "-d", "-m", "0700", *by_etcd, layout.closed), doing)


def _open_clients(spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen) -> Iterator[HostAction]:
    assert seen.marker is not None
    layout = layout_of(spec, host)
    yield stop_command(layout)
    yield _conf_file(spec, host, seen.marker.token, pki, closed=False)
    yield RunCommand(("rm", "-rf", "--", layout.closed), "deleting the temporary keys")
    yield from _mark_stage(seen, layout, "open")


def _conf_file(spec: Spec, host: HostSpec, token: str, pki: PkiSeen, *, closed: bool) -> WriteFiles:
    """Return the write of etcd.conf, for clients or for etcdup only."""
    layout = layout_of(spec, host)
    settings = desired_settings(spec, host, layout, token, pki)
    if closed:
        settings = closed_settings(settings, spec, host, layout)
    content = TextContent(show_settings(settings))
    doing = "writing settings that keep clients out" if closed else "writing the settings for clients"
    return WriteFiles((FileToWrite(layout.conf, content, 0o640, "root:etcd"),), doing)


def _undo(step: UndoData, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that put the old data back.

    If the restored data was never put in place, the old data is still there, and only the staged data is removed.
    """
    marker = seen.marker
    assert marker is not None
    assert marker.restored is not None
    doing = "archiving the restored data, putting the old data back"
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
    yield RunCommand(("rm", "-rf", "--", *folders, *copies), "removing the staged data")
    yield from _mark_undone(seen.marker, layout)


def _mark_undone(marker: Marker, layout: Layout) -> Iterator[HostAction]:
    """Yield the write of the marker after an undo: the host belongs to the previous cluster again.

    The marker keeps by how much the restore raised the revisions (rule 58).
    """
    restored = marker.restored
    assert restored is not None
    if restored.former:
        former = (*restored.former[:-1], marker.token)
        undone = replace(
            marker, token=restored.former[-1], restored=replace(restored, stage="undone", former=former)
        )
    else:
        undone = replace(marker, restored=None)
    yield WriteFiles((marker_file(layout, undone),), "writing the marker")


def _mark_stage(seen: HostSeen, layout: Layout, stage: str) -> Iterator[HostAction]:
    assert seen.marker is not None
    assert seen.marker.restored is not None
    marker = replace(seen.marker, formed=True, restored=replace(seen.marker.restored, stage=stage))
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")


# Only the last rename makes the file visible, so it is either complete or absent.
RECEIVE = """\
set -eu
umask 077
cat >"$1.part"
echo "$2  $1.part" | sha256sum -c --status || { echo "the snapshot arrived damaged" >&2; exit 1; }
mv -T -- "$1.part" "$1"
"""

# The script may be interrupted anywhere and run again. It never archives restored data as old data: it archives only
# while the staged directory exists, and that directory is renamed before restored data is in the data directory.
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

# The script may be interrupted anywhere and run again. It never archives old data as restored data: it archives only
# while the directory of the old data exists, and that is renamed before old data is in the data directory again.
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
