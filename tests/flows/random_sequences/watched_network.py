"""A network of fake machines that judges each command: did it take the quorum away, or lose a write?"""

from collections.abc import Callable
from dataclasses import dataclass, field

from etcdup.testing.cluster import FakeCluster
from etcdup.testing.network import FakeNetwork

# A guard observes, and then the command runs. A fault between them cannot be seen by any guard.
UNSEEN_COMMANDS = 2


@dataclass
class WatchedNetwork(FakeNetwork):
    """Writes one key after each command, as a client would, and records each broken promise.

    `acknowledged` has the keys of each cluster by its ID. `stops_members`: the running verb stops all members on
    purpose, as a restore does. `sleep_operator` is done at the end of a round trip after `asleep_after` commands, while
    etcdup has the lock: within a round trip no other operator acts.
    """

    broken: list[str] = field(default_factory=list)
    acknowledged: dict[int, set[bytes]] = field(default_factory=dict)
    served: bool = False
    stops_members: bool = False
    last_fault: int = -UNSEEN_COMMANDS
    written: int = 0
    asleep_after: int = 0
    sleep_operator: Callable[[], None] | None = None

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        self._judge(f"{name}: {' '.join(argv)[:120]}")
        super().count(name, argv)
        self.served = bool(self.serving())

    def end_round_trip(self) -> None:
        super().end_round_trip()
        is_locked = any(machine.locks for machine in self.machines.values())
        if self.sleep_operator is not None and is_locked and len(self.commands) >= self.asleep_after:
            sleep, self.sleep_operator = self.sleep_operator, None
            sleep()

    def begin_command(self, *, stops_members: bool) -> None:
        """Forget the earlier faults and the restrictions of the last verb."""
        self.stops_members = stops_members
        self.served = bool(self.serving())
        self.last_fault = -UNSEEN_COMMANDS

    def serving(self) -> list[FakeCluster]:
        """Return the clusters that have a leader and so acknowledge writes."""
        return [cluster for cluster in self.etcd.by_id.values() if cluster.leader]

    def _judge(self, command: str) -> None:
        serving = self.serving()
        if len(serving) > 1:
            self.broken.append(f"two clusters accept writes after {command}")
        by_fault = len(self.commands) - self.last_fault <= UNSEEN_COMMANDS
        if self.served and not serving and not self.stops_members and not by_fault:
            self.broken.append(f"the quorum is lost by {command}")
        for cluster in serving:
            self.written += 1
            key = f"/random/{self.written}".encode()
            cluster.keys[key] = b"1"
            self.acknowledged.setdefault(cluster.cluster_id, set()).add(key)
