"""One random sequence on five machines, under load. tests/flows/random_sequences has the same on fakes."""

import random
from dataclasses import dataclass, field, replace

from tests.lab.load import Load, load_on
from tests.lab.operator import Operator
from tests.lab.random_faults.faults import FAULTS, Faults
from tests.lab.test_bootstrap import path_install

HOSTS = ((1, 2, 3), (1, 2, 3, 4, 5), (2, 3, 4), (3, 4, 5))
VERSIONS = ("3.5.33", "3.6.14", "3.7.1")
SETTINGS = ("", "etcd: {heartbeat_ms: 110, election_ms: 1100}\n", "etcd: {quota: 4GiB}\n")
MACHINES = 5
ACTIONS = 4
ATTEMPTS = 3


@dataclass(frozen=True)
class File:
    """A cluster.yaml of a sequence."""

    hosts: tuple[int, ...] = (1, 2, 3)
    version: str = "3.6.14"
    settings: str = ""


class LockedOut(AssertionError):
    """Neither the last file nor the previous one can be applied, although all hosts are well."""


@dataclass
class Sequence:
    """The state of a sequence. `settled` is the last file that was applied without an error. Call `run` once."""

    rng: random.Random
    operator: Operator
    file: File = File()
    settled: File = File()
    faults: Faults = field(init=False)

    def __post_init__(self) -> None:
        self.faults = Faults(self.rng, self.operator, self._write_other_file)

    def run(self) -> None:
        """Form a cluster, do random actions, and let the cluster settle. Raises AssertionError for a broken promise."""
        self._write(self.file)
        self.operator.apply()
        with load_on(self.operator.lab, self.operator, self._names(self.file)) as load:
            for _ in range(ACTIONS):
                self._act()
            self._settle()
            self._follow(load)
            report = load.report()
        assert not report.lost, f"{report.lost}\n{self.story()}"
        assert not report.unexpected, f"{report.unexpected}\n{self.story()}"
        assert report.violation is None, f"{report.violation}\n{self.story()}"

    def _act(self) -> None:
        if self.rng.random() < 0.8:
            self._edit()
        self._verb(self._choose_verb(), self.rng.choice(("", "kill", *FAULTS)))
        if self.rng.random() < 0.7:
            self.faults.heal()

    def _edit(self) -> None:
        now = self.file
        changes = [
            self.settled,
            replace(now, hosts=self.rng.choice([each for each in HOSTS if each != now.hosts])),
            replace(now, version=self.rng.choice([each for each in VERSIONS if each != now.version])),
            replace(now, settings=self.rng.choice([each for each in SETTINGS if each != now.settings])),
        ]
        self.file = self.rng.choice([each for each in changes if each != now])
        self._write(self.file)

    def _choose_verb(self) -> tuple[str, ...]:
        host = self.rng.choice(self._names(self.file))
        verbs = {
            ("apply",): 8,
            ("member", "replace", host): 3,
            ("certs", "renew", "--days", "4000"): 2,
            ("certs", "rotate-ca"): 1,
            ("certs", "revoke", host): 1,
            ("restart",): 1,
            ("restart", host): 1,
            ("maintain", "defrag", "--all"): 1,
            ("maintain", "move-leader"): 1,
            ("maintain", "fix-space"): 1,
        }
        return self.rng.choices(list(verbs), weights=list(verbs.values()))[0]

    def _verb(self, words: tuple[str, ...], fault: str = "") -> bool:
        done = self.faults.run((*words, "--yes"), fault) == 0
        if done and words == ("apply",):
            self.settled = self.file
        return done

    def _write(self, file: File) -> None:
        self.operator.write(
            version=file.version, install=path_install(file.version), ssh="connect_timeout: 3s",
            members=self._names(file), more=file.settings,
        )  # fmt: skip
        self.faults.history.append(f"edit: {file}")

    def _write_other_file(self) -> str:
        """Write the file of a second operator, who changes a setting of the settled file."""
        text, other = self.operator.file.read_text(), self.operator.folder / "other.yaml"
        self._write(replace(self.settled, settings="etcd: {heartbeat_ms: 120, election_ms: 1200}\n"))
        self.operator.file.rename(other)
        self.operator.file.write_text(text)
        return str(other)

    def _names(self, file: File) -> list[str]:
        """Return the names of the machines of the file. A lab that was reset has other names for added machines."""
        return [self.operator.lab.machines[number - 1].name for number in file.hosts]

    # The end

    def _settle(self) -> None:
        self.faults.heal()
        for file in (self.file, self.settled, *(replace(self.settled, version=each) for each in VERSIONS)):
            self.file = file
            self._write(file)
            if any(self._verb(("apply",)) for _ in range(ATTEMPTS)):
                left = self.faults.run(("plan", "--exit-code"))
                assert left == 0, f"an apply left changes\n{self.story()}"
                return
        raise LockedOut(self.story())

    def _follow(self, load: Load) -> None:
        """Move the clients to the members of the settled file."""
        names = self._names(self.settled)
        for machine in self.operator.lab:
            if load.is_on(machine.name) and machine.name not in names:
                load.remove(machine.name)
            elif machine.name in names and not load.is_on(machine.name):
                load.add(machine.name)

    def story(self) -> str:
        return "\n".join(self.faults.history)
