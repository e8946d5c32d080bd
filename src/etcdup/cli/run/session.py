"""The start of each verb: cluster.yaml is read, the hosts are connected and observed."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from etcdup.cli.run.cluster_file import path_from_here, read_spec
from etcdup.cli.run.interrupts import run_interruptibly
from etcdup.cli.run.terminal import Terminal
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError, RefusedError
from etcdup.ops.certs.export import admin_files
from etcdup.ops.world.binaries import resolve_binaries
from etcdup.ops.world.etcd_access import etcd_access
from etcdup.ops.world.lock import read_lock_holder
from etcdup.ops.world.observe import observe, wait_until_steady
from etcdup.ops.world.open import open_world
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import Access
from etcdup.remote.fleet import Connect, connect
from etcdup.remote.secrets import Secrets
from etcdup.remote.traced_host import traced

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One run of a verb: the Spec and the terminal. Paths in the Spec are relative to `folder`.

    `access` is the user of etcd for the clients, if it is not that of `folder`. `connect` connects to one host.
    """

    spec: Spec
    folder: Path
    terminal: Terminal
    access: Access | None = None
    connect: Connect = connect

    @classmethod
    def begin(cls, path: Path, terminal: Terminal | None = None, *, named: str | None = None) -> "Session":
        """Read the file. `named` is the name of the cluster, if the operator gave one.

        Raise BadFile with all problems of the file, UsageError if there is no file, RefusedError if it is the file of
        another cluster.
        """
        spec = read_spec(path)
        if named not in (None, spec.name):
            raise RefusedError(f"{path} is the file of cluster {spec.name}, not of cluster {named}")
        return cls(spec, path.absolute().parent, terminal or Terminal())

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        terminal = self.terminal
        opening = open_world(
            self.spec,
            self.folder,
            secrets=Secrets(terminal.ask_secret if terminal.can_ask else None),
            passphrase=self.ask_passphrase,
            report=terminal.report,
            access=self.access or etcd_access(self.spec, self.folder),
            connect=traced(self.connect, terminal) if terminal.wants_commands else self.connect,
        )
        names = ", ".join(host.name for host in self.spec.hosts)
        async with AsyncExitStack() as stack:
            async with terminal.wait_notice(f"connecting to {names}"):
                world = await stack.enter_async_context(opening)
            yield world

    async def observe(self, world: World) -> Observed:
        """Observe all hosts and members. If members elect a leader or are starting, wait and observe again."""
        async with self.terminal.wait_notice("observing the hosts"):
            observed = await observe(world)
        async with self.terminal.wait_notice("waiting for members that start or elect a leader"):
            return await wait_until_steady(world, observed)

    async def observe_with_lock(self, world: World) -> Observed:
        """Observe as `observe`, and read at the same time which other run holds the lock."""
        observed, lock_holder = await asyncio.gather(
            self.observe(world), read_lock_holder(self.spec, world.hosts)
        )
        return replace(observed, lock_holder=lock_holder)

    def require_formed(self, observed: Observed) -> Observed:
        """Return the observation. Raise RefusedError if no host has a member yet."""
        from etcdup.core.verdict.formation import refuse_not_formed
        from etcdup.ops.world.refusal import raise_refusal

        if reasons := refuse_not_formed(self.spec, observed):
            raise_refusal(Refusal(self.spec.name, reasons))
        return observed

    async def resolve_binaries(self, world: World, observed: Observed) -> Observed:
        """Return the observation with the source of each version that a host needs."""
        async with self.terminal.wait_notice(f"finding etcd {self.spec.version}"):
            return await resolve_binaries(world, observed, self.folder, self.terminal.report)

    def generate_token(self) -> str:
        """Return a new initial-cluster-token, in case this run forms a cluster."""
        return f"{self.spec.name}-{secrets.token_hex(6)}"

    def planner(self, token: str = "", *, confirmed: bool = False) -> Callable[[Observed], Plan | Refusal]:
        """Return the planner of this run. `token` is the token of a saved plan.

        `confirmed`: the operator says that clients have the endpoints of cluster.yaml.
        """
        # A verb that only observes does not need the planner, which imports most of core/.
        from etcdup.core.planner.confirm_endpoints import with_confirmed_endpoints
        from etcdup.core.planner.planner import plan

        fresh = token or self.generate_token()

        def make(observed: Observed) -> Plan | Refusal:
            return plan(self.spec, observed, fresh)

        return with_confirmed_endpoints(self.spec, make) if confirmed else make

    def run(self, work: Coroutine[Any, Any, T], describe: Callable[[], str] = lambda: "interrupted") -> T:
        """Run to the end. `describe` returns what was done, in case of an interruption."""
        return run_interruptibly(self.terminal, work, describe)

    @property
    def ask_passphrase(self) -> Callable[[], str] | None:
        """The question for the passphrase of the CA key, None if no operator can answer it."""
        return self._read_passphrase if self.terminal.can_ask else None

    def _read_passphrase(self) -> str:
        return self.terminal.read_secret(
            f"Passphrase of the CA in {path_from_here(self.spec.tls.dir, self.folder)}: "
        )


def admin_client(session: Session, world: World) -> ClientFiles | None:
    """Return the operator's certificate for handshakes, None if there is none yet."""
    with suppress(PkiError):
        return admin_files(session.spec, session.folder, world.pki)
    return None
