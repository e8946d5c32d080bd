"""Machines in memory and the network between them: file systems, systemd and etcd as far as etcdup uses them.

They are part of the package, so that whole commands can be tested without a machine. The contract suite of real hosts
tests them too. An unknown command has exit status 127, as on a host without this command.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from etcdup.core.spec.model import HostSpec
from etcdup.remote.lock_scripts import LOST_AFTER_S
from etcdup.testing.cluster import FakeClusters
from etcdup.testing.gateway_client import FakeGatewayClient
from etcdup.testing.machine import FakeMachine, Killed, Node
from etcdup.testing.process import converge
from etcdup.testing.systemd import restart_failed, start_enabled_unit, start_queued

__all__ = ["FakeMachine", "FakeNetwork", "Killed", "Node"]


@dataclass
class FakeNetwork:
    """All machines and the network between them. Time is virtual: only `sleep` advances it.

    `commands` are the commands so far that may change something. `cut_after` kills etcdup after this number of them.
    `events` happen after the command with their number, before etcdup gets its result. `changes_need_lock`: a change
    without a check of the lock fails the test. `pauses` are the numbers of the commands that end a round trip, and
    `stood_still_s` is for how long etcdup was stopped. `any_program`: hosts run programs that the table of etcdup does
    not have.
    """

    machines: dict[str, FakeMachine] = field(default_factory=dict)
    time: float = 1_800_000_000.0
    cut_after: int | None = None
    killed: bool = False
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    events: dict[int, Callable[[], None]] = field(default_factory=dict)
    etcd: FakeClusters = field(default_factory=FakeClusters)
    clients: list[FakeGatewayClient] = field(default_factory=list)
    changes_need_lock: bool = False
    any_program: bool = False
    confirmed_at: int = -1
    pauses: list[int] = field(default_factory=list)
    stood_still_s: float = 0.0

    def add(self, name: str, **facts: object) -> FakeMachine:
        self.machines[name] = FakeMachine(name, self, **facts)  # type: ignore[arg-type]
        return self.machines[name]

    def machine_of(self, host: HostSpec) -> FakeMachine | None:
        """Return the machine with this name, or with this address. One machine can have several names."""
        found = (each for each in self.machines.values() if each.address == host.address)
        return self.machines.get(host.name) or next(found, None)

    def now(self) -> float:
        return self.time

    def now_text(self) -> str:
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        for machine in self.machines.values():
            restart_failed(machine)
            start_queued(machine)
        converge(self)
        await asyncio.sleep(0)

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        """Count a command or call that changes something. Raises Killed at `cut_after`."""
        self.commands.append((name, argv))
        self.events.pop(len(self.commands), lambda: None)()
        if self.cut_after is not None and len(self.commands) >= self.cut_after:
            self.killed = True
            raise Killed(f"after {len(self.commands)} commands")

    def at(self, count: int, event: Callable[[], None]) -> None:
        """Set an event for the command of this number, for example `lambda: network.crash("infra2")`."""
        self.events[count] = event

    def confirm_lock(self) -> None:
        """Note that a host has confirmed the lock."""
        self.confirmed_at = len(self.commands)

    def require_confirmed_lock(self, call: str) -> None:
        """Fail the test unless a host confirmed the lock after the last change, right before this call."""
        if self.changes_need_lock and self.confirmed_at != len(self.commands):
            raise AssertionError(f"{call} was sent without a check of the lock")

    def end_round_trip(self) -> None:
        """Note the end of a round trip to a host, after which another run may act."""
        self.pauses.append(len(self.commands))

    def stand_still(self, seconds: float, *, is_counted: bool = True) -> None:
        """Stop etcdup for this time, as a suspended laptop does. The hosts release its locks after 30 s.

        The clock of a paused virtual machine does not count that time.
        """
        self.stood_still_s += seconds if is_counted else 0.0
        self.time += seconds
        if seconds > LOST_AFTER_S:
            for machine in self.machines.values():
                machine.locks.clear()

    def crash(self, name: str) -> None:
        """Cut the power of a host: it and all that runs on it are off until `reboot`."""
        self.machines[name].crash()
        converge(self)

    def reboot(self, name: str) -> None:
        """Boot a host, after a power cut if it was on: /run is empty, and an enabled unit starts."""
        self.machines[name].crash()
        self.machines[name].powered, self.machines[name].loaded_unit = True, None
        start_enabled_unit(self.machines[name])

    def cut_off(self, name: str) -> None:
        """Disconnect a host from etcdup and its peers. Its processes continue."""
        self.machines[name].reachable, self.machines[name].isolated = False, True
        converge(self)

    def reconnect(self, name: str) -> None:
        """Connect a host again after `cut_off`."""
        self.machines[name].reachable, self.machines[name].isolated = True, False
        converge(self)

    def wipe(self, name: str) -> None:
        """Empty the data directory of a host, as with a new disk."""
        self.machines[name].wipe()
        converge(self)

    def restart_etcdup(self) -> None:
        """Start etcdup again: its locks and held commands on hosts have ended."""
        self.killed, self.cut_after, self.commands, self.pauses = False, None, [], []
        self.events.clear()
        for machine in self.machines.values():
            machine.locks.clear()
