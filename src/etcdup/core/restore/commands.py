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
from etcdup.core.host.member_user import (
    Argv,
    as_user,
    in_folder,
    in_folder_of,
    name_of,
    own_folder,
    remove_argv,
)
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
from etcdup.core.restore.data_copy import copy_data_commands, copy_path
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
            doing = "removing the copy of the snapshot"
            yield RunCommand(remove_argv(layout, f"{staged_path(seen.data)}.db"), doing)
            yield RunCommand(("rm", "-f", layout.fence_disabled), doing)


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
    receive = ("sh", "-c", RECEIVE, "receive", name_of(copy), step.sha256, layout.user)
    argv = in_folder_of(layout, copy, *receive)
    yield RunCommand(argv, "sending the snapshot", LocalFileInput(step.snapshot), RESTORE_TIMEOUT_S)
    # What is there is the rest of an interrupted attempt, never a member's data.
    for folder in folders:
        yield RunCommand(remove_argv(layout, folder), doing)
    yield RunCommand(own_folder(layout, folders[0]), doing)
    restore = ("sh", "-c", RESTORE, "restore", folders[0])
    argv = as_user(layout.user, (*restore, *_restore_argv(step, spec, host, layout, copy, folders)))
    yield RunCommand(argv, doing, timeout_s=RESTORE_TIMEOUT_S)
    formed = seen.marker is not None and seen.marker.formed
    endpoints = seen.marker.endpoints if seen.marker else ()
    marker = Marker(
        spec.name,
        host.name,
        step.token,
        layout.data_dir,
        formed,
        mount=seen.data.mount,
        restored=_staged(step, seen.marker),
        endpoints=endpoints,
        etcd_name=host.member_name,
    )
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")


def _staged(step: StageRestore, marker: Marker | None) -> Restored:
    """Return the entry of the marker.

    If the data in place is of an abandoned attempt, the data from before the restore is archived already. An undo needs
    that archive and its token, which is the last one.
    """
    earlier = marker.restored if marker is not None and marker.is_being_restored else None
    if marker is None or earlier is None or (earlier.stage == "staged" and not earlier.again):
        former = marker.former(step.token) if marker is not None else ()
        return Restored(step.sha256, "staged", step.aside, step.bump, former, step.undoes)
    former = tuple(each for each in (marker.token, *earlier.former) if each != step.token)
    return Restored(step.sha256, "staged", earlier.aside, step.bump, former, step.undoes, again=step.aside)


def _restore_argv(
    step: StageRestore, spec: Spec, host: HostSpec, layout: Layout, copy: str, folders: list[str]
) -> tuple[str, ...]:
    """Return the restore command of the etcd version that will run on the data (rule 59).

    In 3.4 the command is in etcdctl, in later versions in etcdutl.
    """
    tools = layout.version_dir(str(spec.version))
    old = spec.version.series <= (3, 4)
    tool = ("env", "-i", "ETCDCTL_API=3", f"{tools}/etcdctl") if old else (f"{tools}/etcdutl",)
    bump = ("--bump-revision", str(step.bump), "--mark-compacted") if step.bump else ()
    return (
        *tool, "snapshot", "restore", copy, "--name", host.member_name, "--initial-cluster", spec.initial_cluster(),
        "--initial-cluster-token", step.token, "--initial-advertise-peer-urls", spec.peer_url(host),
        "--data-dir", f"{folders[0]}/new", *(("--wal-dir", folders[1]) if len(folders) > 1 else ()), *bump,
    )  # fmt: skip


def _copy(step: CopyData, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that copy the data. etcd is stopped again first, in case it has started since.

    A copy of data that etcd is writing would be useless.
    """
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    for directory in filter(None, (seen.data, seen.wal)):
        copy = copy_path(directory, step.token)
        yield from copy_data_commands(layout, directory, copy, "copying the data")


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
        staged = name_of(staged_path(directory))
        suffix = seen.marker.restored.again or seen.marker.restored.aside
        yield RunCommand(_move_argv(layout, directory, PLACE, "place", staged, suffix), doing)
    yield from _mark_stage(seen, layout, "placed" if step.closed else "open")


def _move_argv(layout: Layout, directory: DirSeen, script: str, *arguments: str) -> Argv:
    """Return the command that exchanges data: in the directory if it is a mount point, otherwise next to it."""
    if directory.mount:
        return in_folder(layout, directory.path, "sh", "-c", script, *arguments, "")
    return in_folder_of(layout, directory.path, "sh", "-c", script, *arguments, name_of(directory.path))


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
    yield RunCommand(own_folder(layout, layout.closed, "0750", "root:etcd"), doing)


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
        suffixes = (marker.restored.aside, step.aside)
        yield RunCommand(_move_argv(layout, directory, UNDO, "undo", *suffixes), doing)
        yield RunCommand(remove_argv(layout, staged_path(directory), ".db", ".db.part"), doing)
    yield from _mark_undone(marker, layout)


def _forget(seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    assert seen.marker is not None
    for directory in filter(None, (seen.data, seen.wal)):
        argv = remove_argv(layout, staged_path(directory), ".db", ".db.part")
        yield RunCommand(argv, "removing the staged data")
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


# Only the last rename makes the file visible, so it is either complete or absent. If root receives it, no other user
# can change it, and the member's user can read it.
RECEIVE = """\
set -eu
umask 077
rm -rf -- "$1.part"
cat >"$1.part"
echo "$2  $1.part" | sha256sum -c --status || { echo "the snapshot arrived damaged" >&2; exit 1; }
if [ -n "$3" ] && [ "$(id -u)" = 0 ]; then chgrp -- "$3" "$1.part"; chmod 0640 "$1.part"; fi
mv -T -- "$1.part" "$1"
"""

# etcdctl 3.4 restores only to a directory that does not exist. The member's user can make one in its own directory.
RESTORE = """\
set -eu
staged=$1
shift
"$@"
mv -T -- "$staged/new/member" "$staged/member"
rmdir -- "$staged/new"
"""

# The script may be interrupted anywhere and run again. It never archives restored data as old data: it archives only
# while the staged directory exists, and that directory is renamed before restored data is in the data directory.
# Arguments: the staged directory, the suffix of the old data, and the data directory. Without the last one, the script
# runs in the data directory.
PLACE = """\
set -eu
if [ -z "$3" ]; then
  if [ -e "$1" ]; then
    mkdir -p -- "$2"
    for old in member *.wal *.tmp; do [ ! -e "$old" ] || mv -- "$old" "$2/"; done
    mv -T -- "$1" "$1.placing"
  fi
  [ -e "$1.placing" ] || exit 0
  for new in "$1.placing"/*; do [ ! -e "$new" ] || mv -- "$new" ./; done
  rmdir -- "$1.placing"
elif [ -e "$1" ]; then
  [ ! -e "$3" ] || mv -T -- "$3" "$3.$2"
  mv -T -- "$1" "$3"
fi
"""

# The script may be interrupted anywhere and run again. It never archives old data as restored data: it archives only
# while the directory of the old data exists, and that is renamed before old data is in the data directory again.
# Arguments: the suffixes of the old and of the restored data, and the data directory. Without the last one, the script
# runs in the data directory. An earlier etcdup made the directory of old data there as root.
UNDO = """\
set -eu
if [ -z "$3" ]; then
  if [ -e "$1" ]; then
    [ -w "$1" ] || { echo "user etcd must own $(pwd -P)/$1: run chown etcd:etcd $(pwd -P)/$1" >&2; exit 1; }
    mkdir -p -- "$2"
    for new in member *.wal *.tmp; do [ ! -e "$new" ] || mv -- "$new" "$2/"; done
    mv -T -- "$1" "$1.undoing"
  fi
  [ -e "$1.undoing" ] || exit 0
  for old in "$1.undoing"/*; do [ ! -e "$old" ] || mv -- "$old" ./; done
  rmdir -- "$1.undoing"
elif [ -e "$3.$1" ]; then
  [ ! -e "$3" ] || mv -T -- "$3" "$3.$2"
  mv -T -- "$3.$1" "$3"
fi
"""
