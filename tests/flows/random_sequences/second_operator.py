"""Another operator of a random sequence: works while the first one sleeps, or between two commands.

This operator has a cluster.yaml of the same Git repository, and may have a copy of the folder with the PKI directory.
"""

import asyncio
import random
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from etcdup.errors import EtcdupError
from tests.flows.random_sequences.faults import Faults
from tests.flows.random_sequences.file import FIRST_FILE, SETTINGS, File
from tests.flows.random_sequences.verbs import (
    RENEW_ALL_DAYS,
    Operator,
    Verb,
    apply_file,
    renew_certs,
    replace_member,
    restart_members,
    rotate_ca,
)
from tests.flows.test_lost_lock import ASLEEP_S, HEALTH_PROOFS

# A verb has 10 to 120 commands on fakes.
LAST_CUT = 90
OLDER_COPY = "older copy of the PKI directory"


@dataclass
class SecondOperator(Faults):
    """Two operators. `folder` is that of the first one, `copy` that of the second one if it is another folder.

    `settled` is the last file that was applied without an error.
    """

    copy: Path | None = None
    file: File = FIRST_FILE
    settled: File = FIRST_FILE
    runs: int = 0
    slept_at: int | None = None
    sleeper: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        # Numbers of its own: a sequence in which no operator sleeps stays the same.
        self.sleeper = random.Random(f"sleep {self.rng.getstate()[1][0]}")

    def _plan_sleep(self) -> None:
        if self.sleeper.random() < 0.15:
            self.network.asleep_after = self.sleeper.randint(0, LAST_CUT // 3)
            self.network.sleep_operator = self._sleep

    def _sleep(self) -> None:
        """Let the operator sleep, and another one work: the hosts release the lock of the first one."""
        self.network.stand_still(ASLEEP_S, is_counted=self.sleeper.random() < 0.5)
        self.network.cut_after = None
        thread = threading.Thread(target=lambda: asyncio.run(self._let_other_work("  ")))
        thread.start()
        thread.join()
        self.slept_at = len(self.network.commands)

    async def _let_other_work(self, indent: str = "") -> None:
        """Let the other operator edit the file, or not, and run a verb that takes the lock."""
        begin = len(self.network.commands)
        file = self.sleeper.choice((self.file, self.settled, self._other_edit()))
        name, verb = self._choose_other_verb()
        folder = self._folder_of_other()
        try:
            await verb(Operator(file.spec(), self.network, folder, 1000 + self.runs))
            end = "done"
        except EtcdupError as error:
            end = f"{type(error).__name__}: {error.message[:300]} hint: {error.hint[:200]}"
        except AssertionError as error:
            if not str(error).startswith("Refusal("):
                raise
            end = f"refused: {str(error)[:300]}"
        if verb is apply_file and len(self.network.commands) > begin:
            self.settled = file
        where = " in a copy of the folder" if folder == self.copy else ""
        self.history.append(
            f"{indent}after {begin} commands another operator runs {name}{where} with {file} "
            f"({len(self.network.commands) - begin} commands): {end}"
        )

    def _other_edit(self) -> File:
        return replace(self.file, settings=self.sleeper.choice(SETTINGS))

    def _choose_other_verb(self) -> tuple[str, Verb]:
        """Return what the other operator does. It takes the lock."""
        host = f"infra{self.sleeper.choice(self.settled.hosts)}"
        return self.sleeper.choices(
            (
                ("apply", apply_file),
                ("certs renew", renew_certs(RENEW_ALL_DAYS)),
                ("certs rotate-ca", rotate_ca),
                ("member replace " + host, replace_member(host)),
                ("restart", restart_members()),
            ),
            (6, 1, 1, 1, 1),
        )[0]

    def _folder_of_other(self) -> Path:
        """Return the folder of the other operator: the same, or a copy that is made once and then becomes old."""
        if self.copy is None and self.sleeper.random() < 0.3:
            self.copy = self.folder.with_name(f"{self.folder.name}-copy")
            shutil.copytree(self.folder, self.copy)
        return self.copy if self.copy and self.sleeper.random() < 0.5 else self.folder

    def _use_newest_copy(self, end: str) -> None:
        """Continue in the folder of the other operator if it has the newer PKI directory, as the hint says."""
        if self.copy is not None and OLDER_COPY in end:
            self.history.append("the operator continues in the other copy of the folder")
            self.folder, self.copy = self.copy, self.folder

    def _move_wiped(self) -> None:
        """Put another machine in place of the wiped one. It has another address, which `--address` writes.

        The machine has no marker. If the file names no other host, only certificates of members lead to the cluster.
        """
        number = int(self.wiped.removeprefix("infra"))
        if not (self.folder / "pki/members").exists():
            return
        if number in self.file.hosts and number not in self.file.moved:
            self.network.crash(self.wiped)
            self.network.add(self.wiped)
            self.file = replace(self.file, moved=(*self.file.moved, number))
            self.history.append(f"{self.wiped} is another machine at another address")

    def _judge_sleep(self) -> None:
        """The run that slept may prove the health of members, and nothing else."""
        self.network.sleep_operator = None
        if self.slept_at is not None:
            done = set(self.network.commands[self.slept_at :]) - HEALTH_PROOFS
            assert not done, f"after its sleep, the operator did {done}\n{self.story()}"
        self.slept_at = None

    def story(self) -> str:
        return "\n".join(self.history)
