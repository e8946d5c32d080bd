"""Hosts of a superseded cluster: a recovery or a restore replaced their cluster without them.

The marker of a restored host contains the tokens of the clusters that it replaced. A host with one of these tokens has
old data. Two such hosts of three are a quorum of the old cluster (rule 65). So they are stopped and cleared before any
other step, and can then join as new members.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.plan.host_steps import RetireMember
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import FenceOff
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec

_CONFLICT_HINT = (
    "find the cluster that your clients use before you change anything. If it is the restored one, run `systemctl stop "
    "etcd` on the other hosts, then `etcdup apply`, which archives their data"
)


def named_as_superseded(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the hosts whose token another marker names as former. None of them is started.

    Two different tokens alone do not show which of the two clusters is the old one.
    """
    markers = cluster_markers(spec, observed)
    return tuple(name for name in sorted(markers) if _witnesses(markers[name], markers))


def superseded_hosts(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the hosts of a superseded cluster: a marker names their token as former, and something confirms it."""
    return tuple(name for name in named_as_superseded(spec, observed) if _is_confirmed(name, spec, observed))


def _is_confirmed(name: str, spec: Spec, observed: Observed) -> bool:
    """Return whether a host may be cleared. The marker of one other host alone does not decide this.

    The operator's record of restores and recoveries (`observed.superseded`) confirms it, and so does the marker of a
    second host. Without them, a healthy voter is never cleared. A member that is not healthy is cleared if the member
    of the host with the marker follows a leader in a cluster in which nothing has the old token.
    """
    markers = cluster_markers(spec, observed)
    token = markers[name].token
    witnesses = _witnesses(markers[name], markers)
    if token in observed.superseded or len(witnesses) > 1:
        return True
    if not _follows_leader(witnesses[0], observed) or _follows_leader(name, observed):
        return False
    witness = observed.answering()[witnesses[0]]
    return not any(
        seen.cluster_id == witness.cluster_id and other in markers and markers[other].token == token
        for other, seen in observed.answering().items()
    )


def _follows_leader(name: str, observed: Observed) -> bool:
    """Return whether the member of this host is a voter that answers and has a leader, in any cluster."""
    seen = observed.answering().get(name)
    return seen is not None and bool(seen.leader_id) and not seen.is_learner


def _witnesses(marker: Marker, markers: Mapping[str, Marker]) -> list[str]:
    """Return the hosts whose markers name the token of this marker as former. Their own token is another one."""
    return [
        name
        for name, other in sorted(markers.items())
        if other.restored and marker.token in other.restored.former and other.token != marker.token
    ]


def refuse_superseded(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return a refusal for each member of a superseded cluster: none of them is ever started again."""
    return tuple(
        Refused(
            f"{name} has data of the cluster before the restore or recovery",
            hint="run `etcdup apply`. It archives this data and adds the host as a new member",
            host=name,
            rules=(57, 65),
        )
        for name in named_as_superseded(spec, observed)
    )


def refuse_retire(step: RetireMember, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the clearing of a host with a marker of this cluster.

    If another marker is the reason, the host must belong to a superseded cluster. Otherwise the operator named the
    host, by `destroy` or by a restore without it.
    """
    seen = observed.reachable().get(step.host)
    if seen is None or seen.marker_of(spec.name) is None:
        why = "cannot be reached" if seen is None else f"has no marker of cluster {spec.name}"
        message = f"{step.host} cannot be cleared: it {why}"
        hint = f"run `etcdup status` to see the state of {step.host}, then run the same command again"
        return (Refused(message, hint=hint, host=step.host, rules=(6, 62)),)
    if step.superseded and step.host not in superseded_hosts(spec, observed):
        return (
            Refused(
                f"{step.host} cannot be cleared: only the marker of another host says that its cluster was superseded",
                hint=_CONFLICT_HINT,
                host=step.host,
                rules=(57, 65),
            ),
        )
    return ()


def refuse_fence(step: FenceOff, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to write the key that keeps the members of the present cluster stopped at their next start."""
    names = {host.name for host in spec.hosts}
    present = [
        name
        for name, marker in sorted(cluster_markers(spec, observed).items())
        if name in names and marker.token in step.tokens
    ]
    return tuple(
        Refused(
            f"the members on {name} must not be fenced off: the host belongs to the present cluster",
            hint="run `etcdup status`, then run the same command again",
            host=name,
            rules=(65,),
        )
        for name in present
    )


def distrust_markers(spec: Spec, observed: Observed) -> Observed:
    """Return the observation without the hosts whose markers contradict etcd.

    The members of one etcd cluster have one token. If most of their markers have the same token, a marker with another
    one is wrong, by a mistake or by intent, and nothing is decided from it. During a restore the tokens differ.
    """
    groups: dict[int, dict[str, str]] = {}
    for name, marker in cluster_markers(spec, observed).items():
        member = observed.answering().get(name)
        if member is not None and not marker.is_being_restored:
            groups.setdefault(member.cluster_id, {})[name] = marker.token
    wrong: dict[str, HostSeen | Unreachable] = {}
    for tokens in groups.values():
        token, count = Counter(tokens.values()).most_common(1)[0]
        if count * 2 > len(tokens):
            wrong |= {name: _contradicting(name, own) for name, own in tokens.items() if own != token}
    return replace(observed, hosts={**observed.hosts, **wrong}) if wrong else observed


def _contradicting(name: str, token: str) -> Unreachable:
    return Unreachable(
        name,
        f"its marker has the token {token}, but the other members of its etcd cluster have another one",
        f"find out who wrote the marker on {name}: only etcdup, as root, writes it. Then set `token` in it to "
        "the token in the marker of another member",
    )


def clear_superseded_steps(names: tuple[str, ...], observed: Observed) -> tuple[Step, ...]:
    """Return the steps that stop these hosts and archive their data."""
    suffix = aside_suffix(observed.at)
    reason = (
        "its data is of the cluster before the restore, and two such members could form the old cluster again"
    )
    return tuple(
        RetireMember(host=name, suffix=suffix, reason=reason, rules=(57, 65), superseded=True)
        for name in names
    )


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
    """Return a refusal if the markers name two formed clusters, and it is not confirmed which one is superseded."""
    tokens = {name: marker.token for name, marker in cluster_markers(spec, observed).items() if marker.formed}
    refused = _refuse_different_clusters("hosts", spec.name, tokens)
    is_named = bool(named_as_superseded(spec, observed))
    return tuple(replace(reason, hint=_CONFLICT_HINT) for reason in refused) if is_named else refused


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
