"""Do one phase of a plan: on this machine, on all of its hosts at the same time, or one disruptive step alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import FinishTakeOver, GiveBackMember, TakeOverMember
from etcdup.core.plan.certificate_steps import IssueCertificates, RevokeCertificates, RotateAuthority
from etcdup.core.plan.database_steps import (
    CompactHistory,
    DefragmentMember,
    DefragmentOffline,
    DisarmCorruptAlarm,
    DisarmSpaceAlarm,
)
from etcdup.core.plan.host_steps import InstallFiles, ObtainBinaries, ProveFiles, RecordEndpoints, SetAside
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
    SealCluster,
    StartMember,
    UpdatePeerUrl,
)
from etcdup.core.plan.restore_steps import (
    FenceOff,
    RestoreKeys,
    RevokeLeases,
    SalvageData,
    StartRestored,
    StopMembers,
)
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.version_steps import (
    CancelDowngrade,
    CheckV2Store,
    EnableDowngrade,
    EnsureRaftSnapshot,
    TakeSnapshot,
)
from etcdup.core.planner.commands import commands_of
from etcdup.errors import EtcdupError, LockLost
from etcdup.ops.adopt.take_over import finish_take_over, give_back, take_over
from etcdup.ops.maintain.compaction import compact_history
from etcdup.ops.maintain.defrag import defragment
from etcdup.ops.maintain.leadership import move_leadership
from etcdup.ops.maintain.offline_defrag import defragment_offline
from etcdup.ops.maintain.repair import disarm_corrupt_alarm
from etcdup.ops.members.alarms import disarm_space_alarm
from etcdup.ops.members.lifecycle import (
    drain,
    form,
    move_clients,
    record_endpoints,
    restart,
    seal,
    start,
)
from etcdup.ops.members.members import add_learner, join, promote, remove, stop_and_archive, update_peer_url
from etcdup.ops.members.proof import install_and_prove, prove_files
from etcdup.ops.recovery.disk_salvage import salvage
from etcdup.ops.restore.keys import restore_keys
from etcdup.ops.restore.leases import revoke_leases
from etcdup.ops.restore.restore import fence_off, start_restored, stop_all
from etcdup.ops.versions.version_steps import (
    cancel_downgrade,
    check_v2store,
    enable_downgrade,
    ensure_raft_snapshot,
    take_minor_snapshot,
)
from etcdup.ops.world.perform import Performer

T = TypeVar("T")


async def run_phase(performer: Performer, steps: Sequence[Step], observed: Observed, token: str) -> None:
    """Do the steps of one phase and report their states. Raises the error of the step that failed."""
    performer.world.held_lock.check()
    for step in steps:
        performer.reporter.step(step, "doing")
    try:
        await _run_steps(performer, steps, observed, token)
    except BaseException:
        for step in steps:
            performer.reporter.step(step, "failed")
        raise
    for step in steps:
        performer.reporter.step(step, "done")


async def _run_steps(performer: Performer, steps: Sequence[Step], observed: Observed, token: str) -> None:
    if len(steps) == 1 and await _run_single_step(performer, steps[0], observed, token):
        return
    await _run_local_steps(performer, steps, observed)
    # The content of a certificate file is known only after the certificate was issued.
    fresh = observed.with_pki(performer.world.pki.observe())
    await _run_host_steps(performer, [step for step in steps if isinstance(step, HostStep)], fresh, token)


async def _run_single_step(performer: Performer, step: Step, observed: Observed, token: str) -> bool:
    """Do a step that is more than a list of commands. Return False, and do nothing, for other steps."""
    match step:
        case FormCluster():
            await form(performer, step, observed)
        case SealCluster(hosts=hosts):
            await seal(performer, hosts, observed, token)
        case RecordEndpoints():
            await record_endpoints(performer, step, observed)
        case StartMember(host=host):
            await start(performer, host, observed)
        case RestartMember():
            await restart(performer, step, observed)
        case DrainMember(host=host):
            await drain(performer, host, observed)
        case MoveClients():
            await move_clients(performer, step, observed)
        case InstallFiles(proof="handshake"):
            await install_and_prove(performer, step, observed, token)
        case ProveFiles():
            await prove_files(performer, step, observed)
        case AddLearner():
            await add_learner(performer, step, observed)
        case JoinMember():
            await join(performer, step, observed)
        case PromoteMember():
            await promote(performer, step, observed)
        case DetachMember() | SetAside():
            await stop_and_archive(performer, step, observed)
        case RemoveMember():
            await remove(performer, step, observed)
        case UpdatePeerUrl():
            await update_peer_url(performer, step, observed)
        case CompactHistory():
            await compact_history(performer, step, observed)
        case DefragmentMember():
            await defragment(performer, step, observed)
        case DefragmentOffline():
            await defragment_offline(performer, step, observed)
        case TakeOverMember():
            await take_over(performer, step, observed, token)
        case GiveBackMember():
            await give_back(performer, step, observed)
        case FinishTakeOver():
            await finish_take_over(performer, step, observed, token)
        case MoveLeadership():
            await move_leadership(performer, step, observed)
        case DisarmSpaceAlarm():
            await disarm_space_alarm(performer, step, observed)
        case DisarmCorruptAlarm():
            await disarm_corrupt_alarm(performer, step, observed)
        case TakeSnapshot():
            await take_minor_snapshot(performer, step, observed)
        case CheckV2Store():
            await check_v2store(performer, step, observed)
        case EnsureRaftSnapshot():
            await ensure_raft_snapshot(performer, step, observed)
        case EnableDowngrade():
            await enable_downgrade(performer, step, observed)
        case CancelDowngrade():
            await cancel_downgrade(performer, step, observed)
        case StopMembers():
            await stop_all(performer, step, observed)
        case SalvageData():
            await salvage(performer, step, observed)
        case RevokeLeases():
            await revoke_leases(performer, step, observed)
        case StartRestored():
            await start_restored(performer, step, observed, token)
        case FenceOff():
            await fence_off(performer, step, observed, token)
        case RestoreKeys():
            await restore_keys(performer, step, observed)
        case MarkReplacement(host=host, new_certs=True):
            # Before the marker: an apply after a kill in between only renews the pair of the member, with a new key.
            await performer.world.held_lock.confirm()
            await asyncio.to_thread(performer.world.pki.archive_member, host)
            return False
        case MarkReplacement(host=host, shared_certs=True):
            await performer.world.held_lock.confirm()
            await asyncio.to_thread(performer.world.pki.keep_shared, host)
            return False
        case RotateAuthority(stage=stage):
            await _change_pki(performer, step, "stage", stage, performer.world.pki.rotate_ca, observed.at)
        case RevokeCertificates(serials=serials):
            await _change_pki(performer, step, "serials", serials, performer.world.pki.revoke, observed.at)
        case _:
            return False
    return True


async def _change_pki(
    performer: Performer,
    step: Step,
    name: str,
    value: T,
    change: Callable[[T, datetime], None],
    at: datetime,
) -> None:
    """Change the PKI of the operator's machine, and journal it under the name of its argument."""
    await performer.world.held_lock.confirm()
    await asyncio.to_thread(change, value, at)
    performer.changed += 1
    performer.journal.record("command", {"step": step.kind, "host": "operator", name: value})


async def _run_local_steps(performer: Performer, steps: Sequence[Step], observed: Observed) -> None:
    """Do the work on the operator's machine, before etcdup changes a host."""
    world = performer.world
    work: list[Awaitable[None]] = []
    for step in steps:
        match step:
            case IssueCertificates(roles=roles, new_keys=new_keys):
                performer.reporter.doing("operator", "issuing certificates")
                work.append(asyncio.to_thread(world.pki.issue, roles, observed.at, new_keys=new_keys))
            case ObtainBinaries(version=version, arches=arches):
                work += [_obtain(performer, version, arch) for arch in arches]
    results = await asyncio.gather(*work, return_exceptions=True)
    raise_together([result for result in results if isinstance(result, BaseException)])
    performer.reporter.doing("operator", "")


async def _obtain(performer: Performer, version: str, arch: str) -> None:
    await performer.world.obtain_archive(performer.world.binaries_of(version), arch)


async def _run_host_steps(
    performer: Performer, steps: list[HostStep], observed: Observed, token: str
) -> None:
    """Do each host's steps in order, all hosts at the same time. A failure on one host does not stop the others."""
    by_host: dict[str, list[HostStep]] = {}
    for step in steps:
        by_host.setdefault(step.host, []).append(step)
    results = await asyncio.gather(
        *(_run_steps_on_host(performer, name, own, observed, token) for name, own in by_host.items()),
        return_exceptions=True,
    )
    raise_together([result for result in results if isinstance(result, BaseException)])


async def _run_steps_on_host(
    performer: Performer, name: str, steps: list[HostStep], observed: Observed, token: str
) -> None:
    spec = performer.world.spec
    work = [(step.kind, commands_of(step, spec, observed, token)) for step in steps]
    await performer.perform_steps(performer.world.hosts[name], work)


def raise_together(errors: Sequence[BaseException]) -> None:
    """Raise the errors of several hosts as one.

    An error that is not an EtcdupError is raised first and alone, and so is a lost lock: it concerns the whole run.
    """
    for error in errors:
        if not isinstance(error, EtcdupError) or isinstance(error, LockLost):
            raise error
    known = [error for error in errors if isinstance(error, EtcdupError)]
    if len(known) == 1:
        raise known[0]
    if known:
        lines = [f"{error.message}\n{error.detail}".strip() for error in known]
        raise EtcdupError(f"{len(known)} hosts failed", detail="\n".join(lines), hint=known[0].hint)
