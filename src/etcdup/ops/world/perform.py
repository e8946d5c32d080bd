"""Run a plan's actions on hosts: prepare their input, report and journal them, and stop at the first failure."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from etcdup.core.host.actions import HostAction, LocalFileInput, RunCommand, WriteFiles
from etcdup.core.host.content import CaContent, CertContent, Content, CrlContent, TextContent
from etcdup.core.plan.step import Step
from etcdup.core.spec.units import show_transfer
from etcdup.errors import EtcdupError, NotLocked, RemoteError
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.world import World
from etcdup.remote.host import (
    COMMAND_TIMEOUT_S,
    Blob,
    Host,
    HostCommand,
    HostFile,
    HostTask,
    Result,
    Stdin,
)

ACTION_HINTS = {
    "No space left on device": "free disk space on the host, then run the same command again; no data on the host is "
    "lost",
    "Read-only file system": "run `dmesg` on the host to see why the file system is mounted read-only",
    "Permission denied": "check that the login has root rights, that user etcd owns the files in the data directory, "
    "and that no security module denies the access",
    "Operation not permitted": "run `lsattr` on that file and its directory on the host: if it shows `i` or `a`, run "
    "`chattr -ia` on it. Then run the same command again",
    "invalid user": "create this user on the host first: etcdup writes files that it owns",
    "user etcd cannot run": "check the modes of the directories above this file, and whether its file system is "
    "mounted with `noexec`. If the file is damaged, remove its directory and run the same command again",
    "invalid group": "create this group on the host first: etcdup writes files that it owns",
}


class Reporter(Protocol):
    """Receives the progress. The terminal shows it (cli/run/progress.py), and tests collect it."""

    def step(self, step: Step, state: str) -> None:
        """Report that the step's state is now `doing`, `done` or `failed`."""
        ...

    def doing(self, host: str, what: str) -> None:
        """Report what a host, or `operator`, does now. An empty text means nothing."""
        ...


@dataclass(frozen=True)
class StepAction:
    """An action, and the kind of the step that it belongs to."""

    step: str
    action: HostAction

    @property
    def timeout_s(self) -> float:
        return self.action.timeout_s if isinstance(self.action, RunCommand) else COMMAND_TIMEOUT_S


@dataclass
class Performer:
    """Runs actions and requests. `changed` counts those that succeeded or may have succeeded.

    If `changed` is not 0, a failure leaves the cluster partly applied.
    """

    world: World
    reporter: Reporter
    journal: Journal
    changed: int = field(default=0)

    async def perform(self, host: Host, actions: Iterable[HostAction], step: str) -> None:
        """Run the actions in order. The first one that fails raises a RemoteError, and the others do not run."""
        await self.perform_steps(host, [(step, actions)])

    async def perform_on_each(self, actions: Mapping[str, Iterable[HostAction]], step: str) -> None:
        """Run the actions of each host, on all hosts at the same time."""
        await asyncio.gather(
            *(self.perform(self.world.hosts[name], own, step) for name, own in actions.items())
        )

    async def perform_steps(self, host: Host, steps: Iterable[tuple[str, Iterable[HostAction]]]) -> None:
        """Run the actions of several steps, in as few round trips as possible."""
        for round_trip in _round_trips(
            [StepAction(step, action) for step, actions in steps for action in actions]
        ):
            self.reporter.doing(host.name, max(round_trip, key=lambda act: act.timeout_s).action.doing)
            await self._run_round_trip(host, round_trip)
        self.reporter.doing(host.name, "")

    async def write_temporary(self, host: Host, files: tuple[HostFile, ...]) -> None:
        """Write files that only this run needs, such as temporary keys. They are not journaled."""
        (result,) = await self._run_locked(host, [files])
        self.changed += 1
        result.check()

    async def send_request(
        self, step: str, member: str, what: str, request: Callable[[], Awaitable[object]]
    ) -> None:
        """Send a request to etcd that changes something, and journal it. Raises LockLost before it.

        A request without an answer counts as a change, since etcd may have applied it.
        """
        await self.world.held_lock.confirm()
        began = time.monotonic()
        failed = ""
        self.changed += 1
        try:
            await request()
        except EtcdupError as error:
            failed = error.message
            raise
        finally:
            facts = {
                "step": step,
                "member": member,
                "asked": what,
                "took_s": round(time.monotonic() - began, 4),
            }
            self.journal.record("request", {**facts, **({"failed": failed} if failed else {})})

    async def _run_round_trip(self, host: Host, round_trip: list[StepAction]) -> None:
        began = time.monotonic()
        try:
            stdin = await self._open_stdin(host.name, round_trip[-1].action)
            tasks = [self._host_task(act.action) for act in round_trip]
            results = await self._run_locked(host, tasks, stdin)
        except RemoteError as error:
            # With a lost connection it is not known which actions ran before it.
            self.changed += len(round_trip) > 1
            for act in round_trip:
                self._record(host.name, act, time.monotonic() - began, error.message)
            raise _with_hint(error) from None
        for act, result in zip(round_trip, results, strict=False):
            self.changed += result.status == 0
            failed = f"exited with status {result.status}" if result.status else ""
            self._record(host.name, act, result.duration_s, failed)
        try:
            results[-1].check()
        except RemoteError as error:
            raise _with_hint(_without_script(error, host.name, round_trip[len(results) - 1].action)) from None

    async def _run_locked(self, host: Host, tasks: Sequence[HostTask], stdin: Stdin = b"") -> list[Result]:
        """Do the tasks while this run holds the lock of the host. Raises LockLost, and then no task is done."""
        try:
            return await host.run_all(tasks, stdin=stdin, lock=self.world.held_lock.on(host.name))
        except NotLocked as error:
            raise self.world.held_lock.lost_on(error) from None

    def _host_task(self, action: HostAction) -> HostTask:
        if isinstance(action, RunCommand):
            return HostCommand(action.argv, action.timeout_s)
        return tuple(
            HostFile(put.path, self._content(put.content), put.mode, put.owner) for put in action.files
        )

    def _content(self, content: Content) -> bytes:
        match content:
            case TextContent(text):
                return text.encode()
            case CaContent(kind):
                return self.world.pki.ca_file(kind)
            case CrlContent(kind):
                return self.world.pki.crl_file(kind)
            case CertContent(role, part):
                cert, key = self.world.pki.pair(role)
                return cert if part == "cert" else key

    async def _open_stdin(self, host: str, action: HostAction) -> bytes | Blob:
        if isinstance(action, WriteFiles) or action.stdin is None:
            return b""

        def report(done: int, total: int) -> None:
            self.reporter.doing(host, f"{action.doing}: {show_transfer(done, total)}")

        if isinstance(action.stdin, LocalFileInput):
            return Blob(Path(action.stdin.path), report)
        return Blob(await self._obtain_archive(action.stdin.version, action.stdin.arch), report)

    async def _obtain_archive(self, version: str, arch: str) -> Path:
        return await self.world.obtain_archive(self.world.binaries_of(version), arch)

    def _record(self, host: str, act: StepAction, took_s: float, failed: str) -> None:
        action = act.action
        what: dict[str, object] = {"run": list(action.argv)} if isinstance(action, RunCommand) else {}
        if isinstance(action, WriteFiles):
            what = {"write": [put.path for put in action.files]}
        facts = {"step": act.step, "host": host, **what, "took_s": round(took_s, 4)}
        if failed:
            facts["failed"] = failed
        self.journal.record("command", facts)


def _round_trips(acts: Iterable[StepAction]) -> Iterator[list[StepAction]]:
    """Divide the actions into round trips. An action that reads stdin is the last one of its round trip."""
    round_trip: list[StepAction] = []
    for act in acts:
        round_trip.append(act)
        if isinstance(act.action, RunCommand) and act.action.stdin is not None:
            yield round_trip
            round_trip = []
    if round_trip:
        yield round_trip


def _without_script(error: RemoteError, host: str, action: HostAction) -> RemoteError:
    """Name the action instead of its shell script, which can have many lines."""
    if isinstance(action, RunCommand) and action.argv[:2] == ("sh", "-c"):
        error.message = f"{host}: {action.doing} failed"
    return error


def _with_hint(error: RemoteError) -> RemoteError:
    """Add a hint to the error if its output is a frequent one."""
    if not error.hint:
        text = f"{error.message} {error.detail}".lower()  # Programs in Go begin these words in lower case.
        for output, hint in ACTION_HINTS.items():
            if output.lower() in text:
                error.hint = hint
    return error
