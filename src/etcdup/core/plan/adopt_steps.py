"""The steps that take over a cluster of another tool, and that give it back."""

from dataclasses import dataclass
from typing import ClassVar

from etcdup.core.plan.step import HostStep, Step


@dataclass(frozen=True, kw_only=True)
class AdoptHost(HostStep):
    """Write the marker of a host whose etcd another tool installed. Nothing else is changed."""

    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "no member is changed; the same command, run again, writes the markers that are missing"
    )


@dataclass(frozen=True, kw_only=True)
class ReleaseHost(HostStep):
    """Remove the marker of an adopted host. Its etcd continues to run as before."""

    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "no member is changed; the same command, run again, removes the markers that are left"
    )


@dataclass(frozen=True, kw_only=True)
class TakeOverMember(HostStep):
    """Switch a member from the unit of another tool to that of etcdup: the same data, identity, version and binary."""

    version: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "a script on the host ends the switch, also after a reboot: the new or the old member runs then; run the same "
        "command again"
    )


@dataclass(frozen=True, kw_only=True)
class GiveBackMember(HostStep):
    """Switch a member back to the unit of the tool that made it, with its data as it is."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "a script on the host ends the switch, also after a reboot: the old member runs then; run the same command "
        "again"
    )


@dataclass(frozen=True, kw_only=True)
class FinishTakeOver(Step):
    """Write the final settings and markers: from then on, these hosts are managed as hosts that etcdup made."""

    hosts: tuple[str, ...]
    if_cut: ClassVar[str] = "no member is changed; the same command, run again, writes what is left"
