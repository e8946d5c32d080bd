"""The plan of `destroy`: stop and disable etcd on all hosts and archive the data. Only private keys are deleted."""

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.host.archive_commands import private_files
from etcdup.core.members.member_list import host_of
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.directory import ASIDE_PREFIX
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import RetireMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec


def plan_destroy(spec: Spec, observed: Observed, suffix: str) -> Plan | Refusal:
    """Return one RetireMember for each host that has this cluster's marker. `suffix` is `aside-TIME`.

    An interrupted destroy is finished under another suffix: data that is already archived keeps its name.
    """
    assert suffix.startswith(ASIDE_PREFIX)
    steps: list[Step] = []
    notes: list[str] = []
    keys: dict[tuple[str, ...], list[str]] = {}
    against: list[Refused] = []
    for name, seen in observed.hosts.items():
        if isinstance(seen, Unreachable):
            notes.append(f"{name} cannot be reached and is not changed: {seen.why}")
        elif seen.is_marked(spec.name):
            steps.append(RetireMember(host=name, suffix=suffix, reason=_reason(seen), rules=(6,)))
            against += _refuse_data_elsewhere(seen)
            private = private_files(layout_of(spec, host_of(spec, observed, name)))
            keys.setdefault(tuple(path for path in private if path in seen.files), []).append(name)
        elif note := _why_left_alone(seen):
            notes.append(f"{name} is not changed: {note}")
    notes += (
        f"these private keys are deleted on {' and '.join(names)}: {', '.join(paths)}"
        for paths, names in keys.items()
        if paths
    )
    against += refuse_stale_pki(spec, observed)
    if against:
        return Refusal(spec.name, tuple(against), tuple(notes))
    return only_on_ready_hosts(Plan(spec.name, tuple(steps), tuple(notes)), spec, observed)


def archived_paths(spec: Spec, step: RetireMember, observed: Observed) -> tuple[str, ...]:
    """Return where a host's data and settings are after this step. `observed` is from before the step."""
    seen = observed.reachable()[step.host]
    layout = layout_of(spec, host_of(spec, observed, step.host))
    kept = [f"{layout.etc}.{step.suffix}"]
    for directory in filter(None, (seen.data, seen.wal)):
        if not directory.is_empty:
            kept.append(f"{directory.path}{'/' if directory.mount else '.'}{step.suffix}")
    return tuple(sorted(kept))


def _reason(seen: HostSeen) -> str:
    if seen.unit.is_running:
        return "the host runs a member of this cluster"
    return (
        "the host has data of this cluster" if seen.has_member else "the host was prepared for this cluster"
    )


def _why_left_alone(seen: HostSeen) -> str:
    """Return why a host without this cluster's marker is not changed; empty if there is nothing on it."""
    if seen.marker is not None:
        return f"it belongs to cluster {seen.marker.cluster} as member {seen.marker.member}"
    if seen.unit.is_running or not seen.data.is_empty:
        return "the etcd or the data on it was not created by etcdup"
    return ""


def _refuse_data_elsewhere(seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse if cluster.yaml names another data directory than the marker.

    The marker records the directory that etcdup created, and etcdup archives only that one.
    """
    if seen.marker is None or seen.marker.data_dir == seen.data.path:
        return ()
    return (
        Refused(
            f"the data of {seen.host} is in {seen.marker.data_dir}, and cluster.yaml names {seen.data.path}",
            hint=f"in cluster.yaml, write `data_dir: {seen.marker.data_dir}` back for {seen.host}",
            host=seen.host,
            rules=(6,),
        ),
    )
