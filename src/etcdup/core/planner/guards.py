"""Which guard belongs to which step.

The planner calls the guards to predict refusals. Apply calls them again on a new observation before each step.
"""

from collections.abc import Iterable
from dataclasses import replace

from etcdup.core.adopt.take_over import refuse_switch
from etcdup.core.adopt.verbs import refuse_step_of_waiting
from etcdup.core.certs.ca_rotation import refuse_rotate_ca
from etcdup.core.certs.connected_clients import refuse_drop_old_ca, refuse_move_clients
from etcdup.core.certs.issue import refuse_untimely
from etcdup.core.certs.revocation import refuse_in_use, refuse_installed
from etcdup.core.maintain.defrag import refuse_any_defrag, refuse_defrag
from etcdup.core.maintain.leadership import refuse_move_leader
from etcdup.core.members.bootstrap import refuse_form
from etcdup.core.members.endpoints import refuse_move_endpoint, refuse_remove_endpoint
from etcdup.core.members.exchanged_data import refuse_exchanged_data
from etcdup.core.members.limits import refuse_disarm_corrupt
from etcdup.core.members.membership_guards import (
    refuse_add,
    refuse_archive_data,
    refuse_detach,
    refuse_promote,
    refuse_remove,
    refuse_start_learner,
    refuse_update_peer_url,
)
from etcdup.core.members.quorum import quorum_of, refuse_corrupt_alarm, refuse_restart, refuse_start
from etcdup.core.members.space import refuse_disarm
from etcdup.core.members.superseded import refuse_fence, refuse_retire, refuse_superseded
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import GiveBackMember, TakeOverMember
from etcdup.core.plan.certificate_steps import IssueCertificates, RevokeCertificates, RotateAuthority
from etcdup.core.plan.database_steps import (
    CompactHistory,
    DefragmentMember,
    DefragmentOffline,
    DisarmCorruptAlarm,
    DisarmSpaceAlarm,
)
from etcdup.core.plan.host_steps import DeleteArchives, InstallFiles, ProveFiles, RetireMember, SetAside
from etcdup.core.plan.member_steps import (
    AddLearner,
    DetachMember,
    DrainMember,
    FormCluster,
    JoinMember,
    MarkReplacement,
    MoveClients,
    MoveLeadership,
    PromoteMember,
    RemoveMember,
    RestartMember,
    StartMember,
    UpdatePeerUrl,
)
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import (
    CopyData,
    FenceOff,
    FreeSpace,
    PlaceData,
    RestoreKeys,
    RevokeLeases,
    SalvageArchive,
    SalvageData,
    StartRestored,
    StopMembers,
    UndoData,
)
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.version_steps import (
    CancelDowngrade,
    CheckV2Store,
    EnableDowngrade,
    EnsureRaftSnapshot,
    TakeSnapshot,
)
from etcdup.core.planner.archives import refuse_delete_archives
from etcdup.core.recovery.disk_space import refuse_free_space
from etcdup.core.restore.restore_keys import refuse_restore_keys
from etcdup.core.restore.stopped_check import refuse_data_change, refuse_foreign_hosts
from etcdup.core.spec.model import Spec

# Steps that can take the quorum or the data of a cluster. Two operators who reach different hosts must not do them at
# the same time: each of these steps needs the lock on a majority of the hosts.
NEED_MAJORITY = (
    ProveFiles,
    RestartMember,
    DrainMember,
    MoveClients,
    DisarmCorruptAlarm,
    CompactHistory,
    DefragmentMember,
    DefragmentOffline,
    MoveLeadership,
    AddLearner,
    PromoteMember,
    RemoveMember,
    DetachMember,
    SetAside,
    UpdatePeerUrl,
    MarkReplacement,
    StopMembers,
    EnableDowngrade,
    TakeOverMember,
    GiveBackMember,
)


def refuse_step(step: Step, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return every reason against this step now; an empty tuple means that the step is allowed."""
    if waiting := refuse_step_of_waiting(step, observed):
        return waiting
    if observed.repaired and not is_of_repair(step, observed.repaired):
        observed = replace(observed, repaired="")
    if isinstance(step, NEED_MAJORITY) and (reasons := refuse_without_majority(spec, observed)):
        return reasons
    # A restore replaces the data of all members.
    is_of_member = isinstance(step, NEED_MAJORITY) and not isinstance(step, StopMembers)
    if is_of_member and (exchanged := refuse_exchanged_data(spec, observed)):
        return exchanged
    return _refuse_kind(step, spec, observed)


def is_of_repair(step: Step, name: str) -> bool:
    """Return whether the step repairs this member. A CORRUPT alarm forbids all other steps."""
    if isinstance(step, DisarmCorruptAlarm):
        return step.member == name
    return isinstance(step, HostStep) and step.host == name


def refuse_without_majority(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow a step only if this machine reaches a majority of the hosts. It locks each host that it reaches."""
    names = [host.name for host in spec.hosts]
    silent = [name for name in names if name not in observed.reachable()]
    if len(names) - len(silent) >= quorum_of(len(names)):
        return ()
    return (
        Refused(
            f"the lock of a majority of the hosts is needed, and {', '.join(silent)} cannot be reached",
            hint=f"make {', '.join(silent)} reachable, then run the same command again. Until then, another operator "
            "could change the cluster at the same time",
            host=silent[0],
            rules=(34,),
        ),
    )


def _refuse_kind(step: Step, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    match step:
        case FormCluster():
            return refuse_form(spec, observed)
        case RevokeCertificates(roles=roles, serials=serials):
            return refuse_in_use(spec, observed, roles) or refuse_installed(spec, observed, serials)
        case RotateAuthority(stage=stage):
            return refuse_rotate_ca(stage, spec, observed) or refuse_untimely((step,), spec, observed)
        case IssueCertificates():
            return refuse_untimely((step,), spec, observed)
        case StartMember(host=host):
            return refuse_start(host, spec, observed) or tuple(
                reason for reason in refuse_superseded(spec, observed) if reason.host == host
            )
        case RestartMember(host=host):
            return (
                refuse_restart(host, observed)
                or refuse_drop_old_ca(host, spec, observed)
                or refuse_move_endpoint(host, spec, observed)
            )
        case InstallFiles(host=host):
            return (
                refuse_drop_old_ca(host, spec, observed)
                or refuse_move_endpoint(host, spec, observed)
                or refuse_untimely((step,), spec, observed)
            )
        case DrainMember(host=host):
            return refuse_restart(host, observed)
        case MoveClients(host=host):
            return refuse_restart(host, observed) or refuse_move_clients(host, spec, observed)
        case AddLearner(host=host):
            return refuse_add(host, observed)
        case PromoteMember(host=host):
            return refuse_promote(host, spec, observed)
        case RemoveMember(member_id=member_id):
            ident = int(member_id, 16)
            return refuse_remove(ident, observed) or refuse_remove_endpoint(ident, spec, observed)
        case MarkReplacement(host=host, member_id=member_id):
            command = f"member replace {host} --address ADDRESS"
            return refuse_remove_endpoint(int(member_id, 16), spec, observed, command=command)
        case RetireMember():
            return refuse_retire(step, spec, observed)
        case DetachMember(host=host):
            return refuse_detach(host, observed)
        case SetAside(host=host):
            return refuse_archive_data(host, observed)
        case UpdatePeerUrl(host=host):
            return refuse_update_peer_url(host, observed) or refuse_move_endpoint(host, spec, observed)
        case CompactHistory():
            return refuse_any_defrag(spec, observed)
        case DefragmentMember(host=host):
            return refuse_defrag(host, spec, observed)
        case DefragmentOffline(host=host):
            return refuse_restart(host, observed) or refuse_defrag(host, spec, observed)
        case TakeOverMember(host=host) | GiveBackMember(host=host):
            return refuse_switch(host, observed)
        case MoveLeadership(host=host):
            return refuse_move_leader(host, spec, observed)
        case DisarmSpaceAlarm():
            return refuse_disarm(observed)
        case DisarmCorruptAlarm(member=member):
            return refuse_disarm_corrupt(member, observed)
        case RestoreKeys(bytes=size):
            return refuse_restore_keys(size, spec, observed)
        case FreeSpace():
            return refuse_free_space(step, spec, observed)
        case DeleteArchives():
            return refuse_delete_archives(step, spec, observed)
        case SalvageArchive():
            return ()
        case CopyData() | SalvageData() | PlaceData() | UndoData():
            return refuse_data_change(spec, observed)
        case TakeSnapshot() | EnableDowngrade() | CancelDowngrade() | CheckV2Store() | EnsureRaftSnapshot():
            return refuse_corrupt_alarm(observed)
        case ProveFiles(host=host):
            return refuse_foreign_hosts((host,), spec, observed)
        case StopMembers(hosts=hosts) | RevokeLeases(hosts=hosts):
            return refuse_foreign_hosts(hosts, spec, observed)
        case StartRestored(hosts=hosts):
            return tuple(reason for host in hosts for reason in refuse_start(host, spec, observed))
        case FenceOff():
            return refuse_fence(step, spec, observed) or refuse_foreign_hosts((step.host,), spec, observed)
        case JoinMember(host=host):
            return refuse_start_learner(host, spec, observed)
        case _:
            assert not step.disruptive, f"{step.kind} has no guard"
            return ()


def refuse_first_disruptive(steps: Iterable[Step], spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Return the reasons against the first disruptive step.

    Later steps are checked before each of them runs, because an earlier step may make a later one safe.
    """
    first = next((step for step in steps if step.disruptive), None)
    return refuse_step(first, spec, observed) if first else ()
