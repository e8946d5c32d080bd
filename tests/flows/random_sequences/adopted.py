"""Random sequences that begin with a cluster of another tool: it is adopted, taken over, given back, and released.

The other tool starts its members again after a reboot. What etcdup refuses while hosts wait, it refuses here too.
"""

from dataclasses import dataclass, field, replace

from etcdup.testing.machine import UNIT, FakeMachine
from etcdup.testing.systemd import start_unit
from tests.flows.random_sequences.adopt_verbs import (
    adopt_cluster,
    give_back_member,
    release_cluster,
    runs_old_unit,
    take_over_members,
)
from tests.flows.random_sequences.faults import BAD_FILES, MACHINES
from tests.flows.random_sequences.sequence import Sequence
from tests.flows.random_sequences.verbs import Verb, apply_file
from tests.support.foreign_cluster import make_foreign

MARKER = "/etc/etcd/etcdup.json"
SERVER_CERT = "/etc/etcd/pki/server.pem"
# These verbs restart members of the other tool on purpose.
SWITCHES = ("adopt --take-over", "adopt --give-back")


@dataclass
class AdoptedSequence(Sequence):
    """A sequence whose first cluster is that of another tool. `touched` are the hosts that a fault changed."""

    touched: set[str] = field(default_factory=set)

    async def form(self) -> None:
        """Let another tool run a cluster of three or five members."""
        self.file = self.settled = replace(self.file, hosts=self.rng.choice(((1, 2, 3), (1, 2, 3, 4, 5))))
        for number in range(1, MACHINES + 1):
            self.network.add(f"infra{number}")
        await self._verb("apply", apply_file)
        make_foreign(self.network, self.file.spec(), self.folder)
        self.history.append(f"another tool runs {self.file}")
        self._plan_fault()
        await self._verb("adopt", adopt_cluster)
        self._heal()

    def _verbs(self) -> tuple[list[tuple[str, Verb]], list[int]]:
        verbs, weights = super()._verbs()
        host = f"infra{self.rng.choice(self.file.hosts)}"
        some = tuple(f"infra{each}" for each in self.file.hosts if self.rng.random() < 0.5)
        everything = tuple(f"infra{each}" for each in self.file.hosts)
        more: list[tuple[str, Verb, int]] = [
            ("adopt", adopt_cluster, 12),
            ("adopt --take-over " + " ".join(some or everything), take_over_members(some or everything), 10),
            ("adopt --take-over", take_over_members(everything), 4),
            ("adopt --give-back " + host, give_back_member(host), 6),
            # A careful operator does not release a cluster whose member is lost.
            ("adopt --release", release_cluster, 0 if self.wiped else 3),
        ]
        return [*verbs, *((name, verb) for name, verb, _ in more)], [*weights, *(each for *_, each in more)]

    async def _verb(self, name: str, verb: Verb) -> bool:
        """Run a verb. Only a switch restarts members of the other tool."""
        before = self._old_processes()
        self.touched = set()
        done = await super()._verb(name, verb)
        if not name.startswith(SWITCHES):
            after = self._old_processes()
            changed = [each for each, began in before.items() if after.get(each) != began]
            assert set(changed) <= self.touched, f"{name} restarted {changed}\n{self.story()}"
        return done

    def _old_processes(self) -> dict[str, float]:
        """Return when each member that its old unit runs began."""
        machines = self.network.machines.items()
        return {
            name: each.process.started_at
            for name, each in machines
            if each.process is not None and runs_old_unit(each)
        }

    def _harm(self, host: str) -> None:
        self.touched.add(host)
        super()._harm(host)

    def _wipe(self, host: str) -> None:
        """Lose the data of a member of etcdup. Before the adoption, the other tool replaces its members itself."""
        if self._is_adopted():
            self.touched.add(host)
            super()._wipe(host)

    def _fill_databases(self) -> None:
        if self._is_adopted():
            super()._fill_databases()

    async def _let_year_pass(self) -> None:
        """The other tool renews its certificates itself."""
        if not any(runs_old_unit(each) or self._waits(each) for each in self.network.machines.values()):
            await super()._let_year_pass()

    def _sleep(self) -> None:
        """Another operator can take members over meanwhile."""
        self.touched |= self.network.machines.keys()
        super()._sleep()

    def _choose_other_verb(self) -> tuple[str, Verb]:
        everything = tuple(f"infra{each}" for each in self.file.hosts)
        host = self.sleeper.choice(everything)
        return self.sleeper.choice(
            (
                ("apply", apply_file),
                ("adopt --take-over", take_over_members(everything)),
                ("adopt --give-back " + host, give_back_member(host)),
            )
        )

    def _spoil_data(self, host: str) -> None:
        """The other tool replaces its members itself."""
        if not any(runs_old_unit(each) or self._waits(each) for each in self.network.machines.values()):
            super()._spoil_data(host)

    def _is_adopted(self) -> bool:
        return all(each.process is None or each.file(MARKER) for each in self.network.machines.values())

    def _spoil(self, host: str) -> None:
        """Until all hosts are taken over, etcdup repairs certificates of its members only."""
        machine = self.network.machines[host]
        if not (runs_old_unit(machine) or self._waits(machine)):
            super()._spoil(host)
        elif not runs_old_unit(machine) and self._is_taken(machine):
            self.history.append(f"bad {SERVER_CERT}")
            machine.put(SERVER_CERT, BAD_FILES[SERVER_CERT])

    def _rescues(self) -> list[tuple[str, Verb]]:
        hosts = tuple(f"infra{number}" for number in self.file.hosts)
        for name in hosts:
            self._start_unit(self.network.machines[name])
        if self.wiped and self._waits(self.network.machines[self.wiped]) and self._has_all_members(hosts):
            self._remove_old_unit(self.network.machines[self.wiped])
        if not any(runs_old_unit(each) or self._waits(each) for each in self.network.machines.values()):
            return super()._rescues()
        return [
            ("adopt", adopt_cluster), ("adopt --take-over", take_over_members(hosts)), *super()._rescues()
        ]  # fmt: skip

    def _waits(self, machine: FakeMachine) -> bool:
        marker = machine.file(MARKER)
        return marker is not None and b'"adopted"' in (marker.content or b"")

    def _is_taken(self, machine: FakeMachine) -> bool:
        marker = machine.file(MARKER)
        return marker is not None and b'"taken"' in (marker.content or b"")

    def _has_all_members(self, hosts: tuple[str, ...]) -> bool:
        """Without the others in the file and without its marker, the host would form a new cluster."""
        listed = [each.name for cluster in self.network.serving() for each in cluster.members.values()]
        return set(listed) <= set(hosts)

    def _start_unit(self, machine: FakeMachine) -> None:
        """Start a member with its unit, as the hint says."""
        may_wait = runs_old_unit(machine) or self._waits(machine)
        if may_wait and machine.powered and machine.process is None:
            self.history.append(f"etcd is started on {machine.name}")
            start_unit(machine)

    def _remove_old_unit(self, machine: FakeMachine) -> None:
        """Remove what runs the lost member, and its marker, as the hint says."""
        self.history.append(f"the unit and the marker of {machine.name} are removed")
        machine.process = machine.failed_at = machine.loaded_unit = machine.old_process = None
        machine.enabled = False
        machine.remove(UNIT)
        for path in (MARKER, "/etc/etcd/pki"):
            machine.remove(path)
