"""Make sure that a member can start with a version that cannot read v2 requests (core/etcd/replay.py, rule 111)."""

import asyncio

from etcdup.core.etcd.replay import LogPart, parse_log_part
from etcdup.core.host.log_files import log_folder
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.step import HostStep
from etcdup.core.plan.version_steps import EnsureRaftSnapshot
from etcdup.core.spec.layout import layout_of
from etcdup.errors import CommandFailed, EtcdupError
from etcdup.ops.polling import wait_until
from etcdup.ops.versions.versions import SNAPSHOT_S, Clients, append_empty_entries, entries_for_snapshot
from etcdup.ops.world.log_files import read_log_file, unreadable_log
from etcdup.ops.world.perform import Performer
from etcdup.remote.host import Host

# Each check reads a file of up to 64 MiB.
INTERVAL_S = 1.0
# More files mean many large entries since the last snapshot. A new snapshot then costs less than reading them.
MOST_FILES = 4


async def ensure_raft_snapshot(
    performer: Performer, step: EnsureRaftSnapshot, observed: Observed, voters: Clients
) -> None:
    """Read the member's log, and append entries if it would read a v2 request at its next start. Raises EtcdupError.

    A member makes a raft snapshot by itself when its snapshot-count is exceeded. A restart with a smaller
    snapshot-count would do the same, but takes the vote of each member away once more.
    """
    world, name = performer.world, step.host
    host, seen = world.hosts[name], observed.reachable()[name]
    user = layout_of(world.spec, world.spec.host(name)).user
    part = await _read(performer, host, seen, user)

    async def is_proved() -> bool:
        nonlocal part
        part = await _read(performer, host, seen, user)
        return part.starts_without_v2

    if not part.starts_without_v2 and isinstance(observed.members[name], MemberSeen):
        await append_entries(performer, step, observed, voters)
        await wait_until(world.clock, is_proved, SNAPSHOT_S, INTERVAL_S)
    if not part.starts_without_v2:
        raise _not_proved(name, seen, part)
    performer.reporter.doing(name, "")


async def append_entries(performer: Performer, step: HostStep, observed: Observed, voters: Clients) -> None:
    """Append as many entries without effect as make every member write a raft snapshot."""
    entries = entries_for_snapshot(observed)
    performer.reporter.doing(step.host, f"appending {entries} entries to the log")
    await performer.send_request(
        step.kind, step.host, f"{entries} entries without effect",
        lambda: append_empty_entries(voters, entries, clock=performer.world.clock),
    )  # fmt: skip


async def read_replay(host: Host, folder: str, user: str) -> LogPart:
    """Return what the member reads when it starts, from its last MOST_FILES log files. Raises EtcdupError."""
    try:
        part = await _read_part(host, folder, 0, user)
        for back in range(1, MOST_FILES):
            if part.is_whole:
                break
            part = part.after(await _read_part(host, folder, back, user))
    except (ValueError, CommandFailed) as error:
        hint = (
            f"check the disk of {host.name}. If it is damaged, set `version` back, then run `etcdup member "
            f"replace {host.name}`"
        )
        raise unreadable_log(host, error, hint) from None
    return part


async def _read(performer: Performer, host: Host, seen: HostSeen, user: str) -> LogPart:
    performer.reporter.doing(host.name, "reading the write-ahead log")
    return await read_replay(host, log_folder(seen), user)


async def _read_part(host: Host, folder: str, back: int, user: str) -> LogPart:
    file = await read_log_file(host, folder, back, user)
    if file is None:
        raise ValueError("it has no snapshot record")
    return await asyncio.to_thread(parse_log_part, *file)


def _not_proved(name: str, seen: HostSeen, part: LogPart) -> EtcdupError:
    return EtcdupError(
        f"{name} cannot be upgraded: its log has requests of etcd 3.5 or older after its newest raft snapshot",
        detail=f"newest raft snapshot: index {part.snapshot}, last such request: index {part.last_v2}",
        hint=f"set `version: {seen.unit.running_version or seen.current}` in cluster.yaml and run `etcdup apply`. When "
        "all members are healthy, set the new version and run `etcdup apply` again",
    )
