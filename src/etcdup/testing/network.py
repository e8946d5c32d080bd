"""Machines in memory, what is between them, and the door to each: file systems, systemd and etcd as far as etcdup
can tell.

Shipped, so that whole verbs can be tried without a machine. The contract suite that real hosts pass holds
this one to the same behaviour; what it cannot run it answers with status 127, like a host without the command.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from etcdup.testing.cluster import FakeClusters
from etcdup.testing.machine import FakeMachine, Killed, Node
from etcdup.testing.process import converge
from etcdup.testing.systemd import restart_failed, start_enabled_unit

__all__ = ["FakeMachine", "FakeNetwork", "Killed", "Node"]


@dataclass
class FakeNetwork:
    """All machines and what is between them. Time is virtual: it passes only when somebody sleeps.

    `commands` is what was run so far that may change something. `cut_after` kills etcdup right after that many of
    them; `happenings` are what else happens at such a moment, before etcdup hears of the command's end.
    """

    machines: dict[str, FakeMachine] = field(default_factory=dict)
    time: float = 1_800_000_000.0
    cut_after: int | None = None
    killed: bool = False
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    happenings: dict[int, Callable[[], None]] = field(default_factory=dict)
    etcd: FakeClusters = field(default_factory=FakeClusters)

    def add(self, name: str, **facts: object) -> FakeMachine:
        self.machines[name] = FakeMachine(name, self, **facts)  # type: ignore[arg-type]
        return self.machines[name]

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        for machine in self.machines.values():
            restart_failed(machine)
        converge(self)
        await asyncio.sleep(0)

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        """Called once after each command or call that changes something."""
        self.commands.append((name, argv))
        self.happenings.pop(len(self.commands), lambda: None)()
        if self.cut_after is not None and len(self.commands) >= self.cut_after:
            self.killed = True
            raise Killed(f"after {len(self.commands)} commands")

    def at(self, count: int, happen: Callable[[], None]) -> None:
        """Something that happens with the command of that number, like `lambda: network.crash("infra2")`."""
        self.happenings[count] = happen

    def crash(self, name: str) -> None:
        """A power cut: the host is gone, and all that ran on it, until it is rebooted."""
        self.machines[name].crash()
        converge(self)

    def reboot(self, name: str) -> None:
        """A host boots, after a power cut where it was up: /run is empty, and an enabled unit starts."""
        self.machines[name].crash()
        self.machines[name].powered, self.machines[name].loaded_unit = True, None
        start_enabled_unit(self.machines[name])

    def cut_off(self, name: str) -> None:
        """Neither the operator nor peers reach the host; what runs there goes on."""
        self.machines[name].reachable, self.machines[name].isolated = False, True
        converge(self)

    def reconnect(self, name: str) -> None:
        """The end of `cut_off`."""
        self.machines[name].reachable, self.machines[name].isolated = True, False
        converge(self)

    def wipe(self, name: str) -> None:
        """The host's data directory is empty, as with a new disk."""
        self.machines[name].wipe()
        converge(self)

    def restart_etcdup(self) -> None:
        """etcdup is started again; whatever it held on hosts is gone."""
        self.killed, self.cut_after, self.commands = False, None, []
        self.happenings.clear()
        for machine in self.machines.values():
            machine.locks.clear()
