"""Compare the data of members for `maintain repair`, and disarm CORRUPT when it is the same."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.audit.findings import MemberHash
from etcdup.core.etcd.alarms import CORRUPT
from etcdup.core.etcd.log_messages import damage_of
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DisarmCorruptAlarm
from etcdup.core.plan.plan import Refusal
from etcdup.core.planner.repair import Repair, decide_repair, is_repair_begun
from etcdup.core.planner.repair_data import Evidence, refuse_other_data
from etcdup.errors import EtcdupError
from etcdup.ops.audit.gather import read_hashes
from etcdup.ops.backups.snapshot import Report
from etcdup.ops.maintain.space import save_before
from etcdup.ops.members.alarms import disarm_alarm
from etcdup.ops.world.health import prove_voters
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World, read_starts

# The last starts of a member that does not stay up.
_STARTS = 3
# Compactions that the members do at different times are over by then.
SECOND_AFTER_S = 10.0
COMPARE_HINT = "run `etcdup maintain verify` to see each hash, then run the same command again"


async def examine(world: World, observed: Observed, name: str) -> tuple[Repair, tuple[MemberHash, ...]]:
    """Return what is to do for a member, and the hashes. Raises RefusedError.

    Before a healthy member is replaced, the data is compared twice, the second time at another revision. A hash depends
    only on the data, its revision and its compaction, so a longer wait would prove nothing more. But a hash that a
    member stored at a compaction can be wrong, if the member restarted meanwhile
    (https://github.com/etcd-io/etcd/issues/15919). The proofs write keys, unless an alarm forbids it.
    """
    found, hashes = await _examine_once(world, observed, name)
    if found.kind == "replace" and name in healthy(observed):
        await prove_voters(world, observed)
        await world.clock.sleep(SECOND_AFTER_S)
        found, hashes = await _examine_once(world, observed, name)
    return found, hashes


async def _examine_once(world: World, observed: Observed, name: str) -> tuple[Repair, tuple[MemberHash, ...]]:
    evidence = await _read_evidence(world, observed, name)
    found = decide_repair(world.spec, name, observed, evidence)
    if isinstance(found, tuple):
        raise_refusal(Refusal(world.spec.name, found))
    return found, evidence.hashes


async def _read_evidence(world: World, observed: Observed, name: str) -> Evidence:
    """Read the hashes of the voters. One that is being replaced is behind, and would lower the revision of all."""
    spared = name if is_repair_begun(world.spec, name, observed) else ""
    hashes = await read_hashes(world, _without(observed, spared))
    seen, damage = observed.reachable().get(name), ""
    if seen is not None and name not in healthy(observed):
        starts = await read_starts(world, name, seen.unit, _STARTS)
        damage = damage_of(starts, quorum_of(voter_count(observed)))
    return Evidence(hashes, damage)


def _without(observed: Observed, name: str) -> Observed:
    """Return the observation with the healthy voters as its only members, without this one."""
    voters = healthy(observed)
    return replace(observed, members={each: seen for each, seen in voters.items() if each != name})


async def save_source(world: World, observed: Observed, repair: Repair, report: Report) -> Path:
    """Save the data of a member of the majority in the folder for snapshots, and verify the file."""
    return await save_before("repair", world, _without(observed, repair.member), datetime.now(UTC), report)


async def compare_voters(world: World, observed: Observed) -> tuple[tuple[MemberHash, ...], str]:
    """Return the hashes of all voters, and why their data is not the same; empty if it is."""
    hashes = await read_hashes(world, _without(observed, ""))
    return hashes, "; ".join(each.message for each in refuse_other_data("", observed, hashes))


async def disarm_corrupt_alarm(performer: Performer, step: DisarmCorruptAlarm, observed: Observed) -> None:
    """Disarm CORRUPT if all voters have the same data.

    Raises EtcdupError if the data differs or could not be compared: then the alarm stays.
    """
    performer.reporter.doing(step.member, "comparing the data of the others, one after the other")
    _, why = await compare_voters(performer.world, observed)
    performer.reporter.doing(step.member, "")
    if why:
        raise EtcdupError(f"the CORRUPT alarm is not disarmed: {why}", hint=COMPARE_HINT)
    await disarm_alarm(performer, step, CORRUPT, observed)
