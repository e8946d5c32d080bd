"""The ways between versions: which minors follow each other, what each step up or down asks, what is impossible.

etcd goes one minor at a time and does not check it on the way up (rule 42), so it is checked here. What etcd's
own members do on each way is tried on real ones in tests/local/test_etcd_versions.py.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from etcdup.core.etcd.known_issues import Scope, Series
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.version import NEWEST, Version
from etcdup.core.versions.advisories import blocking_advisories

# `return` is the way back of a half-done upgrade, and the rest of a half-done downgrade: as long as one member
# runs the lower minor, the cluster's version is the lower one, and etcd needs no leave to go down (rule 46).
HopKind = Literal["patch", "upgrade", "return", "downgrade"]


@dataclass(frozen=True)
class SupportedHop:
    """One step between neighbouring minors that etcd itself supports.

    `scope` names the faults that a release must not have to be its source; `users` says whether etcd's own users
    may be switched on meanwhile; `v2store` whether the data must be free of etcd's old API first.
    """

    source: Series
    target: Series
    scope: Scope | None = None
    users: bool = True
    v2store: bool = False


# Down to 3.4 etcd itself goes only from patches of 3.4 made for it (rule 47): a restore does the same and more
# surely, so there is no way here.
SUPPORTED_HOPS = (
    SupportedHop((3, 4), (3, 5), users=False),  # rule 45
    SupportedHop((3, 5), (3, 6), scope="source-for-3.6", v2store=True),  # rule 44
    SupportedHop((3, 6), (3, 7), scope="source-for-3.7"),
    SupportedHop((3, 7), (3, 6)),
    SupportedHop((3, 6), (3, 5)),
)
_UP = {way.source: way for way in SUPPORTED_HOPS if way.target > way.source}
_DOWN = {way.source: way for way in SUPPORTED_HOPS if way.target < way.source}
_OLDEST, _LATEST = min(NEWEST), max(NEWEST)
# From this patch of 3.4 on, etcd itself knows a way back from 3.5.
_KNOWS_WAY_BACK = Version(3, 4, 32)
# From this patch of 3.5 on, members that were removed long ago are cleaned out of the data (rule 44).
_CLEANS_MEMBERS = Version(3, 5, 26)


@dataclass(frozen=True)
class VersionHop:
    """All members, one after the other, to `target`. `source` is the minor that they come from."""

    source: Series
    target: Version
    kind: HopKind

    @property
    def changes_minor(self) -> bool:
        return self.kind != "patch"

    @property
    def checks_v2store(self) -> bool:
        """Whether each member's data must be free of etcd's old API before it is moved."""
        return self.kind == "upgrade" and _UP[self.source].v2store

    @property
    def has_no_return(self) -> bool:
        """Whether its last member closes a way: until then, the old version in cluster.yaml takes all back (rule 46).

        Not so a downgrade: its members can be taken up again at any time, once it is cancelled or over.
        """
        return self.kind == "upgrade"


def version_hops(
    running: Collection[Version], wanted: Version, *, one_version_only: bool = False
) -> tuple[VersionHop, ...] | Refused:
    """The hops from what the members run to what cluster.yaml wants, in order; () where they run it.

    Members may differ: then a hop is half done, and the first hop here ends it, upwards or downwards. Minors in
    between are taken by their newest patch. `one_version_only`: the binaries come from a place that holds the
    wanted version alone, so that more than one hop cannot be made in one apply.
    """
    if not running or all(version == wanted for version in running):
        return ()
    if refused := _refuse_span(running, wanted):
        return refused[0]
    path = tuple(_path(running, wanted))
    if one_version_only and len(path) > 1:
        return _several_hops(path, wanted)
    return path


def refuse_hop(hop: VersionHop, running: Collection[Version], *, users: bool) -> tuple[Refused, ...]:
    """Why this hop may not be begun, or gone on with, from what the members run.

    `users`: etcd's own users and roles are switched on. The way back of a half-done hop is always free.
    """
    if hop.kind != "upgrade":
        return ()
    way = _UP[hop.source]
    if users and not way.users:
        return (
            Refused(
                f"etcd's own users are switched on: from {_minor(way.source)} to {_minor(way.target)} the members "
                "would not understand each other's log",
                hint="`etcdctl auth disable` for the time of the upgrade, if the network allows it, then apply again",
                rules=(45,),
            ),
        )
    return _refuse_sources(way, [version for version in running if version.series == hop.source], running)


def hop_notes(hop: VersionHop, running: Collection[Version]) -> tuple[str, ...]:
    """What the operator should know of this hop before it begins, and nothing can change."""
    if hop.kind == "upgrade":
        return (_way_back_note(hop, min(running)),)
    if hop.kind == "patch" and max(running) >= _CLEANS_MEMBERS > hop.target >= (3, 5, 0):
        return (
            f"{hop.target} is older than {_CLEANS_MEMBERS}, which mends how members that are gone are remembered: "
            "before 3.6 every member has to run it or a later one again",
        )
    return ()


def downgrade_request(hop: VersionHop, downgrade_to: str) -> Literal["", "enable", "cancel"]:
    """What etcd has to be told before the first member of this hop is touched.

    `downgrade_to` is what the members say of a downgrade under way (MemberSeen); from 3.6 on they know it.
    """
    if hop.kind == "downgrade":
        # what leads to where the members are by now is the hop before this one, which etcd is about to end
        return "enable" if downgrade_to in ("", f"{_minor(hop.source)}.0") else ""
    return "cancel" if is_stray_downgrade(downgrade_to, hop.target) else ""


def is_stray_downgrade(downgrade_to: str, wanted: Version) -> bool:
    """Whether a downgrade is under way that leads elsewhere than to this version.

    etcd ends one by itself a few seconds after all members run its target. Members taken up again sooner keep it,
    and with it the older form of their data, until it is cancelled: also where no hop is left to be made.
    """
    return bool(downgrade_to) and not downgrade_to.startswith(f"{_minor(wanted.series)}.")


def how_to_go_back(source: Version, target: Version) -> str:
    """How members get back to `source`, once all of them run `target`, a minor later."""
    if target.series in _DOWN and _DOWN[target.series].target == source.series:
        return f"the way back to {_minor(source.series)} is etcd's downgrade, which etcdup knows"
    if source < _KNOWS_WAY_BACK:
        return f"there is no way back but a restore, since {source} knows none"
    return "etcdup knows no way back but a restore"


def _refuse_span(running: Collection[Version], wanted: Version) -> tuple[Refused, ...]:
    """Members too far apart, minors that etcdup does not know, and the one way down that there is not."""
    low, high = min(running).series, max(running).series
    if unknown := sorted({version for version in (*running, wanted) if version.series not in NEWEST}):
        return (_unknown_minor(unknown[0]),)
    if high not in (low, _above(low)):
        return (
            Refused(
                f"members run {_shown(running)}: more than one minor apart, which etcd does not support",
                hint=f"bring the members of {_minor(low)} to {_minor(_above(low))} by hand, or restore a snapshot",
                rules=(42,),
            ),
        )
    if wanted.series == _OLDEST < low:
        return (
            Refused(
                f"there is no way down from {_minor(low)} to {_minor(_OLDEST)}",
                hint=f"a snapshot can be restored into a new cluster of {NEWEST[_OLDEST]}",
                rules=(47, 59),
            ),
        )
    return ()


def _unknown_minor(version: Version) -> Refused:
    if version.series < _OLDEST:
        return Refused(
            f"etcd {version} is older than any that etcdup runs, and etcd goes one minor at a time",
            hint=f"bring it to {NEWEST[_OLDEST]} first, by etcd's guide for upgrades to {_minor(_OLDEST)}",
            rules=(42,),
        )
    return Refused(
        f"etcd {version} is newer than any that this etcdup knows",
        hint="a newer etcdup may know it",
        rules=(51,),
    )


def _path(running: Collection[Version], wanted: Version) -> list[VersionHop]:
    low, high = min(running).series, max(running).series
    up = wanted.series >= high
    found: list[VersionHop] = []
    if low == high == wanted.series:
        found.append(VersionHop(low, wanted, "patch"))
    elif low != high:  # a half-done hop is ended first, in the direction that the wish lies in
        source, to = (low, high) if up else (high, low)
        found.append(VersionHop(source, _patch(to, wanted), "upgrade" if up else "return"))
    at = high if up else low
    while at != wanted.series:
        target = (_UP if up else _DOWN)[at].target
        found.append(VersionHop(at, _patch(target, wanted), "upgrade" if up else "downgrade"))
        at = target
    return found


def _patch(series: Series, wanted: Version) -> Version:
    return wanted if series == wanted.series else NEWEST[series]


def _several_hops(path: tuple[VersionHop, ...], wanted: Version) -> Refused:
    way = ", then ".join(str(hop.target) for hop in path)
    return Refused(
        f"the way to {wanted} is {way}, and `install` in cluster.yaml has one version only",
        hint=f"write version: {path[0].target} and where to have it from, apply, and go on from there",
        rules=(42,),
    )


def _refuse_sources(
    way: SupportedHop, sources: list[Version], running: Collection[Version]
) -> tuple[Refused, ...]:
    if way.scope is None:
        return ()
    faults = {
        version: fault
        for version in sources
        for fault in blocking_advisories(version, scopes=[way.scope])
        if fault.scope == way.scope
    }
    if not faults:
        return ()
    least = next(iter(faults.values())).fixed_in[0]
    begun = len({version.series for version in running}) > 1
    return (
        Refused(
            f"members run {_shown(faults)}: to go to {_minor(way.target)}, all have to run {least} or later first",
            hint=f"write version: {NEWEST[way.source]}, apply"
            + (" (the way back)" if begun else "")
            + ", then go on",
            rules=(43, 44),
        ),
    )


def _way_back_note(hop: VersionHop, oldest: Version) -> str:
    until = f"until the last member runs {_minor(hop.target.series)}"
    way_back = how_to_go_back(oldest, hop.target)
    return f"{until}, `version: {oldest}` in cluster.yaml takes all back; from then on {way_back}"


def _above(series: Series) -> Series:
    return (series[0], series[1] + 1)


def _minor(series: Series) -> str:
    return f"{series[0]}.{series[1]}"


def _shown(versions: Collection[Version]) -> str:
    return ", ".join(str(version) for version in sorted(set(versions)))
