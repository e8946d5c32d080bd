"""From the version that runs to the one that is wanted: for each minor on the way a snapshot, a look and a roll
(rules 42-51). The path itself is data, in upgrade.py.
"""

from dataclasses import replace
from datetime import timedelta

from etcdup.core.host.content import TextContent
from etcdup.core.host.drift import binaries_steps, restart_reasons
from etcdup.core.host.files import desired_files, desired_settings
from etcdup.core.host.unit import UNIT_VARIABLE, unit_digest
from etcdup.core.members.quorum import unhealthy
from etcdup.core.members.rolling_restart import rolling_restart_steps
from etcdup.core.observed.model import FileSeen, HostSeen, MemberSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import CancelDowngrade, CheckV2Store, EnableDowngrade, TakeSnapshot
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import Version, parse_version
from etcdup.core.versions.upgrade_paths import (
    VersionHop,
    downgrade_request,
    is_stray_downgrade,
    refuse_hop,
    version_hops,
)

# Long enough for the next apply to go on where one was cut; an older snapshot lacks too much to go back to.
FRESH_SNAPSHOT = timedelta(minutes=10)


def version_path(spec: Spec, observed: Observed) -> tuple[VersionHop, ...] | Refused:
    """The hops that lead from what runs to what is wanted, the unfinished one first."""
    versions = running_versions(spec, observed)
    if not versions:
        return ()
    return version_hops(versions, spec.version, one_version_only=spec.install.source in ("path", "package"))


def versions_ahead(spec: Spec, observed: Observed) -> tuple[Version, ...]:
    """Every version that a host may need before the wanted one runs, in order."""
    path = version_path(spec, observed)
    targets = () if isinstance(path, Refused) else tuple(hop.target for hop in path)
    return tuple(dict.fromkeys((*targets, spec.version)))


def running_versions(spec: Spec, observed: Observed) -> frozenset[Version]:
    """What the members run, as they say themselves; of a stopped one, what it would be started with."""
    found = {seen.version for seen in observed.answering().values()}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.has_member and host.name not in observed.answering():
            found |= _parsed(seen.current)
    return frozenset(found)


def refuse_start_hop(spec: Spec, hop: VersionHop, observed: Observed) -> tuple[Refused, ...]:
    """Reasons against a hop that no member has made yet: all must be well before the first one does (rule 43)."""
    versions = running_versions(spec, observed)
    reasons = list(refuse_hop(hop, versions, users=bool(observed.auth)))
    begun = any(version.series == hop.target.series for version in versions)
    if not begun and (ill := unhealthy(observed)):
        reasons.append(
            Refused(
                f"the minor version is not changed while {', '.join(ill)} is not healthy",
                hint="write the version that runs into cluster.yaml and `etcdup apply`; change it when all is well",
                rules=(43,),
            )
        )
    return tuple(reasons)


def version_change_steps(
    spec: Spec, path: tuple[VersionHop, ...], observed: Observed, token: str
) -> list[Step]:
    """Every hop's steps. Later hops are planned for what will be there when the earlier ones are done."""
    steps: list[Step] = []
    for hop in path:
        at = spec.at(hop.target)
        steps += _hop_steps(at, hop, observed, token)
        observed = _observed_after(at, observed, token)
    return steps


def restarts_for_hop(spec: Spec, observed: Observed, token: str) -> dict[str, tuple[str, ...]]:
    """Why each member has to be restarted for this hop, those included that have to be started before."""
    due = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is None or not seen.has_member:
            continue
        if why := restart_reasons(spec, host, seen, token, observed.pki):
            due[host.name] = why
        elif not seen.unit.is_running and seen.current != str(spec.version):
            due[host.name] = (f"it has {seen.current or 'no version'}, {spec.version} is wanted",)
    return due


def _hop_steps(spec: Spec, hop: VersionHop, observed: Observed, token: str) -> list[Step]:
    due = restarts_for_hop(spec, observed, token)
    old = [name for name in due if _series_of(name, observed) == hop.source]
    steps = [*_hop_binaries_steps(spec, observed), *_snapshot_steps(spec, hop, observed)]
    if hop.checks_v2store:
        reason = "3.6 no longer reads what etcd's v2 API left behind"
        steps += [CheckV2Store(host=name, reason=reason, rules=(44,)) for name in sorted(old)]
    steps += _downgrade_steps(hop, observed)
    return [*steps, *rolling_restart_steps(spec, observed, token, due, one_way=hop.has_no_return)]


def _hop_binaries_steps(spec: Spec, observed: Observed) -> list[Step]:
    """The hop's version on every host, ahead of everything else: nothing that runs is touched by it."""
    steps: list[Step] = []
    for host in spec.hosts:
        if (seen := observed.reachable().get(host.name)) is not None:
            steps += binaries_steps(spec, host, seen, observed)
    return steps


def _snapshot_steps(spec: Spec, hop: VersionHop, observed: Observed) -> list[Step]:
    """A snapshot, as long as no member has made the hop and none was taken just before (rule 43)."""
    versions = running_versions(spec, observed)
    fresh = any(
        each.cluster == spec.name and each.hop == _span(hop) and observed.at - each.taken_at < FRESH_SNAPSHOT
        for each in observed.snapshots
    )
    if fresh or any(version.series == hop.target.series for version in versions):
        return []
    reason = f"what one goes back to, should {_minor(hop)} not do"
    folder = snapshot_folder(spec)
    return [TakeSnapshot(hop=_span(hop), folder=folder, reason=reason, rules=(43,))]


def snapshot_folder(spec: Spec) -> str:
    """Where snapshots go that are taken before a change of minor: with the backups, where these go to a folder."""
    return next((place for place in spec.backup.to if "://" not in place), "./backups")


def cancel_downgrade_steps(spec: Spec, observed: Observed) -> list[Step]:
    """A downgrade that leads elsewhere than cluster.yaml, where no hop is left that would see to it."""
    under_way = _downgrade_target(observed)
    if not is_stray_downgrade(under_way, spec.version):
        return []
    reason = "no member is to go down any more"
    return [CancelDowngrade(target=under_way, reason=reason, rules=(47,))]


def _downgrade_target(observed: Observed) -> str:
    return max((seen.downgrade_to for seen in observed.answering().values()), default="")


def _downgrade_steps(hop: VersionHop, observed: Observed) -> list[Step]:
    """What etcd is told of a downgrade before the first member is touched (rule 47)."""
    under_way = _downgrade_target(observed)
    match downgrade_request(hop, under_way):
        case "cancel":
            reason = "cluster.yaml no longer asks for it"
            return [CancelDowngrade(target=under_way, reason=reason, rules=(47,))]
        case "enable":
            reason = f"the members have to write their data as {_minor(hop)} reads it"
            return [EnableDowngrade(target=_minor(hop), reason=reason, rules=(47,))]
        case _:
            return []


def _span(hop: VersionHop) -> str:
    major, minor = hop.source
    return f"{major}.{minor}-to-{_minor(hop)}"


def _minor(hop: VersionHop) -> str:
    major, minor = hop.target.series
    return f"{major}.{minor}"


def _series_of(name: str, observed: Observed) -> tuple[int, int] | None:
    seen = observed.members[name]
    return seen.version.series if isinstance(seen, MemberSeen) else None


def _parsed(version: str) -> set[Version]:
    try:
        return {parse_version(version)}
    except WrongValue:
        return set()


def _observed_after(spec: Spec, observed: Observed, token: str) -> Observed:
    """The world once every member of this hop is where the hop leads."""
    hosts = dict(observed.hosts)
    for host in spec.hosts:
        seen = hosts[host.name]
        if isinstance(seen, HostSeen):
            hosts[host.name] = _host_after(spec, host, seen, observed, token)
    members = {
        name: replace(seen, version=spec.version, downgrade_to="") if isinstance(seen, MemberSeen) else seen
        for name, seen in observed.members.items()
    }
    return replace(observed, hosts=hosts, members=members)


def _host_after(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed, token: str) -> HostSeen:
    layout = layout_of(spec, host)
    version = str(spec.version)
    wanted = desired_files(spec, host, layout, token, observed.pki)
    files = {
        file.path: FileSeen(
            file.path,
            file.sha256 or "",
            file.mode,
            file.owner,
            file.content.text if isinstance(file.content, TextContent) else None,
        )
        for file in wanted
    }
    start = files[layout.unit].text or ""
    environment = desired_settings(spec, host, layout, token, observed.pki).variables()
    unit = replace(
        seen.unit,
        exe=f"{layout.version_dir(version)}/etcd",
        environment={**environment, UNIT_VARIABLE: unit_digest(start)},
        enabled="enabled",
        needs_reload=False,
    )
    versions = tuple(dict.fromkeys((*seen.versions, version)))
    return replace(seen, files=files, unit=unit, versions=versions, current=version)
