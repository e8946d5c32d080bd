"""The steps before and after a change of the version of etcd."""

from dataclasses import dataclass
from typing import ClassVar

from etcdup.core.plan.step import HostStep, Step


@dataclass(frozen=True, kw_only=True)
class TakeSnapshot(Step):
    """Save a verified snapshot in a directory on the operator's machine, before the first member changes its minor.

    `hop` is the change, for example `3.5-to-3.6` (rule 43).
    """

    hop: str
    folder: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "no running member is changed; an incomplete snapshot is never listed"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.hop)


@dataclass(frozen=True, kw_only=True)
class CheckV2Store(HostStep):
    """Check with etcdutl whether the member has data of the v2 store, which 3.6 cannot read (rule 44). Read-only."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "this step only reads"


@dataclass(frozen=True, kw_only=True)
class EnsureRaftSnapshot(HostStep):
    """Prove on the disk that the member reads no v2 request from its log when it starts (rule 111).

    If it would, entries without effect are appended first, so that every member makes a raft snapshot.
    """

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "no member is changed, the log may have more entries; the next apply checks again"


@dataclass(frozen=True, kw_only=True)
class EnableDowngrade(Step):
    """Enable the downgrade to this minor. The members then convert their data to the older format (rule 47)."""

    target: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "all members still run the newer minor; the next apply continues, or cancels the downgrade if `version` in "
        "cluster.yaml is the newer one again"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.target)


@dataclass(frozen=True, kw_only=True)
class CancelDowngrade(Step):
    """Cancel the downgrade that is enabled."""

    target: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the downgrade is cancelled or still enabled; the next apply detects which"
