"""Hosts of a superseded cluster: a recovery or a restore replaced their cluster without them.

The marker of a restored host contains the tokens of the clusters that it replaced. A host with one of these tokens has
old data. Two such hosts of three are a quorum of the old cluster (rule 65). So they are stopped and cleared before any
other step, and can then join as new members.
"""

from collections.abc import Mapping
from dataclasses import replace

from etcdup.core.observed.model import HostSeen, Marker, MemberSilent, Observed, UnitSeen, aside_suffix
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import RetireMember
from etcdup.core.spec.model import Spec


def superseded_hosts(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the hosts whose token another marker names as former.

    Two different tokens alone do not show which of the two clusters is the old one.
    """
    markers = cluster_markers(spec, observed)
    past = {token for marker in markers.values() if marker.restored for token in marker.restored.former}
    return tuple(name for name, marker in sorted(markers.items()) if marker.token in past)


def refuse_superseded(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return a refusal for each member of a superseded cluster: none of them is ever started again."""
    return tuple(
        Refused(
            f"{name} has data of the cluster before the restore or recovery",
            hint="run `etcdup apply`. It archives this data and adds the host as a new member",
            host=name,
            rules=(57, 65),
        )
        for name in superseded_hosts(spec, observed)
    )


def clear_superseded_steps(names: tuple[str, ...], observed: Observed) -> tuple[Step, ...]:
    """Return the steps that stop these hosts and archive their data."""
    suffix = aside_suffix(observed.at)
    reason = (
        "its data is of the cluster before the restore, and two such members could form the old cluster again"
    )
    return tuple(RetireMember(host=name, suffix=suffix, reason=reason, rules=(57, 65)) for name in names)


def without_superseded(names: tuple[str, ...], observed: Observed) -> Observed:
    """Return the observation as it will be when these hosts are cleared."""
    hosts = {name: _cleared(seen) for name, seen in observed.reachable().items() if name in names}
    silent = dict.fromkeys(names, MemberSilent("etcd does not run"))
    return replace(observed, hosts={**observed.hosts, **hosts}, members={**observed.members, **silent})


def explain_superseded(spec: Spec, observed: Observed) -> Observed:
    """Return the observation, with the reason why etcd on a superseded host does not answer.

    The startup fence in the unit keeps it stopped (host/startup_fence.py).
    """
    names = [
        name for name in superseded_hosts(spec, observed) if isinstance(observed.members[name], MemberSilent)
    ]
    if not names:
        return observed
    why = "its data is of the cluster before the restore or recovery; `etcdup apply` archives it"
    return replace(observed, members={**observed.members, **dict.fromkeys(names, MemberSilent(why))})


def refuse_two_clusters(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return a refusal if the markers name two formed clusters, and none of them replaced the other."""
    tokens = {name: marker.token for name, marker in cluster_markers(spec, observed).items() if marker.formed}
    return _refuse_different_clusters("hosts", spec.name, tokens)


def refuse_mixed_clusters(observed: Observed) -> tuple[Refused, ...]:
    """Return a refusal if the members that answer report different cluster IDs.

    Nothing is changed until the operator has decided which cluster is the right one.
    """
    ids = {name: f"{seen.cluster_id:x}" for name, seen in observed.answering().items()}
    return _refuse_different_clusters("members", "", ids)


def _refuse_different_clusters(what: str, cluster: str, ids: Mapping[str, str]) -> tuple[Refused, ...]:
    """Return a refusal if `ids`, the token or ID of the cluster by host, are not all equal."""
    groups: dict[str, list[str]] = {}
    for name, ident in sorted(ids.items()):
        groups.setdefault(ident, []).append(name)
    if len(groups) < 2:
        return ()
    parts = " and ".join(f"{', '.join(names)} ({ident})" for ident, names in sorted(groups.items()))
    called = f" called {cluster}" if cluster else ""
    return (
        Refused(
            f"{what} belong to different clusters{called}: {parts}",
            hint="find the cluster that your clients use before you change anything. Then, on the other hosts, stop "
            "etcd and rename /etc/etcd and the data directory",
            rules=(4, 65),
        ),
    )


def cluster_markers(spec: Spec, observed: Observed) -> dict[str, Marker]:
    """Return the marker of each reachable host that has a marker of this cluster."""
    return {
        name: seen.marker
        for name, seen in observed.reachable().items()
        if seen.marker is not None and seen.marker.cluster == spec.name
    }


def _cleared(seen: HostSeen) -> HostSeen:
    empty = replace(seen.data, entries=None if not seen.data.mount else (), has_wal=False)
    wal = replace(seen.wal, entries=None, has_wal=False) if seen.wal else None
    return replace(
        seen, data=empty, wal=wal, files={}, unit=UnitSeen(), marker=None, listening=(), joining=False
    )
