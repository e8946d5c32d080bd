"""Hosts of a cluster whose place another one took: a recovery or a restore went on without them.

The mark of a restored host names the tokens of the clusters before it. A host that still bears one of them has old
data, and two such hosts of three would be a quorum of the old cluster (rule 65): they are stopped and cleared before
anything else, and may then join as new members.
"""

from dataclasses import replace

from etcdup.core.observed.model import HostSeen, Marker, MemberSilent, Observed, UnitSeen, aside_suffix
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import RetireMember
from etcdup.core.spec.model import Spec


def superseded_hosts(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Certain only by the word of a mark: another token alone does not say which of two clusters is the old one."""
    marks = _markers(spec, observed)
    past = {token for mark in marks.values() if mark.restored for token in mark.restored.former}
    return tuple(name for name, mark in sorted(marks.items()) if mark.token in past)


def refuse_superseded(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Members whose cluster was superseded: none of them is ever started again."""
    return tuple(
        Refused(
            f"{name} has data of the cluster before the restored one",
            hint="`etcdup apply` moves that aside, and lets it join as a new member",
            host=name,
            rules=(57, 65),
        )
        for name in superseded_hosts(spec, observed)
    )


def clear_superseded_steps(names: tuple[str, ...], observed: Observed) -> tuple[Step, ...]:
    suffix = aside_suffix(observed.at)
    reason = "it is of the cluster before the restored one, and must not meet others of it"
    return tuple(RetireMember(host=name, suffix=suffix, reason=reason, rules=(57, 65)) for name in names)


def without_superseded(names: tuple[str, ...], observed: Observed) -> Observed:
    """What will be seen once these hosts are cleared."""
    hosts = {name: _cleared(seen) for name, seen in observed.reachable().items() if name in names}
    silent = dict.fromkeys(names, MemberSilent("etcd does not run"))
    return replace(observed, hosts={**observed.hosts, **hosts}, members={**observed.members, **silent})


def explain_superseded(spec: Spec, observed: Observed) -> Observed:
    """The same, with why such a host's etcd is silent: the fence before its start (fence.py) keeps it down."""
    names = [
        name for name in superseded_hosts(spec, observed) if isinstance(observed.members[name], MemberSilent)
    ]
    if not names:
        return observed
    why = "its data is of the cluster before the restored one; `etcdup apply` moves it aside"
    return replace(observed, members={**observed.members, **dict.fromkeys(names, MemberSilent(why))})


def refuse_two_clusters(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Members of two clusters of this name, and nothing says which one came after the other."""
    tokens: dict[str, list[str]] = {}
    for name, mark in sorted(_markers(spec, observed).items()):
        if mark.formed:
            tokens.setdefault(mark.token, []).append(name)
    if len(tokens) < 2:
        return ()
    parts = " and ".join(f"{', '.join(names)} ({token})" for token, names in sorted(tokens.items()))
    return (
        Refused(
            f"hosts belong to different clusters called {spec.name}: {parts}",
            hint="find out which one has your clients' data; on the others stop etcd and move /etc/etcd and the data "
            "directory aside by hand",
            rules=(4, 65),
        ),
    )


def _markers(spec: Spec, observed: Observed) -> dict[str, Marker]:
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
