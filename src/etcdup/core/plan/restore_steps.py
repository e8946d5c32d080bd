"""The steps of a restore, of its undo, and of a recovery."""

from dataclasses import dataclass
from typing import ClassVar

from etcdup.core.plan.step import HostStep, Step


@dataclass(frozen=True, kw_only=True)
class StageRestore(HostStep):
    """Send the snapshot to the host, and restore it with etcd's own tool next to the data directory.

    The running member is not changed. `snapshot` is the file on the operator's machine, `token` is the token of the new
    cluster (rules 4, 56). In an undo, `undoes` is the suffix of the archived data that the snapshot is from.
    """

    snapshot: str
    sha256: str
    token: str
    aside: str
    bump: int
    undoes: str = ""
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the running members are not changed; the same command, run again, resumes"


@dataclass(frozen=True, kw_only=True)
class StopMembers(Step):
    """Stop all members of the old cluster, and wait until they are stopped.

    No restored member starts before that (rule 57).
    """

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "members are stopped, and their data is unchanged; the same command, run again, resumes"
    )


@dataclass(frozen=True, kw_only=True)
class CopyData(HostStep):
    """Copy the data of the stopped member to a directory next to it, named by the token of the new cluster.

    The data is replaced only after that.
    """

    token: str
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the copy is complete or absent; `etcdup recover`, run again, resumes"


@dataclass(frozen=True, kw_only=True)
class FreeSpace(HostStep):
    """Delete files that etcdup can install again from a full disk, so that etcd can write. Data is never deleted."""

    paths: tuple[str, ...]
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "some of these files are deleted, and etcd needs none of them; `etcdup recover`, run again, resumes"
    )


@dataclass(frozen=True, kw_only=True)
class SalvageData(HostStep):
    """Read a snapshot from a copy of the stopped member's data, and save it on the operator's machine.

    The copy is deleted afterwards. `term` and `index` are those of the last entry in the member's write-ahead log,
    `snapshot` is the file that is created.
    """

    term: int
    index: int
    snapshot: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "the member's data is unchanged; `etcdup recover`, run again, removes the rest of the copy and resumes"
    )


@dataclass(frozen=True, kw_only=True)
class SalvageArchive(SalvageData):
    """Read a snapshot from a copy of data that a restore archived. No member is stopped.

    `archive` is the suffix of the archived data.
    """

    archive: str
    disruptive: ClassVar[bool] = False
    if_cut: ClassVar[str] = (
        "no member is changed; `etcdup restore --undo`, run again, removes the rest of the copy and resumes"
    )


@dataclass(frozen=True, kw_only=True)
class PlaceData(HostStep):
    """Archive the old data and put the restored data in its place. All members are stopped at that time.

    `closed`: the settings are written first with which only etcdup can reach the member (core/host/closed_member.py).
    """

    aside: str
    closed: bool = True
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "the host has both the old and the restored data; the same command, run again, resumes"
    )


@dataclass(frozen=True, kw_only=True)
class RevokeLeases(Step):
    """Start the restored members so that only etcdup reaches them, and revoke every lease of the restored data.

    A lease in a snapshot is a claim of a process at that time. The step ends when no member has a lease.
    """

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "no client can connect to the restored members; the same command, run again, resumes"
    )


@dataclass(frozen=True, kw_only=True)
class OpenClients(HostStep):
    """Stop the member that only etcdup reaches, and write the settings for clients. No client is connected to it."""

    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "no client can connect to the restored members; the same command, run again, resumes"
    )


@dataclass(frozen=True, kw_only=True)
class StartRestored(Step):
    """Start all restored members together, and prove that they are healthy (rules 1, 2, 11)."""

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "some members run and wait for the others; the same command, run again, starts the others"
    )


@dataclass(frozen=True, kw_only=True)
class FenceOff(HostStep):
    """Write a key into the restored cluster for each token of a superseded cluster.

    A member of a superseded cluster that starts later reads this key and stays stopped (startup_fence.py).
    """

    tokens: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the restored cluster serves clients; the same command, run again, resumes"


@dataclass(frozen=True, kw_only=True)
class SealRestore(HostStep):
    """Write into the marker that the restored member was proved healthy, and delete the copy of the snapshot."""


@dataclass(frozen=True, kw_only=True)
class EnableFence(HostStep):
    """Delete the file that an interrupted start of restored members left. With it, etcd starts without the fence."""


@dataclass(frozen=True, kw_only=True)
class ForgetRestore(HostStep):
    """Cancel a restore that is only staged: delete the staged data. The running member is not changed."""


@dataclass(frozen=True, kw_only=True)
class MarkUndo(HostStep):
    """Write into the marker that the undo of the restore has begun, before anything is changed."""


@dataclass(frozen=True, kw_only=True)
class UndoData(HostStep):
    """Archive the restored data and put the previous data in its place. All members are stopped at that time."""

    aside: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "the host has both the old and the restored data; `etcdup restore --undo`, run again, resumes"
    )


@dataclass(frozen=True, kw_only=True)
class RestoreKeys(Step):
    """Write the values that keys had at a revision of a backup, each only if the key is as it was shown.

    `created` keys do not exist now, `overwritten` keys have another value. `bytes` is the size of all of them.
    """

    source: str
    revision: int
    prefix: str
    to_prefix: str
    created: int
    overwritten: int
    bytes: int
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "some of the keys are written; the same command, run again, writes the others"
