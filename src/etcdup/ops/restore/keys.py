"""Compare keys of a backup with those of the running cluster, and write old values by guarded transactions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from etcdup.core.backups.old_keys import OWN_PREFIX, OldKey, Row, batched, read_rows
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.keys import PresentKey
from etcdup.core.observed.model import Observed
from etcdup.core.plan.restore_steps import RestoreKeys
from etcdup.core.restore.restore_keys import (
    MOST_BYTES,
    MOST_OPERATIONS,
    Conflict,
    KeyComparison,
    KeyJob,
    KeyWrite,
    size_in_request,
)
from etcdup.errors import EtcdupError
from etcdup.ops.members.members import connect_healthy_member
from etcdup.ops.polling import Clock
from etcdup.ops.world.perform import Performer
from etcdup.remote.etcd.client import EtcdClient, GuardedPut, KeyspaceSize
from etcdup.remote.etcd.errors import EtcdRefused, EtcdTimeout, EtcdUnavailable, NoLeader

REQUEST_S = 10.0
# The present values can be larger than the old ones: so many of the largest values fit into one answer.
_READ_AT_ONCE = 32
# The answers of etcd to a request that is larger than its settings allow, and of gRPC.
_TOO_LARGE = ("request is too large", "too many operations", "larger than max")
# The errors during an election. So often the request is repeated.
_PASSING = (NoLeader, EtcdTimeout)
_REPEATS, _PAUSE_S = 5, 1.0
# Other clients can change keys of a batch again between two attempts.
_ATTEMPTS = 200

Report = Callable[[str], None]
Answer = TypeVar("Answer")
# The keys of one transaction with their old values.
Batch = list[tuple[KeyWrite, bytes]]


async def compare_keys(
    client: EtcdClient,
    clock: Clock,
    bolt: Bolt,
    rows: Sequence[Row],
    comparison: KeyComparison,
    report: Report,
) -> None:
    """Add all keys in these rows to the comparison. All present keys are read at one revision. Nothing is changed."""
    reader = _Reader(client, clock)
    counted = await reader.count(comparison.target)
    reading = batched(read_rows(bolt, rows), _size_of, _READ_AT_ONCE, MOST_BYTES)
    done = 0
    while batch := await asyncio.to_thread(next, reading, None):
        keys = [comparison.target_of(each.key) for each in batch]
        for old, found in zip(batch, await reader.read(keys, counted.revision), strict=True):
            comparison.add(old, found)
        done += len(batch)
        report(f"comparing keys: {done:,} of {len(rows):,}")
    own = (await reader.count(OWN_PREFIX)).keys if OWN_PREFIX.startswith(comparison.target) else 0
    comparison.others = max(counted.keys - comparison.found - own, 0)


async def restore_keys(performer: Performer, step: RestoreKeys, observed: Observed) -> None:
    """Write the keys of the job. Raises EtcdupError at the end if some of them were not written."""
    job = performer.world.key_job
    assert job is not None, "the verb has made it"
    writer = _Writer(performer, step, await connect_healthy_member(performer.world, observed, ""), job)
    by_row = {each.row: each for each in job.writes}
    reading = batched(read_rows(job.bolt, sorted(by_row)), _size_of, MOST_OPERATIONS, MOST_BYTES)
    while batch := await asyncio.to_thread(next, reading, None):
        performer.reporter.doing("operator", f"writing keys: {job.written:,} of {len(job.writes):,}")
        await writer.write([(by_row[each.row], each.value) for each in batch])
    performer.reporter.doing("operator", "")
    if job.conflicts:
        raise _not_written(job)


@dataclass(frozen=True)
class _Reader:
    """Reads keys, and waits for the end of an election."""

    client: EtcdClient
    clock: Clock

    async def count(self, prefix: bytes) -> KeyspaceSize:
        return await self._patiently(lambda: self.client.count_keys(prefix, timeout_s=REQUEST_S))

    async def read(self, keys: Sequence[bytes], revision: int = 0) -> tuple[PresentKey | None, ...]:
        """Return the keys. An answer that would be too large is divided."""
        try:
            return await self._patiently(lambda: self.client.read_keys(keys, revision, timeout_s=REQUEST_S))
        except EtcdRefused as refused:
            half = len(keys) // 2
            if not half or not _is_too_large(refused):
                raise
        return (*await self.read(keys[:half], revision), *await self.read(keys[half:], revision))

    async def _patiently(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        for _ in range(_REPEATS):
            with suppress(*_PASSING):
                return await request()
            await self.clock.sleep(_PAUSE_S)
        return await request()


@dataclass
class _Writer:
    """Writes batches. A request may be sent twice: etcd writes a key only if it has the revision that was shown."""

    performer: Performer
    step: RestoreKeys
    client: EtcdClient
    job: KeyJob
    repeats: int = 0

    async def write(self, batch: Batch) -> None:
        """Write these keys in one transaction. A key that another client changed is left out, and the rest is sent."""
        for _ in range(_ATTEMPTS):
            if not batch:
                return
            try:
                if await self._send(batch):
                    self.job.written += len(batch)
                    return
            except EtcdRefused as refused:
                if not _is_too_large(refused):
                    raise
                await self._divide(batch, refused.message)
                return
            batch = await self._unchanged(batch)
        self.job.conflicts += [Conflict(write.key, write.found, write.found) for write, _ in batch]

    async def _send(self, batch: Batch) -> bool:
        """Return whether the keys are written. Without an answer, the result is False too: only a read shows it."""
        puts = [GuardedPut(write.key, value, write.found) for write, value in batch]
        is_written = False

        async def put() -> None:
            nonlocal is_written
            self.job.unknown = len(puts)
            is_written = await self.client.put_guarded(puts, timeout_s=REQUEST_S)

        what = f"to write {len(puts)} keys"
        try:
            await self.performer.send_request(self.step.kind, self.client.name, what, put)
        except _PASSING:
            self.repeats += 1
            if self.repeats > _REPEATS:
                raise
            await self.performer.world.clock.sleep(_PAUSE_S)
        except EtcdUnavailable:
            raise
        except EtcdupError:
            self.job.unknown = 0
            raise
        else:
            self.job.unknown = self.repeats = 0
        return is_written

    async def _unchanged(self, batch: Batch) -> Batch:
        """Return the keys that are as they were shown. Count the others: they have their old values, or newer ones."""
        present = await _Reader(self.client, self.performer.world.clock).read([each.key for each, _ in batch])
        left: Batch = []
        for (write, value), found in zip(batch, present, strict=True):
            revision = found.revision if found else 0
            if revision == write.found:
                left.append((write, value))
            elif found and found.value == value:
                self.job.written += 1
            else:
                self.job.conflicts.append(Conflict(write.key, write.found, revision))
        self.job.unknown = 0
        return left

    async def _divide(self, batch: Batch, why: str) -> None:
        """Write both halves of a batch that the settings of the members do not allow. One key cannot be divided."""
        half = len(batch) // 2
        if half:
            await self.write(batch[:half])
            await self.write(batch[half:])
        else:
            self.job.conflicts += [Conflict(write.key, write.found, write.found, why) for write, _ in batch]


def _is_too_large(refused: EtcdRefused) -> bool:
    return any(text in refused.message for text in _TOO_LARGE)


def _size_of(old: OldKey) -> int:
    return size_in_request(len(old.key), len(old.value))


def _not_written(job: KeyJob) -> EtcdupError:
    refused = [each for each in job.conflicts if each.why]
    changed = len(job.conflicts) - len(refused)
    why = [f"{changed:,} were changed by another client after they were shown"] if changed else []
    why += [f"etcd refused {len(refused):,}: {refused[0].why}"] if refused else []
    error = EtcdupError(f"{len(job.conflicts):,} keys are not written: {'; '.join(why)}")
    if refused:
        error.hint = (
            "raise `max-request-bytes` in `extra` below `etcd` in cluster.yaml, then run `etcdup apply`, so that etcd "
            "accepts these keys"
        )
    error.resumes = bool(changed)
    return error
