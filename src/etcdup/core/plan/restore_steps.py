"""The steps of a restore and its undo, and of what recover does beside them."""

from dataclasses import dataclass
from typing import ClassVar

from etcdup.core.plan.step import HostStep, Step


@dataclass(frozen=True, kw_only=True)
class StageRestore(HostStep):
    """The snapshot goes to the host, and etcd's own tool restores it beside what runs, which is not touched.

    `snapshot` is the file on the operator's machine, `token` the new cluster's (rules 4, 56).
    """

    snapshot: str
    sha256: str
    token: str
    aside: str
    bump: int
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "what runs is not touched; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class StopMembers(Step):
    """Every member of the old cluster is stopped, and seen to be, before any restored one starts (rule 57)."""

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "the cluster is down, its data is in place; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class CopyData(HostStep):
    """The stopped member's data is copied beside itself, under the new cluster's token; nothing takes its place
    before that."""

    token: str
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the copy is whole or not there; the same recover goes on"


@dataclass(frozen=True, kw_only=True)
class FreeSpace(HostStep):
    """What etcdup can bring again any time goes from a disk that is full, so that etcd can write; no data does."""

    paths: tuple[str, ...]
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "some of it is gone, and nothing that is needed; the same recover goes on"


@dataclass(frozen=True, kw_only=True)
class SalvageData(HostStep):
    """The stopped member's data becomes a snapshot on the operator's machine, off a copy that is gone afterwards.

    `term` and `index` are of the last entry in its log, `snapshot` is the file that is made.
    """

    term: int
    index: int
    snapshot: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "the data is in its place; the same recover removes what is left of the copy, and goes on"
    )


@dataclass(frozen=True, kw_only=True)
class PlaceData(HostStep):
    """The old data is moved aside and the restored data takes its place. etcd is stopped everywhere by then."""

    aside: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "old and restored data are both there; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class StartRestored(Step):
    """All restored members are started together and proved healthy (rules 1, 2, 11)."""

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "some members wait for the others; the same restore starts those"


@dataclass(frozen=True, kw_only=True)
class FenceOff(HostStep):
    """The cluster that this host's member is of says from here on, by their `tokens`, which clusters' place it took:
    members of those that start later ask for that, and stay down (fence.py)."""

    tokens: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the restored cluster serves; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class SealRestore(HostStep):
    """The restored member was proved: its host says so, and the copy of the snapshot goes."""


@dataclass(frozen=True, kw_only=True)
class ForgetRestore(HostStep):
    """A restore that was never put in place is given up: what was staged goes, what runs is not touched."""


@dataclass(frozen=True, kw_only=True)
class MarkUndo(HostStep):
    """The host's mark says that its restore is being undone, before anything is."""


@dataclass(frozen=True, kw_only=True)
class UndoData(HostStep):
    """What was restored is moved aside, and the data of before takes its place. etcd is stopped everywhere by then."""

    aside: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "old and restored data are both there; the same undo goes on"
