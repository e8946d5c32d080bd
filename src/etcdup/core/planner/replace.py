"""`member replace`: a new member in the place of one whose host or disk is lost, or shall be exchanged.

It only adds one step to the ordinary plan, the mark on the host that the new member will run on. With the mark
there the ordinary plan does the rest, so that an apply finishes a replacement that was cut short.
"""

from dataclasses import replace

from etcdup.core.members.bootstrap import cluster_phase, refuse_join
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.membership import is_replaced
from etcdup.core.members.quorum import healthy, voter_count
from etcdup.core.observed.model import HostSeen, ListedMember, Marker, Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.steps import MarkReplacement
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import HostSpec, Spec


def plan_replacement(spec: Spec, name: str, member_id: int, observed: Observed, token: str) -> Plan | Refusal:
    """What replaces the member of this ID on host `name`. Once it is gone from the list, the ordinary plan."""
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
    """The ID of the member that is to be replaced, as the member list has it now.

    0 where the ordinary plan does the rest: it is not in the list, an earlier run has begun with it, or it `moves`
    to an address where a healthy one is already. So the same command given twice does not replace the new member.
    """
    if not member_list(observed):
        return Refused(
            "no member answers, so nobody can be asked to take another member in",
            hint="bring a quorum of members back first; `etcdup status` says what is wrong with each",
            rules=(26, 34),
        )
    host = spec.host(name)
    entry = entry_of(spec, host, member_list(observed))
    if entry is None or _is_begun(entry, name, observed):
        return 0
    done = moves and name in healthy(observed) and spec.peer_url(host) in entry.peer_urls
    return 0 if done else entry.member_id


def _is_begun(entry: ListedMember, name: str, observed: Observed) -> bool:
    """The host is marked for this; or the new member is there already, and only lacks its vote or the seal."""
    seen = observed.reachable().get(name)
    mark = seen.marker if seen else None
    if entry.is_learner or mark is None or not mark.replaces:
        return entry.is_learner
    return is_replaced(seen, entry) or (not mark.formed and name in observed.answering())


def _plan_marking_first(
    spec: Spec, entry: ListedMember, seen: HostSeen, observed: Observed, token: str
) -> Plan | Refusal:
    ident = f"{entry.member_id:x}"
    own = cluster_phase(spec, observed, token).token
    mark = seen.marker or Marker(spec.name, seen.host, own, seen.data.path, formed=False)
    marked = replace(seen, marker=replace(mark, formed=False, replaces=ident))
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
                hint=f"the new member needs a machine: start one there, or name another with `etcdup member replace "
                f"{host.name} --address ADDRESS`",
                host=host.name,
                rules=(31,),
            ),
        )
    if voter_count(observed) < 2 and not entry.is_learner:
        return (
            Refused(
                f"{host.name} is the only voter: no other member has its data",
                hint="add members to cluster.yaml first, or restore a backup",
                host=host.name,
                rules=(35,),
            ),
        )
    return refuse_join(spec, host, observed.reachable()[host.name])


def _why(entry: ListedMember, seen: HostSeen, observed: Observed) -> str:
    known = ", ".join(entry.peer_urls)
    if seen.host in observed.answering():
        return f"asked for, although member {entry.member_id:x} ({known}) answers"
    what = "its data is gone" if not seen.has_member else "it does not answer"
    return f"asked for: member {entry.member_id:x} ({known}), {what}"
