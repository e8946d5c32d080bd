"""From cluster.yaml to an open World and an observation of it: how every verb begins."""

import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from etcdup.cli.run.cluster_file import read_spec
from etcdup.cli.run.interrupts import run_interruptibly
from etcdup.cli.run.terminal import Terminal
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError, RefusedError
from etcdup.ops.certs.export import admin_files
from etcdup.ops.world.observe import observe, wait_until_steady
from etcdup.ops.world.open import open_world, resolve_binaries
from etcdup.ops.world.world import World
from etcdup.remote.fleet import connect
from etcdup.remote.secrets import Secrets
from etcdup.remote.traced_host import traced

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One verb's run: the cluster's file, read, and the terminal. Paths in the Spec count from `folder`."""

    spec: Spec
    folder: Path
    terminal: Terminal

    @classmethod
    def begin(cls, path: Path, terminal: Terminal | None = None, *, named: str | None = None) -> "Session":
        """Raises BadFile with every problem in the file, UsageError where there is none, RefusedError where it is not
        the file of the cluster that was `named`."""
        spec = read_spec(path)
        if named not in (None, spec.name):
            raise RefusedError(f"{path} is the file of cluster {spec.name}, not of {named}")
        return cls(spec, path.absolute().parent, terminal or Terminal())

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        terminal = self.terminal
        opening = open_world(
            self.spec,
            self.folder,
            secrets=Secrets(terminal.ask_secret if terminal.can_ask else None),
            passphrase=self._ask_passphrase if terminal.can_ask else None,
            report=terminal.report,
            connect=traced(connect, terminal) if terminal.wants_commands else connect,
        )
        names = ", ".join(host.name for host in self.spec.hosts)
        async with AsyncExitStack() as stack:
            async with terminal.wait_notice(f"connecting to {names}"):
                world = await stack.enter_async_context(opening)
            yield world

    async def observe(self, world: World) -> Observed:
        """A look at everything; where members elect a leader or are just starting, once they have."""
        async with self.terminal.wait_notice("looking at the hosts"):
            observed = await observe(world)
        async with self.terminal.wait_notice("waiting for members that elect a leader, or are just starting"):
            return await wait_until_steady(world, observed)

    async def resolve_binaries(self, world: World, observed: Observed) -> Observed:
        """The same, and where binaries that are lacking come from."""
        async with self.terminal.wait_notice(f"finding etcd {self.spec.version}"):
            return await resolve_binaries(world, observed, self.folder, self.terminal.report)

    def generate_token(self) -> str:
        """What tells a cluster from others of its name, should this run form one."""
        return f"{self.spec.name}-{secrets.token_hex(6)}"

    def planner(self, token: str = "") -> Callable[[Observed], Plan | Refusal]:
        """The planner of this run. `token` is the one of a plan that was made before."""
        fresh = token or self.generate_token()

        def planned(observed: Observed) -> Plan | Refusal:
            return plan(self.spec, observed, fresh)

        return planned

    def run(self, work: Coroutine[Any, Any, T], how_far: Callable[[], str] = lambda: "interrupted") -> T:
        """`how_far` says what was done, should it be interrupted."""
        return run_interruptibly(self.terminal, work, how_far)

    def _ask_passphrase(self) -> str:
        return self.terminal.read_secret(f"Passphrase of the CA in {self.spec.tls.dir}: ")


def admin_client(session: Session, world: World) -> ClientFiles | None:
    """The operator's own certificate to say hello with, if there is one yet."""
    with suppress(PkiError):
        return admin_files(session.spec, session.folder, world.pki)
    return None
