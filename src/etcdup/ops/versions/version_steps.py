"""The steps of a change of the minor version: a snapshot before it, and checks before and after each restart."""

from functools import partial

from etcdup.core.backups.backups import backup_source
from etcdup.core.host.commands import v2store_command
from etcdup.core.members.member_list import voter_names
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.version_steps import (
    CancelDowngrade,
    CheckV2Store,
    EnableDowngrade,
    EnsureRaftSnapshot,
    TakeSnapshot,
)
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.version import Version, parse_version
from etcdup.errors import EtcdupError
from etcdup.ops.backups.snapshot import snapshot_name, take_snapshot
from etcdup.ops.versions import raft_snapshot, versions
from etcdup.ops.world.activity import no_source, observe_activity
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.world import World


async def take_minor_snapshot(performer: Performer, step: TakeSnapshot, observed: Observed) -> None:
    """Take a snapshot from the follower whose log is furthest."""
    world = performer.world
    observed = await observe_activity(world, observed)
    member = backup_source(observed)
    if member is None:
        raise no_source(observed)
    client = await world.connect_directly(member)
    name = snapshot_name(world.spec.name, step.hop, observed.at)

    def report(what: str) -> None:
        performer.reporter.doing("operator", what)

    await performer.send_request(
        step.kind,
        client.name,
        f"a snapshot, into {name}",
        lambda: take_snapshot(client, world.snapshots, name, report=report),
    )
    report("")


async def check_v2store(performer: Performer, step: CheckV2Store, observed: Observed) -> None:
    """Check that the member has no v2 data, with the etcdutl of the running version (rule 44). etcd keeps running."""
    world = performer.world
    seen = observed.reachable()[step.host]
    check = v2store_command(seen, layout_of(world.spec, world.spec.host(step.host)))
    performer.reporter.doing(step.host, check.doing)

    async def run_check() -> tuple[int, str]:
        result = await world.hosts[step.host].run(check.argv, timeout_s=check.timeout_s)
        return result.status, result.stdout + result.stderr

    voters = await _connect_voters(world, observed)
    append_entries = partial(raft_snapshot.append_entries, performer, step, observed, voters)
    await versions.ensure_no_v2_data(run_check, append_entries, clock=world.clock)
    performer.reporter.doing(step.host, "")


async def ensure_raft_snapshot(performer: Performer, step: EnsureRaftSnapshot, observed: Observed) -> None:
    """Prove that the member can start without reading v2 requests again (rule 111)."""
    voters = await _connect_voters(performer.world, observed)
    await raft_snapshot.ensure_raft_snapshot(performer, step, observed, voters)


async def enable_downgrade(performer: Performer, step: EnableDowngrade, observed: Observed) -> None:
    """Enable the downgrade, and wait until the storage version of every member is the older one (rule 49).

    Right after the last restart of an upgrade, the cluster version is still the older one. etcd then refuses the
    request.
    """
    clients = await _connect_voters(performer.world, observed)
    running = {seen.version for seen in observed.answering().values()}
    if len({version.series for version in running}) == 1:
        await versions.wait_for_cluster_version(clients, _minor(max(running)), clock=performer.world.clock)
    await performer.send_request(
        step.kind, "the cluster", f"to enable the downgrade to {step.target}",
        lambda: versions.enable_downgrade(clients, step.target),
    )  # fmt: skip
    await versions.wait_for_storage_version(clients, step.target, clock=performer.world.clock)


async def cancel_downgrade(performer: Performer, step: CancelDowngrade, observed: Observed) -> None:
    """Cancel the downgrade, and wait until it has ended."""
    clients = await _connect_voters(performer.world, observed)
    await performer.send_request(
        step.kind,
        "the cluster",
        f"to cancel the downgrade to {step.target}",
        lambda: versions.cancel_downgrade(clients),
    )
    await versions.wait_for_downgrade_end(clients, clock=performer.world.clock)


async def prepare_restart(performer: Performer, step: RestartMember, observed: Observed) -> None:
    """Wait until the whole cluster is ready for a restart that changes a member's minor (rules 43, 49)."""
    now, then = _versions(step, observed)
    if now is None or now.series == then.series:
        return
    clients = await _connect_voters(performer.world, observed)
    clock = performer.world.clock
    begun = any(seen.version.series == then.series for seen in observed.answering().values())
    if then > now and not begun:
        await versions.wait_for_cluster_version(clients, _minor(now), clock=clock)
    if then < now and any(seen.downgrade_to for seen in observed.answering().values()):
        await versions.wait_for_storage_version(clients, _minor(then), clock=clock)


async def verify_restart(performer: Performer, step: RestartMember, observed: Observed) -> None:
    """Check after such a restart that all members have the same data.

    After the last member, also wait until the cluster version has changed and a downgrade has ended.
    """
    now, then = _versions(step, observed)
    if now is None or now.series == then.series:
        return
    clients = await _connect_voters(performer.world, observed)
    clock = performer.world.clock
    performer.reporter.doing(step.host, "comparing the data of all members")
    if difference := await versions.compare_hashes(clients, clock=clock):
        raise EtcdupError(
            f"after {step.host} changed to {step.version}, {difference}",
            hint="do not run `etcdup apply`. Run `etcdup maintain verify` to compare the members again. If one differs "
            "again from a majority, run `etcdup maintain repair NAME` with its name",
        )
    others = [seen for name, seen in observed.answering().items() if name != step.host]
    if all(seen.version.series == then.series for seen in others):
        performer.reporter.doing(step.host, f"waiting for cluster version {_minor(then)}")
        await versions.wait_for_cluster_version(clients, _minor(then), clock=clock)
        await versions.wait_for_downgrade_end(clients, clock=clock)


def _versions(step: RestartMember, observed: Observed) -> tuple[Version | None, Version]:
    seen = observed.members[step.host]
    return (seen.version if isinstance(seen, MemberSeen) else None), parse_version(step.version)


async def _connect_voters(world: World, observed: Observed) -> versions.Clients:
    return {name: await world.etcd(name) for name in voter_names(observed)}


def _minor(version: Version) -> str:
    return f"{version.major}.{version.minor}"
