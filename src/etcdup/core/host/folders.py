"""The directories of a member whose modes are observed: user etcd must be able to enter them, and only root to write.

The umask of a login decides the modes of new directories, so an earlier umask of 077 leaves directories that user etcd
cannot enter. PrepareHost corrects the directories of etcdup. Their parents belong to the host: they are only named.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from etcdup.core.host.host_case import HostCase
from etcdup.core.observed.model import FolderSeen, HostSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import Layout

# The mode and the owner of each directory that etcdup makes.
Rights = tuple[int, str]
PUBLIC: Rights = (0o755, "root:root")
KEYS: Rights = (0o750, "root:etcd")


def own_rights(layout: Layout) -> dict[str, Rights]:
    """Return the rights of the directories of etcdup, except for those of the data. Parents are before children."""
    return {layout.etc: PUBLIC, layout.pki: KEYS, layout.versions: PUBLIC, layout.current: PUBLIC}


def observed_folders(layout: Layout) -> tuple[str, ...]:
    """Return the directories whose rights the probe reads."""
    return tuple(dict.fromkeys((*_parents(layout), *own_rights(layout))))


def rights_label(path: str) -> str:
    """Return the name of this part of PrepareHost."""
    return f"mode and owner of {path}"


def wrong_folders(seen: HostSeen, layout: Layout) -> tuple[str, ...]:
    """Return the directories of etcdup that user etcd cannot enter, or that another user than root can write."""
    if layout.supervisor == "process":
        return ()
    wrong = (seen.folders.get(path) for path in own_rights(layout))
    return tuple(each.path for each in wrong if each and (not _can_enter(each) or is_open_to_others(each)))


def refuse_closed_folders(case: HostCase) -> Iterator[Refused]:
    """Refuse a host where user etcd cannot enter a directory above its own, or does not own the log directory."""
    layout = case.layout
    if layout.supervisor == "process":
        return
    for parent in _parents(layout):
        if (each := case.seen.folders.get(parent)) and not _can_enter(each):
            yield Refused(
                f"{case.name}: user etcd cannot enter {each.path}: mode {each.mode:04o} {each.owner}",
                hint=f"run `chmod o+x {each.path}` on {case.name}, or use another directory",
                host=case.name,
            )
    wal = case.seen.wal
    if (
        wal is not None
        and wal.entries is not None
        and wal.owner
        and wal.owner != "etcd:etcd"
        and case.seen.etcd_user
    ):
        message = f"{case.name}: {wal.path} belongs to {wal.owner}, and etcd must be able to write it"
        hint = f"run `chown -R etcd:etcd {wal.path}` on {case.name} if it has the log of this member"
        yield Refused(message, hint=hint, host=case.name)


def _parents(layout: Layout) -> tuple[str, ...]:
    """Return the directories above those of etcdup, from the root down."""
    paths = filter(None, (layout.etc, layout.versions, layout.data_dir, layout.wal_parent))
    above = {str(each) for path in paths for each in PurePosixPath(path).parents}
    return tuple(sorted(above))


def _can_enter(folder: FolderSeen) -> bool:
    """Return whether user etcd can enter the directory, as far as mode and owner say."""
    user, _, group = folder.owner.partition(":")
    if user == "etcd":
        return bool(folder.mode & 0o100)
    return bool(folder.mode & (0o010 if group == "etcd" else 0o001))


def is_open_to_others(folder: FolderSeen) -> bool:
    """Return whether another user than root can change names in the directory."""
    user, _, group = folder.owner.partition(":")
    return user != "root" or bool(folder.mode & (0o002 if group == "root" else 0o022))
