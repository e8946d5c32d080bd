"""Paths on the file system of a data directory: data that a restore has prepared, and archived data."""

from collections.abc import Iterator

from etcdup.core.host.actions import RunCommand
from etcdup.core.host.member_user import remove_argv
from etcdup.core.observed.directory import ASIDE_PREFIX, DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.layout import Layout


def staged_path(directory: DirSeen) -> str:
    """Return the path of the staged data: next to the directory, or inside it if it is a mount point.

    It is on the same file system, so that a rename puts the data in place.
    """
    return f"{directory.path}/{ASIDE_PREFIX}restore" if directory.mount else f"{directory.path}.restore"


def archived_path(directory: DirSeen, suffix: str) -> str:
    """Return the path of data of this directory that is archived under this suffix."""
    return f"{directory.path}/{suffix}" if directory.mount else f"{directory.path}.{suffix}"


def remove_staged_commands(seen: HostSeen, layout: Layout) -> Iterator[RunCommand]:
    """Yield the commands that remove the staged data and the copy of the snapshot. No member has used them."""
    for directory in filter(None, (seen.data, seen.wal)):
        argv = remove_argv(layout, staged_path(directory), ".db", ".db.part")
        yield RunCommand(argv, "removing the staged data")
