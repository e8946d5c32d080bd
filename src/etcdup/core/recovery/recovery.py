"""`recover`: rebuild a cluster that has lost its quorum from one surviving member.

The plan is the plan of a restore (core/restore/restore.py): the snapshot of the survivor with the newest data becomes a
cluster of that one host, with a new token (rule 63). Every other old member that can be reached is stopped and its data
archived before the new cluster starts. The ordinary apply then adds the other members as learners (rule 67).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.members.limits import limits
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import quorum_of, voter_count
from etcdup.core.members.superseded import refuse_mixed_clusters, refuse_superseded, refuse_two_clusters
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.recovery.disk_salvage import salvageable_hosts
from etcdup.core.recovery.quorum_repair import reachable_quorum, refuse_rebuild
from etcdup.core.restore.data_copy import hosts_to_copy, refuse_copy
from etcdup.core.restore.restore import plan_restore
from etcdup.core.restore.restore_guards import space_needed
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size


def begun_recovery(spec: Spec, observed: Observed) -> tuple[str, str] | None:
    """Return the host of a recovery that is in progress and the sha256 of its snapshot, or None."""
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        marker = seen.marker_of(spec.name) if seen else None
        if marker and marker.restored and marker.is_being_restored:
            return host.name, marker.restored.sha256
    return None


def can_come_back(spec: Spec, observed: Observed) -> bool:
    """Return whether the reachable members could be a quorum again without a rebuild."""
    if begun_recovery(spec, observed) or refuse_mixed_clusters(observed) or _members_with_leader(observed):
        return False
    if _refuse_several_clusters(spec, observed):
        return False
    return bool(reachable_quorum(spec, observed))


def refuse_recovery(spec: Spec, observed: Observed, fenced: Collection[str]) -> tuple[Refused, ...]:
    """Refuse to rebuild a cluster that has a quorum, can be repaired, has no survivor or has hosts that are not fenced.

    A survivor that was restarted without a quorum does not answer (rule 1). Its data is salvaged (disk_salvage.py).
    """
    if stale := refuse_stale_pki(spec, observed):
        return stale
    if split := refuse_mixed_clusters(observed):
        return split
    if leading := _members_with_leader(observed):
        return (_quorum_exists(leading, spec, observed),)
    if several := _refuse_several_clusters(spec, observed):
        return several
    if repairable := refuse_rebuild(spec, observed):
        return repairable
    if not survivors(spec, observed) and not salvageable_hosts(spec, observed):
        return (_no_survivor(spec, observed),)
    return refuse_unfenced(observed, fenced)


def survivors(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the voters of cluster.yaml that answer, the one with the newest data first (rule 62)."""
    own = {host.name for host in spec.hosts}
    voters = {n: seen for n, seen in observed.answering().items() if n in own and not seen.is_learner}
    return tuple(sorted(voters, key=lambda name: (*_data_age_key(voters[name]), name), reverse=True))


def refuse_unfenced(observed: Observed, fenced: Collection[str]) -> tuple[Refused, ...]:
    """Refuse while a host cannot be reached and is not fenced.

    Two of three old members that start again are a quorum of the old cluster and would accept writes (rule 65).
    """
    return tuple(
        Refused(
            f"{name} cannot be reached and may still run: {gone.why}",
            hint=f"power {name} off so that it does not start again by itself, then run the same command again with "
            f"`--fenced {name}`",
            host=name,
            rules=(62, 65),
        )
        for name, gone in sorted(observed.unreachable().items())
        if name not in fenced
    )


def single_host_spec(spec: Spec, name: str) -> Spec:
    """Return the spec of a cluster of this one host."""
    return spec.model_copy(update={"hosts": (spec.host(name),)})


def plan_recovery(
    spec: Spec,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    suffix: str,
    notes: Iterable[str],
    copies: bool = True,
) -> Plan | Refusal:
    """Return the steps that rebuild the cluster from `snapshot`, or the reasons against it.

    `spec` is the result of `single_host_spec`; `notes` is the result of `recovery_notes` on the first observation.
    `copies`: old data is copied before it is replaced. The leases are kept: they are those of the present clients.
    """
    copied = hosts_to_copy(spec, observed, token) if copies else ()
    plan = plan_restore(spec, observed, snapshot, token, suffix, copied, keep_leases=True)
    kept = (
        f"do not delete the snapshot {snapshot.path} ({show_size(snapshot.size)}, revision {snapshot.revision}, "
        "complete): an interrupted recovery needs it to resume"
    )
    return replace(plan, notes=(*notes, kept))


def refuse_recovery_copies(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str, sizes: Mapping[str, int]
) -> tuple[Refused, ...]:
    """Refuse, before anything is stopped, if a disk has not enough free space for a copy and the restored data."""
    name = spec.hosts[0].name
    marker = observed.reachable()[name].marker
    staged = marker is not None and marker.token == token
    return refuse_copy(observed, sizes, {name: 0 if staged else space_needed(snapshot)})


def recovery_notes(
    spec: Spec, observed: Observed, chosen: str, fenced: Collection[str], *, salvaged: bool = False
) -> tuple[str, ...]:
    """Return what was observed, which writes may be missing, and what the operator must do with fenced hosts."""
    notes = []
    # With a leader, an earlier run has already started the rebuilt cluster.
    if not _members_with_leader(observed):
        notes += [
            *_lost_quorum_notes(observed),
            *([] if salvaged else _newest_data_notes(spec, observed, chosen)),
        ]
    if salvaged:
        notes.append(
            f"the cluster is rebuilt from the data on the disk of {chosen}, up to the end of its log. It may contain "
            "writes of the last moments that failed, or that clients got no answer for"
        )
    notes.append(
        "data that only other members had is not included: a write that was acknowledged in the last moments may be "
        "lost"
    )
    if off := sorted(set(fenced) & observed.unreachable().keys()):
        notes.append(
            f"{', '.join(off)}: treated as powered off because you passed `--fenced` or typed the name. If an old "
            f"member starts there, it first reads a key from {chosen} and stays stopped. If {chosen} does not answer, "
            "the old member starts; a quorum of such members would be the old cluster again. The next `etcdup apply` "
            "that reaches old members stops them first and archives their data"
        )
    return tuple(notes)


def _lost_quorum_notes(observed: Observed) -> list[str]:
    answering = [name for name, seen in sorted(observed.answering().items()) if not seen.is_learner]
    if not answering:
        return []
    count = voter_count(observed)
    gone = sorted({name_of(each) for each in member_list(observed)} - set(answering))
    return [
        f"the quorum is lost: {len(answering)} of {count} voters answer ({', '.join(answering)}) and have no leader, "
        f"{quorum_of(count)} are needed. No answer from {', '.join(gone)}"
    ]


def _newest_data_notes(spec: Spec, observed: Observed, chosen: str) -> list[str]:
    shown = [
        f"{name} (term {seen.raft_term}, applied {seen.applied_index})"
        for name in survivors(spec, observed)
        if isinstance(seen := observed.members[name], MemberSeen)
    ]
    return (
        [f"the cluster is rebuilt from {chosen}, which has the newest data: {', '.join(shown)}"]
        if shown
        else []
    )


def _data_age_key(seen: MemberSeen) -> tuple[int, int]:
    return seen.raft_term, seen.applied_index


def _refuse_several_clusters(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse while hosts have markers of several clusters.

    An operator has to decide which data counts before anything is started or rebuilt.
    """
    return refuse_superseded(spec, observed) or refuse_two_clusters(spec, observed)


def _members_with_leader(observed: Observed) -> list[str]:
    """Return the members that follow a leader or are the leader."""
    return [name for name, seen in sorted(observed.answering().items()) if seen.leader_id]


def _quorum_exists(leading: list[str], spec: Spec, observed: Observed) -> Refused:
    what = f"the cluster has a quorum: {', '.join(leading)} of {voter_count(observed)} voters follow a leader"
    if found := limits(spec, observed):
        refused = "; ".join(f"{each.what}: {each.why}" for each in found)
        return Refused(f"{what}; {refused}", hint="\n".join(each.hint for each in found), rules=(62, 70, 82))
    return Refused(
        what,
        hint="run `etcdup apply` to start stopped members, or `etcdup member replace NAME` to replace a lost member. "
        "There is nothing to recover",
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
        f"no member answers, and no reachable host has the data of a member ({named})",
        hint="start the machine of one member, then run `etcdup recover` again. If none starts, run `etcdup restore` "
        "with the newest backup (`etcdup backup list`) on hosts that can be reached",
        rules=(55, 62, 68),
    )
