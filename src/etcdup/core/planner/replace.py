"""`member replace`: a new member replaces one whose host or disk is lost, or must be exchanged.

It adds one step to the ordinary plan: the marker on the host where the new member will run. With this marker, the
ordinary plan does the rest, so an apply also finishes an interrupted replacement.
"""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.certs.revocation import revoke_hint, with_archived_member
from etcdup.core.members.bootstrap import cluster_phase, refuse_join
from etcdup.core.members.member_list import entry_of, member_list, name_of
from etcdup.core.members.membership import is_replaced
from etcdup.core.members.membership_guards import refuse_while_mixed
from etcdup.core.members.quorum import can_lose, healthy, voter_count
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import MarkReplacement
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.versions.version_steps import running_versions


def plan_replacement(
    spec: Spec, name: str, member_id: int, observed: Observed, token: str, *, fault: str = ""
) -> Plan | Refusal:
    """Return the plan that replaces the member with this ID on host `name`.

    Once that member is no longer in the member list, this is the ordinary plan. `fault` is what is wrong with the data
    of the member: its host and its keys are not, so the new member keeps the certificates.
    """
    host = spec.host(name)
    entry = entry_of(spec, host, member_list(observed))
    seen = observed.reachable().get(name)
    if entry is None or entry.member_id != member_id or is_replaced(seen, entry):
        return plan(spec, observed, token)
    if reasons := _refuse_replacement(spec, host, entry, observed, fault):
        return Refusal(spec.name, reasons)
    assert seen is not None
    return _plan_marking_first(spec, entry, seen, observed, token, fault)


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
    spec: Spec, entry: ListedMember, seen: HostSeen, observed: Observed, token: str, fault: str
) -> Plan | Refusal:
    ident = f"{entry.member_id:x}"
    own = cluster_phase(spec, observed, token).token
    marker = seen.marker or Marker(spec.name, seen.host, own, seen.data.path, formed=False)
    marked = replace(seen, marker=replace(marker, formed=False, replaces=ident))
    new_certs = spec.tls.mode == "managed" and not observed.pki.cannot_sign and not fault
    pki = with_archived_member(observed.pki, seen.host) if new_certs else observed.pki
    after = plan(spec, replace(observed, hosts={**observed.hosts, seen.host: marked}, pki=pki), token)
    if isinstance(after, Refusal):
        return after
    step = MarkReplacement(
        host=seen.host,
        member_id=ident,
        new_certs=new_certs,
        shared_certs=not new_certs and not fault,
        reason=fault or _why(entry, seen, observed),
        rules=(26, 31, 32),
    )
    notes = () if fault else (*_healthy_notes(entry, observed), *_same_certs_notes(spec, seen.host, observed))
    return replace(after, steps=(step, *after.steps), notes=(*notes, *after.notes))


def _same_certs_notes(spec: Spec, name: str, observed: Observed) -> Iterator[str]:
    """Yield that the new member has the certificates of the old one. That blocks no replacement."""
    if spec.tls.mode == "managed" and (why := observed.pki.cannot_sign):
        yield (
            f"the certificates of {name} are not revoked, and its new member has the same ones: {why}\n"
            f"hint: {revoke_hint((name,))}"
        )


def _healthy_notes(entry: ListedMember, observed: Observed) -> Iterator[str]:
    """Yield what the replacement of a healthy voter costs, and a way without it."""
    name, voters, alive = name_of(entry), voter_count(observed), len(healthy(observed))
    if name not in healthy(observed):
        return
    now, then = can_lose(voters, alive), can_lose(voters - 1, alive - 1)
    yield (
        f"{name} is healthy. Until the new member has a vote, the cluster can lose {then} members"
        + (f", now {now}" if now != then else "")
        + f"\nhint: replace {name} only if its host or its disk must be exchanged. `etcdup restart {name}` restarts it"
    )


def _refuse_replacement(
    spec: Spec, host: HostSpec, entry: ListedMember, observed: Observed, fault: str
) -> tuple[Refused, ...]:
    """Return the reasons against a replacement. A member with a `fault` in its data is none that can wait."""
    gone = observed.unreachable().get(host.name)
    if gone is not None:
        return (_unreachable_host(host, gone),)
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
    if (
        len({version.series for version in versions}) > 1
        and name_of(entry) in healthy(observed)
        and not fault
    ):
        return (refuse_while_mixed(host.name, "replaced", versions),)
    return refuse_join(spec, host, observed.reachable()[host.name], observed)


def _unreachable_host(host: HostSpec, gone: Unreachable) -> Refused:
    """Refuse a host without a connection. `etcdup trust` needs the address, which cluster.yaml may not have yet."""
    address = host.ssh_address or host.address
    other = (
        "start a machine for the new member at this address, or name another address: `etcdup member replace "
        f"{host.name} --address ADDRESS`"
    )
    hint = f"{gone.hint}. If no machine has this address, {other}" if gone.hint else other
    if gone.has_unknown_key:
        hint = (
            f"run `etcdup trust {address}`, which shows the key to compare. Then run the same command again"
        )
    return Refused(
        f"{host.name} cannot be reached at {address}: {gone.why}", hint=hint, host=host.name, rules=(31,)
    )


def _why(entry: ListedMember, seen: HostSeen, observed: Observed) -> str:
    known = ", ".join(entry.peer_urls)
    if seen.host in observed.answering():
        return f"you requested it, although member {entry.member_id:x} ({known}) answers"
    problem = "has no data on its host" if not seen.has_member else "does not answer"
    return f"you requested it: member {entry.member_id:x} ({known}) {problem}"
