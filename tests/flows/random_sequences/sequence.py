"""One random sequence: the operator edits the file and runs verbs, while hosts and etcdup itself fail.

At the end the faults are over, and a careful operator follows the hints. The cluster must settle in an empty plan of
the file, or first of the previous file. No acknowledged write may be missing.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from etcdup.core.plan.plan import Plan
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.testing.network import Killed
from tests.flows.random_sequences.verbs import (
    Operator,
    Verb,
    apply_file,
    defragment_all,
    delete_archives,
    drain_member,
    fix_space,
    move_leader,
    recover_without,
    renew_certs,
    repair_member,
    replace_member,
    restart_members,
    restore_backup,
    restore_old_keys,
    revoke_certs,
    rotate_ca,
    undo_restore,
)
from tests.flows.random_sequences.watched_network import WatchedNetwork
from tests.flows.test_lost_lock import ASLEEP_S, HEALTH_PROOFS
from tests.support.fake_world import make_plan, spec_of

HOSTS = ((1, 2, 3), (1, 2, 3, 4, 5), (2, 3, 4), (1, 2, 3, 4), (1,), (3, 4, 5))
LARGE_QUOTA = "etcd: {quota: 8GiB}\n"
VERSIONS = ("3.5.33", "3.6.14", "3.7.1")
SETTINGS = ("", "etcd: {heartbeat_ms: 110, election_ms: 1100}\n", "etcd: {quota: 4GiB}\n")
WRONG_CLOCKS_S = (-3 * 3600.0, 3 * 3600.0, 250 * 86400.0)
BAD_FILES = {
    "/etc/etcd/etcd.conf": b'ETCD_DATA_DIR="/var/lib/etcd"\nETCD_MAX_TXN_OPS="many"\n',
    "/etc/etcd/pki/server.pem": b"no certificate\n",
    "/etc/systemd/system/etcd.service": b"[Service]\nExecStart=/bin/false\n",
}
# The quota of each process is smaller.
FULL, REVISIONS = 4 * 1024**3, 5000
MACHINES = 5
ACTIONS = 6
ATTEMPTS = 3
# A verb has 10 to 120 commands on fakes.
LAST_CUT = 90


@dataclass(frozen=True)
class File:
    """A cluster.yaml of a sequence."""

    hosts: tuple[int, ...]
    version: str
    settings: str

    def spec(self) -> Spec:
        return spec_of(self.hosts, self.settings, self.version)


class LockedOut(AssertionError):
    """No file and no verb that a careful operator would try reaches an empty plan."""


@dataclass
class Sequence:
    """The state of a sequence. `history` describes each action, for the message of a failure."""

    rng: random.Random
    folder: Path
    network: WatchedNetwork = field(default_factory=WatchedNetwork)
    file: File = File((1, 2, 3), "3.6.14", "")
    settled: File = File((1, 2, 3), "3.6.14", "")
    history: list[str] = field(default_factory=list)
    runs: int = 0
    rebuilt: bool = False
    undoing: bool = False
    wiped: str = ""
    spoiled: str = ""
    slept_at: int | None = None

    def __post_init__(self) -> None:
        # Numbers of its own: a sequence in which no operator sleeps stays the same.
        self.sleeper = random.Random(f"sleep {self.rng.getstate()[1][0]}")

    async def run(self) -> None:
        """Form a cluster, do random actions, and let the cluster settle."""
        await self.form()
        first = {each.cluster_id for each in self.network.serving()}
        for _ in range(ACTIONS):
            await self._act()
        await self._settle()
        self._judge(first)

    async def form(self) -> None:
        """Form the first cluster."""
        for number in range(1, MACHINES + 1):
            self.network.add(f"infra{number}")
        await self._verb("apply", apply_file)

    # Actions

    async def _act(self) -> None:
        if self.rng.random() < 0.6:
            self._edit()
        if self.rng.random() < 0.2:
            self._harm(self._random_host())
        if self.rng.random() < 0.1:
            self._wipe(self._random_host())
        if self.rng.random() < 0.2:
            self._fill_databases()
        if self.rng.random() < 0.2:
            self._spoil_data(self._random_host())
        self._plan_fault()
        name, verb = self._choose_verb()
        await self._verb(name, verb)
        if self.rng.random() < 0.5:
            self._heal()
        await self.network.sleep(self.rng.choice((0, 1, 60)))

    def _edit(self) -> None:
        change: Callable[[], File] = self.rng.choice(
            (
                lambda: replace(self.file, hosts=self.rng.choice(HOSTS)),
                lambda: replace(self.file, hosts=self.rng.choice(HOSTS)),
                lambda: replace(self.file, settings=self.rng.choice(SETTINGS)),
                lambda: replace(self.file, version=self.rng.choice(VERSIONS)),
                lambda: self.settled,
            )
        )
        self.file = change()
        self.history.append(f"edit: {self.file}")

    def _choose_verb(self) -> tuple[str, Verb]:
        verbs, weights = self._verbs()
        return self.rng.choices(verbs, weights)[0]

    def _verbs(self) -> tuple[list[tuple[str, Verb]], list[int]]:
        """Return the verbs that the operator may type, and how likely each is."""
        host = f"infra{self.rng.choice(self.file.hosts)}"
        return (
            [
                ("apply", apply_file),
                ("member replace " + host, replace_member(host)),
                ("certs renew", renew_certs),
                ("certs revoke " + host, revoke_certs(host)),
                ("certs rotate-ca", rotate_ca),
                ("restore", restore_backup),
                ("restore --undo", undo_restore),
                ("recover", recover_without(self._unreachable())),
                ("restart", restart_members()),
                ("restart " + host, restart_members(host)),
                ("restart --drain " + host, drain_member(host)),
                ("archive delete", delete_archives),
                ("maintain defrag --all", defragment_all),
                ("maintain fix-space", fix_space),
                ("maintain move-leader", move_leader),
                ("restore-keys", restore_old_keys),
                ("maintain repair " + (self.spoiled or host), repair_member(self.spoiled or host)),
            ],
            [12, 3, 2, 2, 2, 1, 1, 2, 1, 1, 1, 1, 2, 2, 1, 1, 3],
        )

    async def _verb(self, name: str, verb: Verb) -> bool:
        """Run a verb. Return whether it did all that it had to do."""
        self.runs += 1
        stops = name.split()[0] in ("restore", "recover")
        self.network.begin_command(stops_members=stops)
        try:
            await verb(Operator(self.file.spec(), self.network, self.folder, self.runs))
            end = "done"
        except Killed:
            end = "killed"
        except EtcdupError as error:
            end = f"{type(error).__name__}: {error.message[:300]} hint: {error.hint[:200]}"
        except AssertionError as error:  # a refusal of a verb that another flow runs
            end = f"refused: {str(error)[:300]}"
        self.history.append(f"{name} ({len(self.network.commands)} commands): {end}")
        self._judge_sleep()
        if end == "done" and verb is apply_file:
            self.settled = self.file
        changed = bool(self.network.commands)
        self.network.restart_etcdup()
        self.rebuilt |= stops and changed
        if stops and changed:
            self.undoing = name == "restore --undo"
        return end == "done"

    # Faults

    def _plan_fault(self) -> None:
        if self.rng.random() < 0.5:
            self.network.cut_after = self.rng.randint(1, LAST_CUT)
        if self.rng.random() < 0.4:
            host = self._random_host()
            self.network.at(self.rng.randint(1, LAST_CUT), lambda: self._harm(host))

        if self.sleeper.random() < 0.15:
            self.network.asleep_after = self.sleeper.randint(0, LAST_CUT // 3)
            self.network.sleep_operator = self._sleep

    def _sleep(self) -> None:
        """Let the operator sleep, and another one work: the hosts release the lock of the first one."""
        self.network.stand_still(ASLEEP_S, is_counted=self.sleeper.random() < 0.5)
        self.network.cut_after = None
        name, verb = self._choose_other_verb()
        other = Operator(self.file.spec(), self.network, self.folder, 1000 + self.runs)
        thread = threading.Thread(target=self._run_as_other_operator, args=(name, verb, other))
        thread.start()
        thread.join()
        self.slept_at = len(self.network.commands)

    def _choose_other_verb(self) -> tuple[str, Verb]:
        """Return what another operator does meanwhile. It takes the lock."""
        return "apply", apply_file

    def _run_as_other_operator(self, name: str, verb: Verb, other: Operator) -> None:
        begin = len(self.network.commands)
        try:
            asyncio.run(self._run_other(verb, other))
            end = "done"
        except (EtcdupError, AssertionError) as error:
            end = f"{type(error).__name__}: {str(error)[:300]}"
        if verb is apply_file and len(self.network.commands) > begin:
            self.settled = self.file
        self.history.append(
            f"  the operator sleeps after {begin} commands, and another one runs {name} "
            f"({len(self.network.commands) - begin} commands): {end}"
        )

    async def _run_other(self, verb: Verb, other: Operator) -> None:
        await verb(other)

    def _judge_sleep(self) -> None:
        """The run that slept may prove the health of members, and nothing else."""
        self.network.sleep_operator = None
        if self.slept_at is not None:
            done = set(self.network.commands[self.slept_at :]) - HEALTH_PROOFS
            assert not done, f"after its sleep, the operator did {done}\n{self.story()}"
        self.slept_at = None

    def _harm(self, host: str) -> None:
        harms = (
            self.network.crash, self.network.cut_off, self._stop, self._fill, self._kill, self._shift_clock, self._spoil
        )  # fmt: skip
        harm = self.rng.choice(harms)
        if host in self._unreachable():
            return
        self.history.append(f"{getattr(harm, '__name__', harm)} {host}")
        harm(host)
        self.network.last_fault = len(self.network.commands)

    def _stop(self, host: str) -> None:
        machine = self.network.machines[host]
        machine.process, machine.failed_at = None, None

    def _kill(self, host: str) -> None:
        if self.network.machines[host].process is not None:
            self.network.machines[host].end_etcd(137)

    def _fill(self, host: str) -> None:
        self.network.machines[host].free_bytes = 0

    def _fill_databases(self) -> None:
        """Let clients write old revisions until the quota of the largest database is reached."""
        for cluster in self.network.serving():
            self.history.append("the databases are full")
            cluster.index += REVISIONS
            cluster.defragmented.clear()
            cluster.db_size = cluster.db_in_use = FULL
            cluster.db_old = FULL * 9 // 10
            others = (alarm for alarm in cluster.alarms if not alarm.startswith("NOSPACE"))
            full = (f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
            cluster.alarms = (*others, *full)

    def _shift_clock(self, host: str) -> None:
        self.network.machines[host].clock_ahead_s = self.rng.choice(WRONG_CLOCKS_S)

    def _spoil(self, host: str) -> None:
        """Put bad content into a file that is there. Another file would be foreign, which etcdup does not touch."""
        machine, path = self.network.machines[host], self.rng.choice(list(BAD_FILES))
        if machine.file(path):
            self.history.append(f"bad {path}")
            machine.put(path, BAD_FILES[path])

    def _wipe(self, host: str) -> None:
        """Give one host of the sequence a new disk, if the cluster keeps a quorum without its data."""
        serving = self.network.serving()
        if (
            self.wiped
            or self.spoiled
            or self.rebuilt
            or not serving
            or len(serving[0].voters) < 3
            or self._unreachable()
        ):
            return
        self.history.append(f"wipe {host}")
        self.wiped = host
        self.network.wipe(host)

    def _spoil_data(self, host: str) -> None:
        """Give one voter of the sequence other data, if the others are a majority. Mostly, etcd finds it."""
        serving = self.network.serving()
        if self.wiped or self.spoiled or not serving or len(serving[0].voters) < 3 or self._unreachable():
            return
        for ident, member in serving[0].voters.items():
            if member.name == host:
                self.history.append(f"other data on {host}")
                self.spoiled = host
                serving[0].hashes[ident] = 1
                if self.rng.random() < 0.7:
                    serving[0].alarms = (*serving[0].alarms, "CORRUPT")

    def _heal(self) -> None:
        for name, machine in self.network.machines.items():
            machine.free_bytes = 20 * 1024**3
            machine.clock_ahead_s = 0.0
            if not machine.powered:
                self.network.reboot(name)
            self.network.reconnect(name)
        self.history.append("the hosts are well again")

    def _random_host(self) -> str:
        return f"infra{self.rng.randint(1, MACHINES)}"

    def _unreachable(self) -> tuple[str, ...]:
        return tuple(name for name, machine in self.network.machines.items() if not machine.answers)

    # The end

    async def _settle(self) -> None:
        self._heal()
        await self.network.sleep(60)
        for file in self._files_of_hints():
            self.history.append(f"settle with {file}")
            self.file = file
            if await self._reaches_empty_plan():
                return
        raise LockedOut(self.story())

    def _files_of_hints(self) -> Iterator[File]:
        """Yield the files that a careful operator tries: the hints say to write members, version or quota back."""
        names = {member.name for cluster in self.network.serving() for member in cluster.voters.values()}
        present = tuple(sorted(int(name.removeprefix("infra")) for name in names)) or self.file.hosts
        yield from (last := self.file, self.settled)
        for hosts, version in product(
            (last.hosts, present), dict.fromkeys((self.settled.version, *VERSIONS))
        ):
            yield File(hosts, version, last.settings)
            yield File(hosts, version, LARGE_QUOTA)

    async def _reaches_empty_plan(self) -> bool:
        for _ in range(ATTEMPTS):
            done = await self._verb("apply", apply_file)
            if done and await self._is_empty():
                return True
            await self.network.sleep(10)
            for name, verb in self._rescues():
                if await self._verb(name, verb):
                    break
        return False

    def _rescues(self) -> list[tuple[str, Verb]]:
        """Return what a careful operator tries next, by the hints."""
        verbs: list[tuple[str, Verb]] = []
        if self.wiped in {f"infra{number}" for number in self.file.hosts}:
            verbs.append((f"member replace {self.wiped}", replace_member(self.wiped)))
        if self.rebuilt:
            verbs.append(("restore --undo", undo_restore) if self.undoing else ("restore", restore_backup))
        alarms = {alarm for cluster in self.network.serving() for alarm in cluster.alarms}
        wrong = any(cluster.hashes.keys() & cluster.members.keys() for cluster in self.network.serving())
        if wrong or any(alarm.startswith("CORRUPT") for alarm in alarms):
            verbs.append((f"maintain repair {self.spoiled}", repair_member(self.spoiled)))
        if alarms:
            verbs.append(("maintain fix-space", fix_space))
        return [*verbs, ("recover", recover_without(()))]

    async def _is_empty(self) -> bool:
        with suppress(RefusedError):
            left = await make_plan(self.file.spec(), self.network, self.folder)
            return isinstance(left, Plan) and left.steps == ()
        return False

    def _judge(self, first: set[int]) -> None:
        (cluster,) = self.network.serving()
        missing = self.network.acknowledged.get(cluster.cluster_id, set()) - cluster.keys.keys()
        assert not missing, f"{len(missing)} acknowledged writes are missing\n{self.story()}"
        assert self.rebuilt or {cluster.cluster_id} == first, f"another cluster was formed\n{self.story()}"
        assert not any(each.was_blocked_twice for each in self.network.etcd.by_id.values()), self.story()
        assert not self.network.broken, f"{self.network.broken}\n{self.story()}"

    def story(self) -> str:
        return "\n".join(self.history)
