"""`recover`: the quorum is lost. What is seen, what would cost nothing, and which survivor the cluster goes on from.

The plan is that of a restore (restoration.py): the newest survivor's snapshot becomes a cluster of that one host,
under a new token (rule 63), and every other old member within reach is stopped and cleared before it starts. The
ordinary apply then lets the others grow back as learners (rule 67).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import quorum_of, voter_count
from etcdup.core.members.superseded import refuse_mixed_clusters, refuse_superseded, refuse_two_clusters
from etcdup.core.observed.model import MemberSeen, Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.recovery.disk_salvage import salvageable_hosts
from etcdup.core.recovery.quorum_repair import reachable_quorum, refuse_rebuild
from etcdup.core.restore.data_copy import hosts_to_copy, refuse_copy
from etcdup.core.restore.restore import plan_restore, space_needed
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size


def begun_recovery(spec: Spec, observed: Observed) -> tuple[str, str] | None:
    """The host that a recovery had begun to go on from, and the sha256 of its snapshot."""
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        mark = seen.marker if seen else None
        if mark and mark.cluster == spec.name and mark.restored and mark.is_being_restored:
            return host.name, mark.restored.sha256
    return None


def can_come_back(spec: Spec, observed: Observed) -> bool:
    """Whether members that are within reach could be a quorum again, with nothing rebuilt."""
    if begun_recovery(spec, observed) or refuse_mixed_clusters(observed) or _members_with_leader(observed):
        return False
    if _refuse_several_clusters(spec, observed):
        return False
    return bool(reachable_quorum(spec, observed))


def refuse_recovery(spec: Spec, observed: Observed, fenced: Collection[str]) -> tuple[Refused, ...]:
    """Why nothing is to be rebuilt: there is a quorum, or there would be one at no cost; or who is not fenced.

    A survivor that was started anew answers nobody (rule 1): its data is then salvaged (salvage.py).
    """
    if split := refuse_mixed_clusters(observed):
        return split
    if leading := _members_with_leader(observed):
        return (_quorum_exists(leading, observed),)
    if past := _refuse_several_clusters(spec, observed):
        return past
    if cheap := refuse_rebuild(spec, observed):
        return cheap
    if not survivors(spec, observed) and not salvageable_hosts(spec, observed):
        return (_no_survivor(spec, observed),)
    return refuse_unfenced(observed, fenced)


def survivors(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Voters of cluster.yaml that answer, the one with the newest data first (rule 62)."""
    ours = {host.name for host in spec.hosts}
    able = {n: seen for n, seen in observed.answering().items() if n in ours and not seen.is_learner}
    return tuple(sorted(able, key=lambda name: (*_data_age_key(able[name]), name), reverse=True))


def refuse_unfenced(observed: Observed, fenced: Collection[str]) -> tuple[Refused, ...]:
    """Two old members of three that come back are a quorum of the old cluster, and would take writes (rule 65)."""
    return tuple(
        Refused(
            f"{name} cannot be reached and may still run: {gone.why}",
            hint=f"switch {name} off, so that it does not come back by itself, and say so: `--fenced {name}`",
            host=name,
            rules=(62, 65),
        )
        for name, gone in sorted(observed.unreachable().items())
        if name not in fenced
    )


def single_host_spec(spec: Spec, name: str) -> Spec:
    """The cluster of this one host."""
    return spec.model_copy(update={"hosts": (spec.host(name),)})


def plan_recovery(
    spec: Spec,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    aside: str,
    told: Iterable[str],
    copies: bool = True,
) -> Plan | Refusal:
    """`spec` is from `alone`; `told` from `findings`, on the first look. `copies`: data is copied before it moves."""
    copied = hosts_to_copy(spec, observed, token) if copies else ()
    plan = plan_restore(spec, observed, snapshot, token, aside, copied)
    kept = f"{snapshot.path}: {show_size(snapshot.size)}, revision {snapshot.revision}, whole; keep it"
    return replace(plan, notes=(*told, kept))


def refuse_recovery_copies(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str, sizes: Mapping[str, int]
) -> tuple[Refused, ...]:
    """Before anything is stopped: no room for a copy beside what the survivor's restore needs."""
    name = spec.hosts[0].name
    mark = observed.reachable()[name].marker
    staged = mark is not None and mark.token == token
    return refuse_copy(observed, sizes, {name: 0 if staged else space_needed(snapshot)})


def recovery_notes(
    spec: Spec, observed: Observed, chosen: str, fenced: Collection[str], *, salvaged: bool = False
) -> tuple[str, ...]:
    """What was seen, what may be missing, and what the operator has to keep to."""
    told = []
    if not _members_with_leader(observed):  # else a run before has come that far
        told += [
            *_lost_quorum_notes(observed),
            *([] if salvaged else _newest_data_notes(spec, observed, chosen)),
        ]
    if salvaged:
        told.append(
            f"the cluster goes on from what {chosen} had on its disk, to the end of its log: a write in the last "
            "moments that failed, or that nobody heard of again, may be in it"
        )
    told.append(
        "what only other members had is not in it: a write that was acknowledged in the last moments may be lost"
    )
    if off := sorted(set(fenced) & observed.unreachable().keys()):
        told.append(
            f"{', '.join(off)}: off by your word. An old member asks {chosen} before it starts, and stays down; "
            "without an answer it starts, and enough of those would be the old cluster again. The next `etcdup apply` "
            "that reaches old members clears them first"
        )
    return tuple(told)


def _lost_quorum_notes(observed: Observed) -> list[str]:
    answering = [name for name, seen in sorted(observed.answering().items()) if not seen.is_learner]
    if not answering:
        return []
    count = voter_count(observed)
    gone = sorted({name_of(each) for each in member_list(observed)} - set(answering))
    return [
        f"the quorum is lost: {', '.join(answering)} of {count} voters answer and follow no leader, "
        f"{quorum_of(count)} are needed; {', '.join(gone)} do not answer"
    ]


def _newest_data_notes(spec: Spec, observed: Observed, chosen: str) -> list[str]:
    shown = [
        f"{name} (term {seen.raft_term}, applied {seen.applied_index})"
        for name in survivors(spec, observed)
        if isinstance(seen := observed.members[name], MemberSeen)
    ]
    return (
        [f"the cluster goes on from {chosen}, which has the newest data: {', '.join(shown)}"] if shown else []
    )


def _data_age_key(seen: MemberSeen) -> tuple[int, int]:
    return seen.raft_term, seen.applied_index


def _refuse_several_clusters(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Marks of several clusters: whose data is to go on has to be settled before anything is started or rebuilt."""
    return refuse_superseded(spec, observed) or refuse_two_clusters(spec, observed)


def _members_with_leader(observed: Observed) -> list[str]:
    """Members that follow a leader, or are it."""
    return [name for name, seen in sorted(observed.answering().items()) if seen.leader_id]


def _quorum_exists(leading: list[str], observed: Observed) -> Refused:
    return Refused(
        f"the cluster has a quorum: {', '.join(leading)} of {voter_count(observed)} voters follow a leader",
        hint="there is nothing to recover. `etcdup apply` brings members back, `etcdup member replace NAME` puts a "
        "new one in the place of a lost one",
        rules=(62,),
    )


def _no_survivor(spec: Spec, observed: Observed) -> Refused:
    named = "; ".join(
        f"{host.name}: {observed.unreachable()[host.name].why}"
        if host.name in observed.unreachable()
        else f"{host.name}: {getattr(observed.members[host.name], 'why', 'it has no vote')}"
        for host in spec.hosts
    )
    return Refused(
        f"no member answers, and none that can be reached has its data ({named})",
        hint="bring one member's machine up. If none comes back: `etcdup restore` with the newest backup "
        "(`etcdup backup list`), on machines that are within reach",
        rules=(55, 62, 68),
    )
