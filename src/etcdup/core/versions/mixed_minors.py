"""Changes of the member list together with a change of the minor version (rule 50).

etcdup makes one change after the other. While members run two minors, only a lost member is removed or replaced:
without it, a restart of another member could lose the quorum, and then the change of the version could not be completed
either.
"""

from etcdup.core.members.member_list import member_list
from etcdup.core.members.membership import MembershipChange
from etcdup.core.members.membership_guards import refuse_add_while_mixed, refuse_while_mixed
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import AddLearner, JoinMember, RemoveMember
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec
from etcdup.core.versions.upgrade_paths import VersionHop
from etcdup.core.versions.version_steps import is_begun, is_downgrading, refuse_start_hop, running_versions


def refuse_version_change(
    spec: Spec, observed: Observed, change: MembershipChange, path: tuple[VersionHop, ...]
) -> tuple[Refused, ...]:
    """Return the reasons against the first hop of the path, and against these changes of the member list with it."""
    if not path or not path[0].changes_minor:
        return ()
    reasons = refuse_start_hop(spec, path[0], observed)
    # If all members that answer run the version of the hop, only stopped members change, before the member list does.
    done = all(seen.version.series == path[0].target.series for seen in observed.answering().values())
    if done or not (change.removals or change.turns or change.moves):
        return reasons
    if is_begun(spec, path[0], observed):
        return (*reasons, *_refuse_while_mixed(spec, path[0], observed, change))
    return (
        *reasons,
        Refused(
            "cluster.yaml changes the minor version and the members at the same time",
            hint="change one after the other: set `version` back, run `etcdup apply`, then set `version` again",
            rules=(50,),
        ),
    )


def _refuse_while_mixed(
    spec: Spec, hop: VersionHop, observed: Observed, change: MembershipChange
) -> tuple[Refused, ...]:
    versions = running_versions(spec, observed)
    lost = {int(step.member_id, 16) for step in change.removals if isinstance(step, RemoveMember)}
    left = sum(not each.is_learner and each.member_id not in lost for each in member_list(observed))
    reasons: list[Refused] = []
    for step in change.turns:
        if isinstance(step, AddLearner):
            reasons += refuse_add_while_mixed(step.host, versions, left, observed)
            left += 1
        elif isinstance(step, RemoveMember) and step.host in change.joining:
            left -= 1
        elif isinstance(step, RemoveMember):
            reasons.append(refuse_while_mixed(step.host, "removed", versions))
    return tuple(reasons) or _refuse_higher_minor(spec, hop, observed, change)


def _refuse_higher_minor(
    spec: Spec, hop: VersionHop, observed: Observed, change: MembershipChange
) -> tuple[Refused, ...]:
    """Refuse a member that starts with the higher minor if only the lower one is safe.

    The lower one is always safe: it is the cluster version, with which all members work. A new member of the higher
    minor panics while etcd has a downgrade to the lower one. It can also receive the v2 requests that other members
    skip by a raft snapshot. A member with a new address would start before the checks of its data.
    """
    starts = any(isinstance(step, JoinMember) for step in change.turns)
    unsafe = hop.needs_raft_snapshot or is_downgrading(observed)
    if hop.kind == "return" or not (change.moves or (starts and unsafe)):
        return ()
    lower = min(running_versions(spec, observed))
    return (
        Refused(
            f"the members run two minors, and the changed member must start with the lower one, {lower}",
            hint=f"set `version: {lower}` in cluster.yaml and run the same command. When all members are healthy, set "
            f"`version: {spec.version}` and run `etcdup apply`",
            rules=(46, 50),
        ),
    )
