"""The end of a cluster: stopped and disabled everywhere, its data set aside. Nothing is deleted."""

from etcdup.core.members.member_list import host_of
from etcdup.core.observed.model import ASIDE_PREFIX, HostSeen, Observed, Unreachable
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import RetireMember
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec


def plan_destroy(spec: Spec, observed: Observed, suffix: str) -> Plan | Refusal:
    """One RetireMember for each host that bears this cluster's mark. `suffix` is `aside-TIME`.

    A destroy that was cut short is finished under another suffix: what was moved stays where it was moved to.
    """
    assert suffix.startswith(ASIDE_PREFIX)
    steps: list[Step] = []
    notes: list[str] = []
    against: list[Refused] = []
    for name, seen in observed.hosts.items():
        if isinstance(seen, Unreachable):
            notes.append(f"{name} cannot be reached and keeps what it has: {seen.why}")
        elif seen.is_marked(spec.name):
            steps.append(RetireMember(host=name, suffix=suffix, reason=_reason(seen), rules=(6,)))
            against += _refuse_data_elsewhere(seen)
        elif note := _why_left_alone(seen):
            notes.append(f"{name} is left alone: {note}")
    if against:
        return Refusal(spec.name, tuple(against), tuple(notes))
    return Plan(spec.name, tuple(steps), tuple(notes))


def archived_paths(spec: Spec, step: RetireMember, observed: Observed) -> tuple[str, ...]:
    """Where a host's data and settings are after this step. `observed` is from before it."""
    seen = observed.reachable()[step.host]
    layout = layout_of(spec, host_of(spec, observed, step.host))
    kept = [f"{layout.etc}.{step.suffix}"]
    for directory in filter(None, (seen.data, seen.wal)):
        if not directory.is_empty:
            kept.append(f"{directory.path}{'/' if directory.mount else '.'}{step.suffix}")
    return tuple(sorted(kept))


def _reason(seen: HostSeen) -> str:
    if seen.unit.is_running:
        return "it is a running member of this cluster"
    return "it holds data of this cluster" if seen.has_member else "it was prepared for this cluster"


def _why_left_alone(seen: HostSeen) -> str:
    """Why a host without this cluster's mark is not touched; empty where there is nothing on it."""
    if seen.marker is not None:
        return f"it belongs to cluster {seen.marker.cluster}, as its member {seen.marker.member}"
    if seen.unit.is_running or not seen.data.is_empty:
        return "what is on it was not made by etcdup"
    return ""


def _refuse_data_elsewhere(seen: HostSeen) -> tuple[Refused, ...]:
    """The mark names the folder that the data was put in; only that one is ours to move."""
    if seen.marker is None or seen.marker.data_dir == seen.data.path:
        return ()
    return (
        Refused(
            f"the data of {seen.host} is in {seen.marker.data_dir}, and cluster.yaml says {seen.data.path}",
            hint="bring `etcd.data_dir` in cluster.yaml back to what the cluster was made with",
            host=seen.host,
            rules=(6,),
        ),
    )
