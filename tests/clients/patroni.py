"""Two Patroni clusters on two machines, one of Debian's Patroni, and one of PyPI's."""

import contextlib
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.clients.load import Load, Record, writes_of
from tests.clients.patroni_image import PYPI_FOLDER, patroni_image
from tests.clients.printed_files import files_to_copy
from tests.clients.table import Measured, PatroniRow, Row
from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.shell import LabError

HERE = Path(__file__).parent
START_S = 180.0
ISSUE = ("certs", "issue", "patroni", "--role", "patroni")
PROMOTED = re.compile("promoted self to leader")
DEMOTED = re.compile(r"Demoting self \(")
UNIT = """\
[Service]
User=postgres
Environment=PYTHONPATH={path}
ExecStart=/usr/bin/python3 -m patroni /etc/patroni/{scope}.yml
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
"""
MINIMUM_S = 0.1
RUNNING = ("running", "streaming")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Scope:
    """A Patroni cluster. `path` is where its Patroni is, if it is not Debian's."""

    name: str
    label: str
    port: int
    path: str = ""

    @property
    def unit(self) -> str:
        return f"patroni-{self.name}"

    def command(self, words: str) -> str:
        """Return the command line of this Patroni's patronictl."""
        program = "python3 -c 'import patroni.ctl; patroni.ctl.ctl()'"
        return f"PYTHONPATH={self.path} {program} -c /etc/patroni/{self.name}.yml {words}"


SCOPES = (
    Scope("debian", "Patroni 3.0.2", 5432),
    Scope("pypi", "Patroni 4.1.5", 5433, PYPI_FOLDER),
)


class Patroni:
    """`start` both clusters, and then `measure` operations of etcdup."""

    name = "Patroni"

    def __init__(
        self, operator: Operator, machines: Sequence[Machine], folder: Path, rows: list[Row]
    ) -> None:
        self.operator = operator
        self.machines = machines
        self._folder = folder
        self._rows = rows

    def start(self) -> None:
        self._folder.mkdir()
        section = self.install()
        for machine in self.machines:
            for scope in SCOPES:
                self._configure(machine, scope, section)
        for machine in self.machines:  # the first machine has the first primaries
            for scope in SCOPES:
                machine.run(f"systemctl start {scope.unit}")
            self._wait(f"the databases of {machine.name} do not start", partial(self._runs, machine))

    def install(self, *machines: Machine) -> dict[str, Any]:
        """Copy the certificate files to these machines (default: all), and return the printed section."""
        done = self.operator.run(*ISSUE)
        assert done.returncode == 0, output_of(done)
        for machine in machines or self.machines:
            for source, target in files_to_copy(done.stdout):
                machine.write(target, (self.operator.folder / source).read_text(), "600")
                machine.run(f"chown -R postgres: {Path(target).parent}")
        section: dict[str, Any] = YAML(typ="safe").load(done.stdout)
        return section

    # What etcdup asks of consumers. Patroni reads its files for each new connection.

    def update_ca(self) -> None:
        self.install()

    def update_certificates(self) -> None:
        self.install()

    def update_endpoints(self) -> None:
        """Write the printed section and restart Patroni, while PostgreSQL continues."""
        section = self.install()
        for scope in SCOPES:
            self.machines[0].run(scope.command(f"pause --wait {scope.name}"))
            for machine in self.machines:
                self._write_configuration(machine, scope, section)
                machine.run(f"systemctl restart {scope.unit}")
            self._wait(f"{scope.label} is not complete", partial(self._is_complete, scope))
            self.machines[0].run(scope.command(f"resume --wait {scope.name}"))

    def log_in(self, user: str, password: str, *scopes: Scope) -> None:
        """Add the user of etcd to the section of these Patroni clusters. A reload is enough."""
        section = self.install()
        section["etcd3"] |= {"username": user, "password": password}
        for scope, machine in itertools.product(scopes, self.machines):
            self._write_configuration(machine, scope, section)
            machine.run(f"systemctl reload {scope.unit}")

    def primary(self, scope: Scope = SCOPES[0]) -> Machine:
        for machine in self.machines:
            if self._state(machine, scope).get("role") in ("master", "primary"):
                return machine
        raise LabError(f"{scope.label} has no primary")

    def switch_over(self, scope: Scope) -> None:
        """Move the primary to the other machine."""
        before = self.primary(scope)
        candidate = next(each for each in self.machines if each is not before)
        before.run(scope.command(f"switchover --force --candidate {candidate.name} {scope.name}"))
        self._wait(f"{scope.label} has no second node", partial(self._is_complete, scope))
        assert self.primary(scope) is candidate

    # Measurement

    @contextlib.contextmanager
    def measure(self, operation: str) -> Iterator[Measured]:
        """Put load on both clusters during the block. The rows are complete when the block ends."""
        measured = Measured(operation)
        begun = time.time()
        addresses = [machine.address for machine in self.machines]
        scopes = [f"{scope.name}={scope.port}" for scope in SCOPES]
        argv: list[str | Path] = ["chroot", patroni_image(), "python3", "-", *addresses, *scopes]
        records = self._folder / f"load{next(_numbers)}.jsonl"
        load = Load(self.operator.lab, argv, records, script=HERE / "patroni_load.py")
        names = [scope.name for scope in SCOPES]
        if not load.wait_written(names):
            raise LabError("PostgreSQL accepts no write")
        try:
            yield measured
        finally:
            resumed = {name: load.wait_written([name]) for name in names}
            found, logs = load.stop(), self._save_logs(begun)
            measured.rows = [
                self._row(operation, scope, found, logs[scope.name], resumed=resumed[scope.name])
                for scope in SCOPES
            ]
            self._rows += measured.rows
            print(f"\n{measured}", flush=True)

    def _row(
        self, operation: str, scope: Scope, records: list[Record], log: str, *, resumed: bool
    ) -> PatroniRow:
        mine = [each for each in records if each["scope"] == scope.name]
        writes = writes_of(mine, scope.name, resumed=resumed)
        kept = set(next(each["kept"] for each in mine if each["kind"] == "end"))
        return PatroniRow(
            operation, scope.label, writes, len(set(writes.acknowledged) - kept),
            promotions=len(PROMOTED.findall(log)), demotions=len(DEMOTED.findall(log)),
            two_primaries_s=two_primaries_s(mine),
        )  # fmt: skip

    def _save_logs(self, since: float) -> dict[str, str]:
        """Return what each Patroni cluster logged, and keep it in files of the test."""
        logs = {}
        for scope in SCOPES:
            command = f"journalctl -u {scope.unit} -o short-precise --since=@{int(since)}"
            logs[scope.name] = "".join(
                f"{machine.name}\n{machine.run(command).stdout}"
                for machine in self.machines
                if machine.is_on()
            )
            (self._folder / f"{int(since)}-{scope.unit}.log").write_text(logs[scope.name])
        return logs

    # Configuration and state

    def _configure(self, machine: Machine, scope: Scope, section: dict[str, Any]) -> None:
        self._write_configuration(machine, scope, section)
        machine.write(
            f"/etc/systemd/system/{scope.unit}.service", UNIT.format(path=scope.path, scope=scope.name)
        )
        machine.run("systemctl daemon-reload")

    def _write_configuration(self, machine: Machine, scope: Scope, section: dict[str, Any]) -> None:
        text = json.dumps(configuration(machine, scope) | section)
        machine.write(f"/etc/patroni/{scope.name}.yml", text, "600")
        machine.run(f"chown postgres: /etc/patroni/{scope.name}.yml")

    def _runs(self, machine: Machine) -> bool:
        return all(self._state(machine, scope).get("state") in RUNNING for scope in SCOPES)

    def _is_complete(self, scope: Scope) -> bool:
        states = [self._state(machine, scope) for machine in self.machines]
        roles = sorted(
            str(each.get("role")).replace("master", "primary")
            for each in states
            if each.get("state") in RUNNING
        )
        return roles == ["primary", "replica"]

    def _state(self, machine: Machine, scope: Scope) -> dict[str, Any]:
        """Return what Patroni's REST API reports, or nothing if it does not answer."""
        url = f"http://{machine.address}:{scope.port + 3000}/patroni"
        script = f"import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode())"
        answer = machine.run(f'python3 -c "{script}"', check=False)
        state: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
        return state

    def _wait(self, why: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not reached():
            if time.monotonic() > deadline:
                raise LabError(f"{why}\n{self.log_tail()}")
            time.sleep(0.5)

    def log_tail(self) -> str:
        return "\n".join(
            machine.run("journalctl -n 30 -o short-precise -u 'patroni-*'", check=False).stdout
            for machine in self.machines
        )


def configuration(machine: Machine, scope: Scope) -> dict[str, Any]:
    """Return the sections of Patroni without that of etcd. All that matters here are Patroni's defaults."""
    database, rest = f"{machine.address}:{scope.port}", f"{machine.address}:{scope.port + 3000}"
    return {
        "scope": scope.name,
        "name": machine.name,
        "restapi": {"listen": rest, "connect_address": rest},
        "bootstrap": {
            "dcs": {
                "ttl": 30,
                "loop_wait": 10,
                "retry_timeout": 10,
                "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 30}},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
        },
        "postgresql": {
            "listen": database,
            "connect_address": database,
            "data_dir": f"/var/lib/postgresql/{scope.name}",
            "bin_dir": "/usr/lib/postgresql/15/bin",
            "pgpass": f"/var/lib/postgresql/pgpass-{scope.name}",
            "authentication": {
                "superuser": {"username": "postgres", "password": "lab"},
                "replication": {"username": "replicator", "password": "lab"},
            },
            "pg_hba": [
                "local all all trust",
                "host all all 0.0.0.0/0 trust",
                "host replication all 0.0.0.0/0 trust",
            ],
            "parameters": {"unix_socket_directories": "/var/run/postgresql", "shared_buffers": "16MB"},
        },
    }


def two_primaries_s(records: list[Record]) -> float:
    """Return for how long two nodes were seen to accept writes at the same time."""
    hosts = sorted({each["host"] for each in records if each["kind"] == "node"})
    first, second = (primary_times(records, host) for host in hosts)
    both = ((max(one[0], other[0]), min(one[1], other[1])) for one in first for other in second)
    return sum(max(end - begin, MINIMUM_S) for begin, end in both if begin <= end)


def primary_times(records: list[Record], host: str) -> list[tuple[float, float]]:
    """Return the times between the first and the last of successive observations of a primary."""
    times: list[tuple[float, float]] = []
    was_primary = False
    for each in records:
        if each["kind"] != "node" or each["host"] != host:
            continue
        if each["primary"]:
            begin = times.pop()[0] if was_primary else each["at"]
            times.append((begin, each["at"]))
        was_primary = each["primary"]
    return times
