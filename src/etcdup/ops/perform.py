"""Runs a plan's actions on hosts: resolves what a command needs, reports, journals, and stops on failure."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from etcdup.core.commands import Action, Run, Write
from etcdup.core.files import Cert, Content, Text, Trust
from etcdup.core.steps import Step
from etcdup.errors import RemoteError
from etcdup.ops.journal import Journal
from etcdup.ops.world import World
from etcdup.remote.host import Blob, Host, NewFile

ACTION_HINTS = {
    "No space left on device": "free some space on the host; nothing that was there is lost",
    "Read-only file system": "the file system is mounted read-only: `dmesg` on the host says why",
    "Permission denied": "is a security module in the way, or is the login not root?",
}


class Reporter(Protocol):
    """Told what goes on. The terminal draws it (cli/progress.py); tests collect it."""

    def step(self, step: Step, state: str) -> None:
        """A step's `state` is now `doing`, `done` or `failed`."""
        ...

    def doing(self, host: str, what: str) -> None:
        """What a host, or `operator`, does right now; empty when it does nothing."""
        ...


@dataclass
class Performer:
    """`changed` counts the commands that ended well: from 1 on, a failure leaves a cluster partly applied."""

    world: World
    reporter: Reporter
    journal: Journal
    changed: int = field(default=0)

    async def perform(self, host: Host, actions: Iterable[Action], step: str) -> None:
        """The actions in order; the first that fails raises a RemoteError with a hint, and nothing follows."""
        for action in actions:
            self.reporter.doing(host.name, action.doing)
            began = time.monotonic()
            error: RemoteError | None = None
            try:
                await self._act(host, action)
            except RemoteError as failed:
                error = failed
                raise _hinted(failed) from None
            finally:
                self._record(host.name, step, action, time.monotonic() - began, error)
        self.reporter.doing(host.name, "")

    async def _act(self, host: Host, action: Action) -> None:
        if isinstance(action, Write):
            await host.write_all(
                [NewFile(put.path, self._content(put.content), put.mode, put.owner) for put in action.files]
            )
        else:
            stdin = await self._stdin(action)
            (await host.run(action.argv, stdin=stdin, timeout_s=action.timeout_s)).check()
        self.changed += 1

    def _content(self, content: Content) -> bytes:
        match content:
            case Text(text):
                return text.encode()
            case Trust(kind):
                return self.world.pki.trust(kind)
            case Cert(role, part):
                cert, key = self.world.pki.file(role)
                return cert if part == "cert" else key

    async def _stdin(self, action: Run) -> bytes | Blob:
        if action.stdin is None:
            return b""
        assert self.world.binaries is not None, "settled before planning"
        return Blob(await self.world.archive(self.world.binaries, action.stdin.arch))

    def _record(self, host: str, step: str, action: Action, took_s: float, error: RemoteError | None) -> None:
        what: dict[str, object] = {"run": list(action.argv)} if isinstance(action, Run) else {}
        if isinstance(action, Write):
            what = {"write": [put.path for put in action.files]}
        facts = {"step": step, "host": host, **what, "took_s": round(took_s, 4)}
        if error is not None:
            facts["failed"] = error.message
        self.journal.record("command", facts)


def _hinted(error: RemoteError) -> RemoteError:
    """The same error, with what to do about it where its output is one that people often meet."""
    if not error.hint:
        for words, hint in ACTION_HINTS.items():
            if words in f"{error.message} {error.detail}":
                error.hint = hint
    return error
