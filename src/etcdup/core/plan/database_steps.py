"""The steps that change the database of members: alarms, history, free space."""

from dataclasses import dataclass
from typing import ClassVar

from etcdup.core.plan.step import HostStep, Step


@dataclass(frozen=True, kw_only=True)
class DisarmSpaceAlarm(Step):
    """Disarm NOSPACE on each member, because each database has space in the quota of its process (rule 70)."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the alarm is disarmed or still active; the next apply detects which"


@dataclass(frozen=True, kw_only=True)
class DisarmCorruptAlarm(Step):
    """Compare the data of all voters, and disarm CORRUPT if it is the same (rule 82).

    `member` is the member that is repaired.
    """

    member: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the alarm is disarmed or still active; the same command, run again, detects which"
    )


@dataclass(frozen=True, kw_only=True)
class CompactHistory(Step):
    """Remove the history up to a revision on each member. The present keys stay (rule 70)."""

    revision: int
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "each member continues a compaction that it has begun; no present key is lost; run the same command again for "
        "the rest"
    )


@dataclass(frozen=True, kw_only=True)
class DefragmentMember(HostStep):
    """Defragment the database of a member. `in_use` is the size of its data in bytes.

    The member is blocked meanwhile, and its clients wait. A leader transfers the leadership first (rules 73 to 75).
    """

    in_use: int
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "the member continues a defragmentation that it has begun, and then serves its clients again; run the same "
        "command again for the rest"
    )


@dataclass(frozen=True, kw_only=True)
class DefragmentOffline(HostStep):
    """Stop a member, defragment its database, and start it again (rules 38, 39, 79).

    `in_use` is the size of its data in bytes, 0 if it is not known yet. A leader transfers the leadership first.
    """

    in_use: int
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "this member is stopped or starting, the others serve clients. If its host runs, it starts etcd when the "
        "defragmentation has ended; otherwise the same command or `etcdup apply` starts it"
    )
