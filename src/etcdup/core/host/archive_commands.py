"""Derive the commands that archive the data and the settings of a member. Pure."""

from collections.abc import Iterator

from etcdup.core.host.actions import HostAction, RunCommand, stop_command
from etcdup.core.host.data_paths import remove_staged_commands
from etcdup.core.host.member_user import in_folder, in_folder_of, name_of, own_folder
from etcdup.core.host.tool_links import unlink_tools
from etcdup.core.observed.directory import DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.layout import MEMBER_CERTS, Layout


def archive_data_commands(suffix: str, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that stop a member and archive only its data."""
    # Only the data is archived. Settings, unit and marker stay for the new member.
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    yield RunCommand(("rm", "-f", layout.join, layout.fence_disabled), "archiving data")
    for directory in filter(None, (seen.data, seen.wal)):
        yield from _archive_folder(directory, layout, suffix)
        yield RunCommand(own_folder(layout, directory.path), "archiving data")


def archive_host_commands(suffix: str, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that stop a member for ever, and archive its data and settings."""
    # The marker is archived last. If etcdup is killed before that, the next run still knows that the host is ours.
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    if layout.supervisor == "systemd" and seen.unit.load != "not-found":
        yield RunCommand(("systemctl", "disable", "etcd.service"), "disabling the unit")
    if seen.marker is not None and seen.marker.is_being_restored:
        yield from remove_staged_commands(seen, layout)
    for directory in filter(None, (seen.data, seen.wal)):
        yield from _archive_folder(directory, layout, suffix)
    yield RunCommand(("rm", "-f", layout.join, layout.fence_disabled), "archiving settings")
    yield from unlink_tools(layout)
    # Keys are not data: the PKI has those of its CA, and the operator has provided ones.
    yield RunCommand(("rm", "-rf", "--", *private_files(layout)), "deleting the private keys")
    kept = f"{layout.etc}.{suffix}"
    yield RunCommand(("mkdir", "-p", kept), "archiving settings")
    for path in (layout.conf, layout.unit, layout.pki, layout.unproved):
        if path in (layout.pki, layout.unproved) or path in seen.files:
            yield RunCommand(("sh", "-c", MOVE_IF_THERE, "move", path, kept), "archiving settings")
    if layout.supervisor == "systemd":
        yield RunCommand(("systemctl", "daemon-reload"), "reloading systemd")
    yield RunCommand(("sh", "-c", MOVE_IF_THERE, "move", layout.marker, kept), "archiving settings")


def private_files(layout: Layout) -> list[str]:
    """Return the keys of a member, the copies of its previous ones, and a copy that is not complete."""
    keys = [*map(layout.key, MEMBER_CERTS)]
    kept = [f"{layout.unproved}/{name_of(layout.pki)}/{name_of(key)}" for key in keys]
    return [*keys, *kept, f"{layout.unproved}.new"]


def _archive_folder(directory: DirSeen, layout: Layout, suffix: str) -> Iterator[HostAction]:
    # A mount point cannot be renamed. So its content is moved into a directory on the same file system.
    if directory.entries is None or directory.is_empty:
        return
    path, doing = directory.path, "archiving data"
    if not directory.mount:
        name = name_of(path)
        yield RunCommand(in_folder_of(layout, path, "mv", "-T", "--", name, f"{name}.{suffix}"), doing)
        return
    yield RunCommand(in_folder(layout, path, "mkdir", "-p", "--", suffix), doing)
    for name in directory.entries:
        if name == "member" or name.endswith((".wal", ".tmp")):
            yield RunCommand(in_folder(layout, path, "mv", "-T", "--", name, f"{suffix}/{name}"), doing)


MOVE_IF_THERE = '[ ! -e "$1" ] || mv "$1" "$2/"'
