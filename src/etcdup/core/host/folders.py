"""The directories of a member whose modes are observed: user etcd must be able to enter them, and only root to write.

The umask of a login decides the modes of new directories, so an earlier umask of 077 leaves directories that user etcd
cannot enter. PrepareHost corrects the directories of etcdup. Their parents belong to the host: they are only named.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from etcdup.core.host.host_case import HostCase
from etcdup.core.observed.directory import FolderSeen
from etcdup.core.observed.host import HostSeen
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
    """Return the paths whose rights the probe reads."""
    return tuple(dict.fromkeys((*_parents(layout), *own_rights(layout), *_data_paths(layout))))


def rights_label(path: str) -> str:
    """Return the name of this part of PrepareHost."""
    return f"mode and owner of {path}"


def wrong_folders(seen: HostSeen, layout: Layout) -> tuple[str, ...]:
    """Return the directories of etcdup that user etcd cannot enter, or that another user than root can write."""
    if layout.supervisor == "process":
        return ()
    wrong = (seen.folders.get(path) for path in own_rights(layout))
    return tuple(each.path for each in wrong if each and (not _can_enter(each) or is_open_to_others(each)))


def foreign_folder_notes(seen: HostSeen, layout: Layout) -> Iterator[str]:
    """Yield the directories on a host without a marker whose rights change: etcdup did not make them."""
    rights = own_rights(layout)
    for path in wrong_folders(seen, layout):
        now, (mode, owner) = seen.folders[path], rights[path]
        yield (
            f"{seen.host}: {path} was not made by etcdup, and its mode and owner change from {now.mode:04o} "
            f"{now.owner} to {mode:04o} {owner}"
        )


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


def refuse_foreign_data_rights(case: HostCase) -> Iterator[Refused]:
    """Refuse to start a member on data that user etcd cannot write, for example after a copy by root.

    etcdup does not change it: root must not act in a directory that another user can write.
    """
    seen, layout = case.seen, case.layout
    if layout.supervisor == "process" or seen.is_adopted or not (seen.has_member and seen.etcd_user):
        return
    for path in _data_paths(layout):
        each = seen.folders.get(path)
        if each is None or (each.owner.partition(":")[0] == "etcd" and each.mode & 0o600 == 0o600):
            continue
        yield Refused(
            f"{case.name}: user etcd cannot write the data of the member: {path} has mode {each.mode:04o} and belongs "
            f"to {each.owner}",
            hint=f"run `chown -R etcd:etcd {layout.data_dir} && chmod -R u+rwX {layout.data_dir}` on {case.name}",
            host=case.name,
            rules=(93,),
        )
        return


def _data_paths(layout: Layout) -> tuple[str, ...]:
    """Return paths that etcd makes in its data directory, from the root down."""
    names = ("member", "member/wal", "member/snap", "member/snap/db")
    return tuple(f"{layout.data_dir}/{name}" for name in names)


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
