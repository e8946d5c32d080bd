"""`member replace`: a new member replaces one whose host or disk is lost, or must be exchanged.

It adds one step to the ordinary plan: the marker on the host where the new member will run. With this marker, the
ordinary plan does the rest, so an apply also finishes an interrupted replacement.
"""

from dataclasses import replace

from etcdup.core.members.bootstrap import cluster_phase, refuse_join
from etcdup.core.members.member_list import entry_of, member_list, name_of
from etcdup.core.members.membership import is_replaced
from etcdup.core.members.membership_guards import refuse_while_mixed
from etcdup.core.members.quorum import healthy, voter_count
from etcdup.core.observed.model import HostSeen, ListedMember, Marker, Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.steps import MarkReplacement
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.versions.version_steps import running_versions


def plan_replacement(spec: Spec, name: str, member_id: int, observed: Observed, token: str) -> Plan | Refusal:
    """Return the plan that replaces the member with this ID on host `name`.

    Once that member is no longer in the member list, this is the ordinary plan.
    """
    host = spec.host(name)
    entry = entry_of(spec, host, member_list(observed))
    seen = observed.reachable().get(name)
    if entry is None or entry.member_id != member_id or is_replaced(seen, entry):
        return plan(spec, observed, token)
    if reasons := _refuse_replacement(spec, host, entry, observed):
        return Refusal(spec.name, reasons)
    assert seen is not None
    return _plan_marking_first(spec, entry, seen, observed, token)


def id_to_replace(spec: Spec, name: str, observed: Observed, *, moves: bool = False) -> int | Refused:
    """Return the ID of the member to replace, as the member list has it now.

    Return 0 if the ordinary plan does the rest: the member is not in the list, an earlier run has started the
    replacement, or it `moves` to an address that already has a healthy member. So the same command, given twice, does
    not replace the new member.
    """
    members = member_list(observed)
    if not members:
        return Refused(
            "no member answers, so no new member can be added",
            hint="start a quorum of members first: `etcdup status` shows what is wrong with each member",
            rules=(26, 34),
        )
    host = spec.host(name)
    entry = entry_of(spec, host, members)
    if entry is None or _is_begun(entry, name, observed):
        return 0
    done = moves and name in healthy(observed) and spec.peer_url(host) in entry.peer_urls
    return 0 if done else entry.member_id


def _is_begun(entry: ListedMember, name: str, observed: Observed) -> bool:
    """Return whether the replacement has started.

    Then the host has the marker for it, or the new member exists and only its vote or the seal is missing.
    """
    seen = observed.reachable().get(name)
    marker = seen.marker if seen else None
    if entry.is_learner or marker is None or not marker.replaces:
        return entry.is_learner
    return is_replaced(seen, entry) or (not marker.formed and name in observed.answering())


def _plan_marking_first(
    spec: Spec, entry: ListedMember, seen: HostSeen, observed: Observed, token: str
) -> Plan | Refusal:
    ident = f"{entry.member_id:x}"
    own = cluster_phase(spec, observed, token).token
    marker = seen.marker or Marker(spec.name, seen.host, own, seen.data.path, formed=False)
    marked = replace(seen, marker=replace(marker, formed=False, replaces=ident))
    after = plan(spec, replace(observed, hosts={**observed.hosts, seen.host: marked}), token)
    if isinstance(after, Refusal):
        return after
    step = MarkReplacement(
        host=seen.host, member_id=ident, reason=_why(entry, seen, observed), rules=(26, 31, 32)
    )
    return replace(after, steps=(step, *after.steps))


def _refuse_replacement(
    spec: Spec, host: HostSpec, entry: ListedMember, observed: Observed
) -> tuple[Refused, ...]:
    gone = observed.unreachable().get(host.name)
    if gone is not None:
        return (
            Refused(
                f"{host.name} cannot be reached at {host.ssh_address or host.address}: {gone.why}",
                hint="start a machine for the new member at this address, or name another address: `etcdup member "
                f"replace {host.name} --address ADDRESS`",
                host=host.name,
                rules=(31,),
            ),
        )
    if voter_count(observed) < 2 and not entry.is_learner:
        return (
            Refused(
                f"{host.name} is the only voter: no other member has its data",
                hint="add members to cluster.yaml and run `etcdup apply` first, or restore a backup",
                host=host.name,
                rules=(35,),
            ),
        )
    versions = running_versions(spec, observed)
    if len({version.series for version in versions}) > 1 and name_of(entry) in healthy(observed):
        return (refuse_while_mixed(host.name, "replaced", versions),)
    return refuse_join(spec, host, observed.reachable()[host.name], observed)


def _why(entry: ListedMember, seen: HostSeen, observed: Observed) -> str:
    known = ", ".join(entry.peer_urls)
    if seen.host in observed.answering():
        return f"you requested it, although member {entry.member_id:x} ({known}) answers"
    problem = "has no data on its host" if not seen.has_member else "does not answer"
    return f"you requested it: member {entry.member_id:x} ({known}) {problem}"
