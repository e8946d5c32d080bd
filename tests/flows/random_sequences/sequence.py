"""One random sequence: the operator edits the file and runs verbs, while hosts and etcdup itself fail.

At the end the faults are over, and a careful operator follows the hints. The cluster must settle in an empty plan of
the file, or first of the previous file. No acknowledged write may be missing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

from etcdup.core.plan.plan import Plan
from etcdup.errors import EtcdupError, RefusedError
from etcdup.testing.network import Killed
from tests.flows.random_sequences.backup_verbs import restore_taken, take_backup, unfinished_restores
from tests.flows.random_sequences.faults import MACHINES
from tests.flows.random_sequences.file import HOSTS, LARGE_QUOTA, MINORS, SETTINGS, VERSIONS, File
from tests.flows.random_sequences.second_operator import LAST_CUT, SecondOperator
from tests.flows.random_sequences.verbs import (
    RENEW_ALL_DAYS,
    Operator,
    Verb,
    apply_file,
    defragment,
    defragment_offline,
    delete_archives,
    destroy_cluster,
    drain_member,
    fix_space,
    keep_old_ca,
    lose_ca_key,
    move_leader,
    read_status,
    recover_without,
    remove_named,
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
from tests.support.fake_world import make_plan

ACTIONS = 6
ATTEMPTS = 3
DAY_S = 86400.0
# Certificates are due after one of these times, and have expired after the other one.
LONG_S = (340 * DAY_S, 400 * DAY_S)


class LockedOut(AssertionError):
    """No file and no verb that a careful operator would try reaches an empty plan."""


@dataclass
class Sequence(SecondOperator):
    """The state of a sequence. `destroying`: a destroy is not complete. `restored_taken`: of a backup of its own."""

    undoing: bool = False
    destroying: bool = False
    restored_taken: bool = False
    host_lists: tuple[tuple[int, ...], ...] = HOSTS
    running: asyncio.Future[None] | None = None

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
        if self.wiped and self.sleeper.random() < 0.3:
            self._move_wiped()
        if self.rng.random() < 0.2:
            self._fill_databases()
        if self.rng.random() < 0.2:
            self._spoil_data(self._random_host())
        if self.rng.random() < 0.15:
            self.network.begin_command(stops_members=False)
            await self._let_other_work()
            self.network.restart_etcdup()
        self._plan_fault()
        name, verb = self._choose_verb()
        await self._verb(name, verb)
        if self.rng.random() < 0.5:
            self._heal()
        if self.rng.random() < 0.05:
            await self._let_year_pass()
        await self.network.sleep(self.rng.choice((0, 1, 60)))

    async def _let_year_pass(self) -> None:
        """Let certificates be due, or expire, while no operator works."""
        if not (self.folder / "pki/ca-key.pem").exists():
            return  # No CA signs before the next phase of the rotation, so an operator does not wait with it.
        self._heal()
        self.history.append("a year passes")
        await self.network.sleep(self.rng.choice(LONG_S))

    def _edit(self) -> None:
        change: Callable[[], File] = self.rng.choice(
            (
                lambda: replace(self.file, hosts=self.rng.choice(self.host_lists)),
                lambda: replace(self.file, hosts=self.rng.choice(self.host_lists)),
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
                self._replacement(host),
                ("certs renew --days 100000", renew_certs(RENEW_ALL_DAYS)),
                ("certs renew", renew_certs()),
                ("certs revoke " + host, revoke_certs(host)),
                ("certs rotate-ca", rotate_ca),
                ("certs rotate-ca --keep-old", keep_old_ca),
                ("certs rotate-ca --lost-key", lose_ca_key),
                ("restore", restore_backup),
                ("restore --undo", undo_restore),
                ("restore latest", restore_taken),
                ("backup now", take_backup),
                ("recover", recover_without(self._unreachable())),
                ("destroy", destroy_cluster),
                ("restart", restart_members()),
                ("restart " + host, restart_members(host)),
                ("restart --drain " + host, drain_member(host)),
                ("archive delete", delete_archives),
                ("maintain defrag --all", defragment()),
                ("maintain defrag " + host, defragment(host)),
                ("maintain defrag --offline --all", defragment_offline),
                ("maintain fix-space", fix_space),
                ("maintain move-leader", move_leader),
                ("restore-keys", restore_old_keys),
                ("maintain repair " + (self.spoiled or host), repair_member(self.spoiled or host)),
                ("status", read_status),
            ],
            [12, 3, 2, 1, 2, 2, 1, 1, 1, 1, 1, 3, 2, 1, 1, 1, 1, 1, 1, 1, 2, 2, 1, 1, 3, 1],
        )

    def _replacement(self, host: str) -> tuple[str, Verb]:
        """Return `member replace`, with `--address` if the host has another one in cluster.yaml than before."""
        moves = int(host.removeprefix("infra")) in self.file.moved
        return f"member replace {host}" + " --address" * moves, replace_member(host, moves=moves)

    async def _verb(self, name: str, verb: Verb) -> bool:
        """Run a verb. Return whether it did all that it had to do."""
        self.runs += 1
        stops = name.split()[0] in ("restore", "recover", "destroy") or self._stops_only_voter(name)
        self.network.begin_command(stops_members=stops)
        end = await self._end_of(name, verb)
        self.history.append(f"{name} ({len(self.network.commands)} commands): {end}")
        self._judge_sleep()
        self._use_newest_copy(end)
        if end == "done" and verb is apply_file:
            self.settled = self.file
        changed = bool(self.network.commands)
        self.network.restart_etcdup()
        if stops and changed:
            self.rebuilt = True
            self.undoing = name == "restore --undo"
            self.restored_taken = name == "restore latest" or (self.undoing and self.restored_taken)
            self.destroying = name == "destroy" and end != "done"
        return end == "done"

    def _stops_only_voter(self, name: str) -> bool:
        """Whether the verb may stop the member of a cluster that has only one, or that is stopped already."""
        has_others = any(len(cluster.voters) > 1 for cluster in self.network.serving())
        return not has_others and ("--offline" in name or "--drain" in name)

    async def _end_of(self, name: str, verb: Verb) -> str:
        """Run a verb, and return how it ended. Each other end is a bug: users never see a traceback."""
        try:
            operator = Operator(self.file.spec(), self.network, self.folder, self.runs)
            self.running = asyncio.ensure_future(verb(operator))
            await self.running
        except Killed:
            return "killed"
        except asyncio.CancelledError:
            return "interrupted"
        except EtcdupError as error:
            return f"{type(error).__name__}: {error.message[:300]} hint: {error.hint[:200]}"
        except AssertionError as error:
            if str(error).startswith("Refusal("):  # of a verb that another flow runs
                return f"refused: {str(error)[:300]}"
            raise
        except Exception as error:
            raise AssertionError(f"{name} ended with {error!r}\n{self.story()}") from error
        return "done"

    def _plan_fault(self) -> None:
        if self.rng.random() < 0.5:
            self.network.cut_after = self.rng.randint(1, LAST_CUT)
        elif self.rng.random() < 0.2:
            self.network.at(self.rng.randint(1, LAST_CUT), self._interrupt)
        if self.rng.random() < 0.4:
            host = self._random_host()
            self.network.at(self.rng.randint(1, LAST_CUT), lambda: self._harm(host))
        self._plan_sleep()

    def _interrupt(self) -> None:
        """Press Ctrl-C: etcdup ends at its next command or request."""
        self.history.append("Ctrl-C")
        if self.running is not None:
            self.running.cancel()

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
        names.discard("")  # a voter that has not started yet
        present = tuple(sorted(int(name.removeprefix("infra")) for name in names)) or self.file.hosts
        yield from (last := self.file, self.settled)
        for hosts, version in product((last.hosts, present), dict.fromkeys((self.settled.version, *MINORS))):
            yield replace(last, hosts=hosts, version=version)
            yield replace(last, hosts=hosts, version=version, settings=LARGE_QUOTA)

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
        if self.destroying:
            verbs.append(("destroy", destroy_cluster))
        if self.wiped in {f"infra{number}" for number in self.file.hosts}:
            verbs.append(self._replacement(self.wiped))
        if self.rebuilt:
            verbs += (
                [("restore --undo", undo_restore)]
                if self.undoing
                else unfinished_restores(latest_first=self.restored_taken)
            )
        alarms = {alarm for cluster in self.network.serving() for alarm in cluster.alarms}
        wrong = any(cluster.hashes.keys() & cluster.members.keys() for cluster in self.network.serving())
        if wrong or any(alarm.startswith("CORRUPT") for alarm in alarms):
            verbs.append((f"maintain repair {self.spoiled}", repair_member(self.spoiled)))
            verbs.append(("ctl member remove", remove_named))
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
