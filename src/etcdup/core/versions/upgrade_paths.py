"""The hops between minor versions: which are supported, what each requires, and which are impossible.

etcd supports one minor at a time, but does not check this during an upgrade (rule 42). So it is checked here.
tests/local/test_etcd_versions.py tests each hop on real members.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from etcdup.core.etcd.known_issues import Scope, Series
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.version import NEWEST, Version
from etcdup.core.versions.advisories import blocking_advisories

# `return` goes back from an incomplete upgrade, or completes a downgrade. While one member runs the lower minor, the
# cluster version is the lower one, and etcd permits the lower minor without a downgrade request (rule 46).
HopKind = Literal["patch", "upgrade", "return", "downgrade"]


@dataclass(frozen=True)
class SupportedHop:
    """A hop between two neighbouring minors that etcd supports.

    `scope` names the faults that no member may have before the hop.
    `users` is whether users may be enabled in etcd during the hop.
    `v2store` is whether the data must contain no v2 data, and `v2log` whether no member may start from a log with v2
    requests.
    """

    source: Series
    target: Series
    scope: Scope | None = None
    users: bool = True
    v2store: bool = False
    v2log: bool = False


# A downgrade to 3.4 works only with late patches of 3.4 (rule 47). A restore does the same and is safer, so etcdup does
# not support this hop.
SUPPORTED_HOPS = (
    SupportedHop((3, 4), (3, 5), users=False),  # rule 45
    SupportedHop((3, 5), (3, 6), scope="source-for-3.6", v2store=True),  # rule 44
    SupportedHop((3, 6), (3, 7), scope="source-for-3.7", v2log=True),  # rule 111
    SupportedHop((3, 7), (3, 6)),
    SupportedHop((3, 6), (3, 5)),
)
_UP = {hop.source: hop for hop in SUPPORTED_HOPS if hop.target > hop.source}
_DOWN = {hop.source: hop for hop in SUPPORTED_HOPS if hop.target < hop.source}
_OLDEST, _LATEST = min(NEWEST), max(NEWEST)
# From this patch of 3.4 on, etcd supports a downgrade from 3.5.
_SUPPORTS_DOWNGRADE = Version(3, 4, 32)
# From this patch of 3.5 on, etcd deletes members that were removed long ago from its data (rule 44).
_CLEANS_MEMBERS = Version(3, 5, 26)
# From these patches on, the lease requests of a client need a valid login (CVE-2026-33413).
_GUARDS_LEASES = {(3, 4): 42, (3, 5): 28, (3, 6): 9}
_GATEWAY_NOTE = (
    "from 3.6 on, errors of the JSON gateway have another form: Patroni needs release 4.1.5 or later. Older releases "
    "do not recognise a lost lock or a wrong password"
)


@dataclass(frozen=True)
class VersionHop:
    """The change of all members, one after the other, to `target`. `source` is the minor that they run before."""

    source: Series
    target: Version
    kind: HopKind

    @property
    def changes_minor(self) -> bool:
        return self.kind != "patch"

    @property
    def checks_v2store(self) -> bool:
        """Return whether the data of each member must contain no v2 data before the hop."""
        return self.kind == "upgrade" and _UP[self.source].v2store

    @property
    def needs_raft_snapshot(self) -> bool:
        """Return whether each member must have a raft snapshot after the last v2 request of its log before the hop."""
        return self.kind == "upgrade" and next_minor_needs_raft_snapshot(self.source)

    @property
    def has_no_return(self) -> bool:
        """Return whether the way back changes when the last member makes the hop (rule 46).

        Before that, the old version in cluster.yaml brings all members back. Afterwards this needs a downgrade of etcd,
        or is impossible: see `way_back`. A downgrade can be reverted at any time, when it is cancelled or complete.
        """
        return self.kind == "upgrade"


def version_hops(
    running: Collection[Version], wanted: Version, *, one_version_only: bool = False
) -> tuple[VersionHop, ...] | Refused:
    """Return the hops from the running versions to the version of cluster.yaml, in order; () if all members run it.

    If the members run different minors, a hop is incomplete, and the first returned hop completes or reverts it.
    For minors in between, the newest patch is used. `one_version_only`: the source of the binaries has only the wanted
    version, so one apply can make only one hop.
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
    """Return the reasons against the start or the continuation of this hop from the running versions.

    `users`: users and roles are enabled in etcd. Going back from an incomplete hop is always allowed.
    """
    if hop.kind != "upgrade":
        return ()
    supported = _UP[hop.source]
    if users and not supported.users:
        return (
            Refused(
                f"authentication (auth) is enabled: during an upgrade from {_minor(supported.source)} to "
                f"{_minor(supported.target)} the members then cannot read each other's log",
                hint="if your network permits that each client has all permissions, run `etcdup ctl -- auth disable`, "
                "then run `etcdup apply` again. After the upgrade, run `etcdup ctl -- auth enable`",
                rules=(45,),
            ),
        )
    return _refuse_sources(
        supported, [version for version in running if version.series == hop.source], running
    )


def next_minor_needs_raft_snapshot(series: Series) -> bool:
    """Return whether the log of a member of this minor can prevent a start with the next minor (rule 111)."""
    return series in _UP and _UP[series].v2log


def hop_notes(hop: VersionHop, running: Collection[Version], *, users: bool = False) -> tuple[str, ...]:
    """Return facts that the operator must know before the hop, and that no step can change.

    `users`: users and roles are enabled in etcd.
    """
    leases = _lease_notes(hop, running) if users else ()
    if hop.kind == "upgrade":
        gateway = (_GATEWAY_NOTE,) if hop.target.series == (3, 6) else ()
        return (way_back_note(hop, min(running)), *gateway, *leases)
    if hop.kind == "patch" and max(running) >= _CLEANS_MEMBERS > hop.target >= (3, 5, 0):
        return (
            f"{hop.target} is older than {_CLEANS_MEMBERS}, which corrects the records of removed members in the data. "
            f"Before an upgrade to 3.6, all members must run {_CLEANS_MEMBERS} or later again",
            *leases,
        )
    return leases


def _lease_notes(hop: VersionHop, running: Collection[Version]) -> tuple[str, ...]:
    """Return the note on clients that do not log in again for a lease, if this hop brings the check of the login."""
    if all(_guards_leases(version) for version in running) or not _guards_leases(hop.target):
        return ()
    return (
        f"with users enabled, {hop.target} keeps a lease only for a client that is logged in, and each restart of a "
        "member ends logins: a Patroni before 4.1.1 then demotes its primary",
    )


def _guards_leases(version: Version) -> bool:
    return version.patch >= _GUARDS_LEASES.get(version.series, 0)


def downgrade_request(hop: VersionHop, downgrade_to: str) -> Literal["", "enable", "cancel"]:
    """Return the downgrade request that etcd needs before the first member of this hop is changed.

    `downgrade_to` is the target of a downgrade in progress, as members from 3.6 on report it (MemberSeen).
    """
    if hop.kind == "downgrade":
        # A downgrade to the minor that the members run now is the previous hop. etcd is about to end it.
        return "enable" if downgrade_to in ("", f"{_minor(hop.source)}.0") else ""
    return "cancel" if is_stray_downgrade(downgrade_to, hop.target) else ""


def is_stray_downgrade(downgrade_to: str, wanted: Version) -> bool:
    """Return whether a downgrade is in progress whose target is not this version.

    etcd ends a downgrade a few seconds after all members run its target. If the members are upgraded again before that,
    the downgrade and the older format of the data stay until it is cancelled. This can also be the case without a hop.
    """
    return bool(downgrade_to) and not downgrade_to.startswith(f"{_minor(wanted.series)}.")


def way_back(target: Series) -> Series | None:
    """Return the minor that all members can go back to with a downgrade, after all of them run `target`."""
    hop = _DOWN.get(target)
    return hop.target if hop else None


def how_to_go_back(source: Version, target: Version) -> str:
    """Return how members can go back to `source` after all of them run `target`, the next minor."""
    if way_back(target.series) == source.series:
        return f"etcdup can go back to {_minor(source.series)} with a downgrade"
    if source < _SUPPORTS_DOWNGRADE:
        return f"you can go back only with a restore, because {source} supports no downgrade"
    return "you can go back only with a restore, because etcdup does not support this downgrade"


def way_back_note(hop: VersionHop, oldest: Version) -> str:
    """Return until when members can go back from this upgrade, and how."""
    until = f"until the last member runs {_minor(hop.target.series)}"
    afterwards = how_to_go_back(oldest, hop.target)
    return f"{until}, `version: {oldest}` in cluster.yaml brings all members back; after that, {afterwards}"


def _refuse_span(running: Collection[Version], wanted: Version) -> tuple[Refused, ...]:
    """Refuse members more than one minor apart, unknown minors, and a downgrade to the oldest minor."""
    low, high = min(running).series, max(running).series
    if unknown := sorted({version for version in (*running, wanted) if version.series not in NEWEST}):
        return (_unknown_minor(unknown[0]),)
    if high not in (low, _above(low)):
        return (
            Refused(
                f"the members run {_shown(running)}: they are more than one minor apart, and etcd does not support "
                "this",
                hint=f"take a backup. Then upgrade the members of {_minor(low)} to {_minor(_above(low))} without "
                "etcdup, and run the same command again",
                rules=(42,),
            ),
        )
    if wanted.series == _OLDEST < low:
        return (
            Refused(
                f"etcdup cannot downgrade a cluster from {_minor(low)} to {_minor(_OLDEST)}",
                hint=f"keep {_minor(low)}. Or restore a snapshot that {_minor(_OLDEST)} made before the upgrade into a "
                f"new cluster of {NEWEST[_OLDEST]}: all writes since that snapshot are lost",
                rules=(47, 59),
            ),
        )
    return ()


def _unknown_minor(version: Version) -> Refused:
    if version.series < _OLDEST:
        return Refused(
            f"etcd {version} is older than any version that etcdup supports, and etcd is upgraded one minor at a time",
            hint=f"upgrade to {NEWEST[_OLDEST]} first, as in the upgrade guide of etcd for {_minor(_OLDEST)}",
            rules=(42,),
        )
    return Refused(
        f"etcd {version} is newer than any version that this etcdup supports",
        hint="install a newer etcdup",
        rules=(51,),
    )


def _path(running: Collection[Version], wanted: Version) -> list[VersionHop]:
    low, high = min(running).series, max(running).series
    up = wanted.series >= high
    found: list[VersionHop] = []
    if low == high == wanted.series:
        found.append(VersionHop(low, wanted, "patch"))
    elif low != high:  # complete or revert the incomplete hop first
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
    versions = ", then ".join(str(hop.target) for hop in path)
    return Refused(
        f"the change to {wanted} needs {versions}, and `install` in cluster.yaml has one version only",
        hint=f"set `version: {path[0].target}` and an `install` that has it, and run `etcdup apply`. "
        "Then do the same with the next version",
        rules=(42,),
    )


def _refuse_sources(
    supported: SupportedHop, sources: list[Version], running: Collection[Version]
) -> tuple[Refused, ...]:
    if supported.scope is None:
        return ()
    faults = {
        version: fault
        for version in sources
        for fault in blocking_advisories(version, scopes=[supported.scope])
        if fault.scope == supported.scope
    }
    if not faults:
        return ()
    least = next(iter(faults.values())).fixed_in[0]
    begun = len({version.series for version in running}) > 1
    return (
        Refused(
            f"members run {_shown(faults)}, and before an upgrade to {_minor(supported.target)} all must run "
            f"{least} or later",
            hint=f"set `version: {NEWEST[supported.source]}` in cluster.yaml and run `etcdup apply`"
            + (", which first brings the upgraded members back" if begun else "")
            + f". Then set the version of {_minor(supported.target)} again and run `etcdup apply`",
            rules=(43, 44),
        ),
    )


def _above(series: Series) -> Series:
    return (series[0], series[1] + 1)


def _minor(series: Series) -> str:
    return f"{series[0]}.{series[1]}"


def _shown(versions: Collection[Version]) -> str:
    return ", ".join(str(version) for version in sorted(set(versions)))
