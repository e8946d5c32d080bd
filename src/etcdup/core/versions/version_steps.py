"""The steps of a version change: for each hop a snapshot, the checks and a rolling restart (rules 42-51).

The supported hops are data, in upgrade_paths.py.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from etcdup.core.host.drift import binaries_steps, restart_reasons
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.membership import is_replaced
from etcdup.core.members.quorum import healthy, unhealthy
from etcdup.core.members.rolling_restart import rolling_restart_steps
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.version_steps import (
    CancelDowngrade,
    CheckV2Store,
    EnableDowngrade,
    EnsureRaftSnapshot,
    TakeSnapshot,
)
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import Version, parse_version
from etcdup.core.versions.observed_after import observed_after_hop
from etcdup.core.versions.upgrade_paths import (
    VersionHop,
    downgrade_request,
    is_stray_downgrade,
    refuse_hop,
    version_hops,
)

DataCheck = CheckV2Store | EnsureRaftSnapshot

# An apply that resumes an interrupted one uses its snapshot. An older snapshot misses too many writes.
FRESH_SNAPSHOT = timedelta(minutes=10)


def version_path(spec: Spec, observed: Observed) -> tuple[VersionHop, ...] | Refused:
    """Return the hops from the running versions to the wanted one, an incomplete one first."""
    versions = running_versions(spec, observed)
    if not versions:
        return ()
    only_one = spec.install.source in ("path", "package", "host")
    hops = version_hops(versions, spec.version, one_version_only=only_one)
    if isinstance(hops, tuple) and hops and hops[0].changes_minor and _has_failed_hop(hops[0], observed):
        return (replace(hops[0], kind="return"), *hops[1:])
    return hops


def _has_failed_hop(hop: VersionHop, observed: Observed) -> bool:
    """Return whether no member answers, every member fails on its version, and every host has the version of the hop.

    Then the members go back. If the data has the format of another minor, etcd refuses to start and does not change it.
    """
    members = [seen for seen in observed.reachable().values() if seen.has_member]
    had = [seen.unit.has_failed and str(hop.target) in seen.versions for seen in members]
    return not observed.answering() and bool(had) and all(had)


def versions_ahead(spec: Spec, observed: Observed) -> tuple[Version, ...]:
    """Return every version that a host may need until the wanted one runs, in order."""
    path = version_path(spec, observed)
    targets = () if isinstance(path, Refused) else tuple(hop.target for hop in path)
    return tuple(dict.fromkeys((*targets, spec.version)))


def running_versions(spec: Spec, observed: Observed) -> frozenset[Version]:
    """Return the versions that the members report; for a stopped member, the version of its next start.

    A member that is being replaced is not started again, so its version does not count.
    """
    found = {seen.version for seen in observed.answering().values()}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        entry = entry_of(spec, host, member_list(observed))
        if seen is None or host.name in observed.answering() or is_replaced(seen, entry):
            continue
        if seen.has_member:
            found |= _parsed(seen.current)
    return frozenset(found)


def spec_of_start(spec: Spec, path: tuple[VersionHop, ...], seen: HostSeen, observed: Observed) -> Spec:
    """Return the Spec with the version that a stopped member is started with: that of the first hop.

    Before a hop has begun, the members must be healthy on the version that they have. A member that may need a raft
    snapshot for the hop makes it with the version that it has.
    """
    if not path:
        return spec
    hop, own = path[0], next(iter(_parsed(seen.current)), path[0].target)
    needs_snapshot = hop.needs_raft_snapshot and own.series == hop.source
    if hop.changes_minor and (needs_snapshot or not is_begun(spec, hop, observed)):
        return spec.at(own)
    return spec.at(hop.target)


def is_begun(spec: Spec, hop: VersionHop, observed: Observed) -> bool:
    """Return whether a member has made the hop, or fails on it."""
    versions = running_versions(spec, observed)
    return hop.kind == "return" or any(version.series == hop.target.series for version in versions)


def version_before(name: str, observed: Observed) -> str:
    """Return the version that a member with a new version can go back to: the other one that healthy members run.

    Return an empty text if they do not run exactly one other version.
    """
    seen = observed.reachable().get(name)
    others = {str(each.version) for other, each in healthy(observed).items() if other != name}
    others -= {seen.current if seen else ""}
    return others.pop() if len(others) == 1 else ""


def refuse_start_hop(spec: Spec, hop: VersionHop, observed: Observed) -> tuple[Refused, ...]:
    """Return the reasons against a hop. All members must be healthy before the first one makes it (rule 43)."""
    versions = running_versions(spec, observed)
    reasons = list(refuse_hop(hop, versions, users=bool(observed.auth)))
    if not is_begun(spec, hop, observed) and (ill := unhealthy(observed)):
        reasons.append(
            Refused(
                f"the minor version cannot be changed now, because {', '.join(ill)} is not healthy",
                hint="set `version` in cluster.yaml to the running version and run `etcdup apply`. Set the new "
                "version when all members are healthy",
                rules=(43,),
            )
        )
    return tuple(reasons)


def version_change_steps(
    spec: Spec, path: tuple[VersionHop, ...], observed: Observed, token: str
) -> list[Step]:
    """Return the steps of all hops. Each hop is planned for the observation after the previous one."""
    steps: list[Step] = []
    for hop in path:
        at = spec.at(hop.target)
        steps += _hop_steps(at, hop, observed, token)
        observed = observed_after_hop(at, observed, token)
    return steps


def restarts_for_hop(spec: Spec, observed: Observed, token: str) -> dict[str, tuple[str, ...]]:
    """Return the reasons for the restart of each member in this hop, also of stopped members with another version."""
    due = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is None or not seen.has_member:
            continue
        if why := restart_reasons(spec, host, seen, token, observed.pki):
            due[host.name] = why
        elif not seen.unit.is_running and seen.current != str(spec.version):
            due[host.name] = (
                f"the host has {seen.current or 'no version'}, and this hop needs {spec.version}",
            )
    return due


def _hop_steps(spec: Spec, hop: VersionHop, observed: Observed, token: str) -> list[Step]:
    due = restarts_for_hop(spec, observed, token)
    steps = [*_hop_binaries_steps(spec, observed), *_snapshot_steps(spec, hop, observed)]
    steps += data_checks(hop, sorted(due), observed)
    steps += _downgrade_steps(hop, observed)
    return [*steps, *rolling_restart_steps(spec, observed, token, due, one_way=hop.has_no_return)]


def data_checks(hop: VersionHop, names: Iterable[str], observed: Observed) -> list[DataCheck]:
    """Return the checks of those members whose data the new minor reads for the first time in this hop."""
    old = [name for name in names if _next_series(name, observed) == hop.source]
    steps: list[DataCheck] = []
    if hop.checks_v2store:
        reason = "etcd 3.6 cannot read data of the v2 API"
        steps += [CheckV2Store(host=name, reason=reason, rules=(44,)) for name in old]
    if hop.needs_raft_snapshot:
        reason = f"etcd {_minor(hop)} cannot read again what etcd 3.5 and older wrote to the log"
        steps += [EnsureRaftSnapshot(host=name, reason=reason, rules=(111,)) for name in old]
    return steps


def _hop_binaries_steps(spec: Spec, observed: Observed) -> list[Step]:
    """Return the steps that install the version of the hop on every host. They change nothing that runs."""
    steps: list[Step] = []
    for host in spec.hosts:
        if (seen := observed.reachable().get(host.name)) is not None:
            steps += binaries_steps(spec, host, seen, observed)
    return steps


def _snapshot_steps(spec: Spec, hop: VersionHop, observed: Observed) -> list[Step]:
    """Return a snapshot step, if no member has made the hop and no fresh snapshot exists (rule 43)."""
    versions = running_versions(spec, observed)
    fresh = any(
        each.cluster == spec.name and each.hop == _span(hop) and observed.at - each.taken_at < FRESH_SNAPSHOT
        for each in observed.snapshots
    )
    if fresh or any(version.series == hop.target.series for version in versions):
        return []
    reason = f"a rollback point before the change to {_minor(hop)}"
    folder = snapshot_folder(spec)
    return [TakeSnapshot(hop=_span(hop), folder=folder, reason=reason, rules=(43,))]


def snapshot_folder(spec: Spec) -> str:
    """Return the directory of snapshots before a hop: the backup destination, if it is a directory."""
    return next((destination for destination in spec.backup.to if "://" not in destination), "./backups")


def cancel_downgrade_steps(spec: Spec, observed: Observed) -> list[Step]:
    """Return the step that cancels a downgrade to another version, if no hop is left that does this."""
    target = _downgrade_target(observed)
    if not is_stray_downgrade(target, spec.version):
        return []
    reason = f"cluster.yaml has {spec.version}, and all members run it"
    return [CancelDowngrade(target=target, reason=reason, rules=(47,))]


def is_downgrading(observed: Observed) -> bool:
    """Return whether etcd has a downgrade that is not complete or cancelled yet."""
    return bool(_downgrade_target(observed))


def _downgrade_target(observed: Observed) -> str:
    return max((seen.downgrade_to for seen in observed.answering().values()), default="")


def _downgrade_steps(hop: VersionHop, observed: Observed) -> list[Step]:
    """Return the downgrade request to etcd before the first member is changed (rule 47)."""
    target = _downgrade_target(observed)
    match downgrade_request(hop, target):
        case "cancel":
            reason = "cluster.yaml does not require this downgrade any more"
            return [CancelDowngrade(target=target, reason=reason, rules=(47,))]
        case "enable":
            reason = f"the members must convert their data to the format of {_minor(hop)}"
            return [EnableDowngrade(target=_minor(hop), reason=reason, rules=(47,))]
        case _:
            return []


def _span(hop: VersionHop) -> str:
    major, minor = hop.source
    return f"{major}.{minor}-to-{_minor(hop)}"


def _minor(hop: VersionHop) -> str:
    major, minor = hop.target.series
    return f"{major}.{minor}"


def _next_series(name: str, observed: Observed) -> tuple[int, int] | None:
    """Return the minor that the member runs; for a member that does not answer, the minor of its next start."""
    seen, host = observed.members[name], observed.reachable().get(name)
    if isinstance(seen, MemberSeen):
        return seen.version.series
    return next((version.series for version in _parsed(host.current if host else "")), None)


def _parsed(version: str) -> set[Version]:
    try:
        return {parse_version(version)}
    except WrongValue:
        return set()
