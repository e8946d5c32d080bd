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
from etcdup.core.host.data_paths import archived_path, remove_staged_commands, staged_path
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
from etcdup.core.host.offline_defrag import offline_tool
from etcdup.core.host.settings import show_settings
from etcdup.core.observed.directory import DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import Marker, Restored
from etcdup.core.observed.pki import PkiSeen
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
from etcdup.core.restore.fence_commands import disable_fence_commands, enable_fence_commands
from etcdup.core.restore.lost_hosts import member_digest
from etcdup.core.restore.scripts import PLACE, RECEIVE, RESTORE, UNDO
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
        restored=replace(_staged(step, seen), members=member_digest(spec)),
        endpoints=endpoints,
        etcd_name=host.member_name,
    )
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")


def _staged(step: StageRestore, seen: HostSeen) -> Restored:
    """Return the entry of the marker.

    If an earlier attempt was abandoned, the data from before the restore is archived under the suffix of that attempt,
    or will be. An undo needs it, and its token, which is the last one. A host that is new in the restore has none.
    """
    marker = seen.marker
    earlier = marker.restored if marker is not None and marker.is_being_restored else None
    if marker is None or earlier is None:
        is_new = marker is None or not (marker.formed or marker.restored or seen.has_member)
        former = () if marker is None or is_new else marker.former(step.token)
        return Restored(step.sha256, "staged", step.aside, step.bump, former, step.undoes)
    former = tuple(each for each in (marker.token, *earlier.former) if each != step.token)
    former = former if earlier.former else ()
    return Restored(step.sha256, "staged", earlier.aside, step.bump, former, step.undoes, again=step.aside)


def _restore_argv(
    step: StageRestore, spec: Spec, host: HostSpec, layout: Layout, copy: str, folders: list[str]
) -> tuple[str, ...]:
    """Return the restore command of the etcd version that will run on the data (rule 59)."""
    tool = offline_tool(layout.version_dir(str(spec.version)), spec.version)
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
        staged, suffix = name_of(staged_path(directory)), _suffix_of(directory, seen, seen.marker.restored)
        yield RunCommand(_move_argv(layout, directory, PLACE, "place", staged, suffix), doing)
    yield from _mark_stage(seen, layout, "placed" if step.closed else "open")


def _suffix_of(directory: DirSeen, seen: HostSeen, restored: Restored) -> str:
    """Return the suffix for the data in place: it is from before the restore, or of an abandoned attempt.

    A killed attempt may have exchanged it without a change of the marker.
    """
    is_archived = archived_path(directory, restored.aside) in seen.archives
    return restored.again if restored.again and is_archived else restored.aside


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
    yield from remove_staged_commands(seen, layout)
    yield from _mark_undone(marker, layout)


def _forget(seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    assert seen.marker is not None
    yield from remove_staged_commands(seen, layout)
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
            marker,
            token=restored.former[-1],
            restored=replace(restored, stage="undone", former=former, members=""),
        )
    else:
        undone = replace(marker, restored=None)
    yield WriteFiles((marker_file(layout, undone),), "writing the marker")


def _mark_stage(seen: HostSeen, layout: Layout, stage: str) -> Iterator[HostAction]:
    assert seen.marker is not None
    assert seen.marker.restored is not None
    members = "" if stage == "done" else seen.marker.restored.members
    restored = replace(seen.marker.restored, stage=stage, members=members)
    marker = replace(seen.marker, formed=True, restored=restored)
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")
