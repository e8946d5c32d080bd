"""The part of the plan that starts stopped members, and the version with which each of them is started."""

from collections.abc import Mapping, Sequence

from etcdup.core.host.drift import binaries_steps, settings_steps, switch_steps
from etcdup.core.members.membership import MembershipChange
from etcdup.core.members.quorum import start_step
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.versions.upgrade_paths import VersionHop
from etcdup.core.versions.version_steps import DataCheck, spec_of_start


def stopped_hosts(
    spec: Spec,
    observed: Observed,
    token: str,
    change: MembershipChange,
    path: tuple[VersionHop, ...] | Refused,
) -> dict[str, Spec]:
    """Return the hosts whose member must be started, each with the Spec that it is started with.

    The member is stopped, or systemd starts it with old files. A host that waits for its take-over has no unit of
    etcdup that could start its member.
    """
    hops = path if isinstance(path, tuple) else ()
    found = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is None or host.name in change.joining or seen.is_adopted:
            continue
        own = spec_of_start(spec, hops, seen, observed)
        if is_stopped(observed, host.name) or _starts_with_old_files(own, host, seen, token, observed.pki):
            found[host.name] = own
    return found


def crossing_hosts(stopped: Mapping[str, Spec], first: Spec) -> list[str]:
    """Return the stopped members that are started with the version of the first hop."""
    return [name for name, spec in stopped.items() if spec.version == first.version]


def start_steps(
    first: Spec,
    observed: Observed,
    token: str,
    stopped: Mapping[str, Spec],
    checks: Sequence[DataCheck],
) -> list[Step]:
    """Return the steps that start stopped members. Most have their files and their binary from the preparation.

    Where the data must be checked before the new version reads it, the files and the binary follow the check. A member
    that is started with its old version gets the files for that version.
    """
    steps: list[Step] = []
    for name, spec in stopped.items():
        host, seen = spec.host(name), observed.reachable()[name]
        check = [each for each in checks if each.host == name]
        if check or spec.version != first.version:
            steps += [*(binaries_steps(spec, host, seen, observed) if check else []), *check]
            steps += [*settings_steps(spec, host, seen, token, observed.pki), *switch_steps(spec, host, seen)]
        steps.append(start_step(name, observed))
    return steps


def _starts_with_old_files(spec: Spec, host: HostSpec, seen: HostSeen, token: str, pki: PkiSeen) -> bool:
    if seen.unit.is_running or not seen.unit.is_starting:
        return False
    return bool(settings_steps(spec, host, seen, token, pki) or switch_steps(spec, host, seen))
