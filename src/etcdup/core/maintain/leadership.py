"""The transfer of the leadership to another member."""

from etcdup.core.backups.backups import defragmenting
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.quorum import healthy, refuse_corrupt_alarm
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import MoveLeadership
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec


def leader_name(observed: Observed) -> str:
    """Return the healthy member that leads; empty if none does."""
    members = healthy(observed)
    return next((name for name, seen in members.items() if seen.leader_id == seen.member_id), "")


def best_follower(observed: Observed) -> str:
    """Return the healthy follower whose data is newest; empty if there is none."""
    busy = (leader_name(observed), *defragmenting(observed), *observed.leaving)
    members = {name: seen for name, seen in healthy(observed).items() if name not in busy}
    return max(sorted(members), key=lambda name: members[name].applied_index, default="")


def plan_move_leader(spec: Spec, observed: Observed, target: str) -> Plan | Refusal:
    """Return the transfer to `target`. The plan is empty if it leads."""
    leader = leader_name(observed)
    if target and leader == target:
        return Plan(spec.name)
    if reasons := refuse_move_leader(target, spec, observed):
        return Refusal(spec.name, reasons)
    step = MoveLeadership(
        host=target, reason=f"{leader} leads, and you requested another leader", rules=(39,)
    )
    return Plan(spec.name, (step,))


def refuse_move_leader(target: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the transfer from a leader that is healthy to a voter that is healthy."""
    if reasons := (
        refuse_without_access(spec, observed)
        or refuse_corrupt_alarm(observed)
        or refuse_unfinished_restore(spec, observed)
    ):
        return reasons
    status = "run `etcdup status` to see each member"
    if not leader_name(observed):
        return (Refused("the cluster has no healthy leader", hint=status, rules=(39,)),)
    if not target:
        return (Refused("no other member is healthy", hint=status, rules=(39,)),)
    if target not in healthy(observed):
        return (Refused(f"{target} is not a healthy voter", hint=status, host=target, rules=(39,)),)
    if target in defragmenting(observed):
        hint = "wait until that has ended, then run the same command again"
        return (Refused(f"{target} is being defragmented", hint=hint, host=target, rules=(75,)),)
    return ()
