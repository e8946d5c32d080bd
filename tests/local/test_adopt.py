"""The inspection of real members: its draft has the settings that etcd itself logs when it starts.

The members run in a PID namespace of their own, because an inspection reads all processes of its machine.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import member_of
from etcdup.core.adopt.model import Inspected
from etcdup.ops.adopt.inspect_hosts import inspect_host
from etcdup.remote.host import HostCommand, HostLock, HostTask, Result, Stdin
from etcdup.remote.local import LocalHost
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_certs import Authority
from tests.support.loopback_networks import own_network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace needs root")
START_TIMEOUT_S = 30.0


class NamespaceHost(LocalHost):
    """This machine with the processes of one PID namespace only."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(name)
        self.target = f"--target={pid}"
        self.enter = ("nsenter", self.target, "--pid", "--mount", "--")

    async def run(self, argv: Sequence[str], **options: Any) -> Result:
        return await super().run((*self.enter, *argv), **options)

    async def run_all(
        self, tasks: Sequence[HostTask], *, stdin: Stdin = b"", lock: HostLock | None = None
    ) -> list[Result]:
        assert all(isinstance(task, HostCommand) for task in tasks), "an inspection writes no file"
        entered = [
            HostCommand((*self.enter, *task.argv), task.timeout_s)
            for task in tasks
            if isinstance(task, HostCommand)
        ]
        return await super().run_all(entered, stdin=stdin, lock=lock)


@dataclass
class Machine:
    """A PID namespace, and the etcd in it."""

    folder: Path
    address: str
    host: NamespaceHost
    etcd: subprocess.Popen[bytes] | None = None

    def start(self, binary: Path, flags: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
        """Start etcd, and return the settings that it logs."""
        with (self.folder / "log").open("wb") as log:
            self.etcd = subprocess.Popen(
                ["nsenter", self.host.target, "--pid", "--", binary, *flags],
                env=dict(variables),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            text = (self.folder / "log").read_text()
            if "published local member" in text and "serving client traffic" in text:
                return _logged(text)
            assert self.etcd.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)

    def inspect(self) -> Inspected:
        seen = asyncio.run(inspect_host(self.host))
        assert isinstance(seen, Inspected), seen
        return seen

    def stop(self) -> None:
        if self.etcd is not None and self.etcd.poll() is None:
            os.kill(_child_of(self.etcd.pid), signal.SIGTERM)
            self.etcd.wait(20)
            self.etcd = None


def _logged(text: str) -> dict[str, Any]:
    (line,) = (line for line in text.splitlines() if '"starting an etcd server"' in line)
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Yield a machine with a folder in /var/lib: cluster.yaml has no data in a temporary directory."""
    with own_network() as network, TemporaryDirectory(dir="/var/lib", prefix="etcdup-test-") as name:
        tmp_path = Path(name)
        holder = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sleep", "600"],
            start_new_session=True,
        )
        try:
            child = _child_of(holder.pid)
            address = f"127.77.{network}.1"
            running = Machine(tmp_path, address, NamespaceHost("h1", child))
            authority = Authority("etcd-ca")
            (tmp_path / "ca.pem").write_bytes(authority.pem)
            (tmp_path / "ca-key.pem").touch()
            authority.issue("m1", [address, "127.0.0.1"], days=90).write(tmp_path, "server")
            yield running
            running.stop()
        finally:
            holder.kill()
            holder.wait()


def _child_of(pid: int) -> int:
    deadline = time.monotonic() + 10
    while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(found[0])


def tls_flags(prefix: str = "", dash: str = "-") -> dict[str, str]:
    found = {}
    for peer in ("", f"peer{dash}"):
        found[f"{prefix}{peer}trusted{dash}ca{dash}file"] = "ca.pem"
        found[f"{prefix}{peer}cert{dash}file"] = "server.pem"
        found[f"{prefix}{peer}key{dash}file"] = "server-key.pem"
        found[f"{prefix}{peer}client{dash}cert{dash}auth"] = "true"
    return found


def values(address: str, series: tuple[int, int]) -> dict[str, str]:
    """Return settings that differ from all defaults, by flag."""
    peer, client = f"https://{address}:2380", f"https://{address}:2379"
    return {
        "name": "M_1",
        "data-dir": "m1.data",
        "wal-dir": "m1.wal",
        "listen-peer-urls": peer,
        "listen-client-urls": client,
        "initial-advertise-peer-urls": peer,
        "advertise-client-urls": client,
        "initial-cluster": f"M_1={peer}",
        "initial-cluster-token": "lab-token",
        "listen-metrics-urls": f"http://{address}:2381",
        "heartbeat-interval": "150",
        "election-timeout": "0x5dc" if series > (3, 4) else "1500",
        "quota-backend-bytes": "3221225472",
        "snapshot-count": "20000",
        "max-wals": "6",
        "max-request-bytes": "2000000",
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "90m",
        **({"logger": "zap", "log-outputs": "stderr"} if series == (3, 4) else {}),
        **tls_flags(),
    }


def as_flags(found: Mapping[str, str]) -> list[str]:
    """Return each second flag in another form: `--name m1`, `-name=m1`, `--client-cert-auth`."""
    words: list[str] = []
    for number, (flag, value) in enumerate(found.items()):
        if value == "true":
            words.append(f"--{flag}")
        elif number % 2:
            words += [f"--{flag}", value]
        else:
            words.append(f"-{flag}={value}")
    return words


def as_variables(found: Mapping[str, str]) -> dict[str, str]:
    return {f"ETCD_{flag.upper().replace('-', '_')}": value for flag, value in found.items()}


def as_yaml(found: Mapping[str, str]) -> str:
    sections: dict[str, dict[str, Any]] = {"client-transport-security": {}, "peer-transport-security": {}}
    data: dict[str, Any] = {}
    for flag, value in found.items():
        typed: Any = (
            True if value == "true" else int(value, 0) if re.fullmatch(r"0x\w+|\d+", value) else value
        )
        if flag == "log-outputs":
            data[flag] = [value]
        elif flag in tls_flags():
            section = "peer" if flag.startswith("peer-") else "client"
            key = flag.removeprefix("peer-") if section == "peer" else flag
            sections[f"{section}-transport-security"][key] = typed
        else:
            data[flag] = typed
    return json.dumps(data | sections)


VERSIONS = one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1")


@pytest.mark.parametrize("form", ["flags", "variables", "mixed", "file"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_draft_has_the_settings_that_etcd_logs(machine: Machine, version: str, form: str) -> None:
    if reason := why_not(version):
        pytest.skip(reason)
    series = (int(version.split(".")[0]), int(version.split(".")[1]))
    found = values(machine.address, series)
    flags, variables = {
        "flags": (as_flags(found), {}),
        "variables": ([], as_variables(found)),
        "mixed": (
            as_flags(dict([*found.items()][::2])),
            as_variables(dict([*found.items()][1::2])) | {"ETCD_MAX_SNAPSHOTS": ""},
        ),
        # A file excludes the rest, so these are ignored.
        "file": (
            ["--config-file=etcd.yml", "--name=other", "--quota-backend-bytes=1"],
            {"ETCD_DATA_DIR": "/no"},
        ),
    }[form]
    if form == "file":
        (machine.folder / "etcd.yml").write_text(as_yaml(found))
    logged = machine.start(etcd_binaries(version) / "etcd", flags, variables)
    before = _started(machine)
    seen = member_of(machine.inspect())
    made = draft([seen], Wanted("", "root"), datetime.now(UTC))
    assert isinstance(made, Draft), made
    assert of_draft(made) == of_log(logged, machine.folder)
    assert str(made.spec.version) == version
    assert made.spec.name == "lab-token"
    assert made.spec.tls.mode == "managed", "ca-key.pem exists, and its content is not read"
    assert [each.name for each in made.spec.hosts] == ["m-1"]
    assert seen.inspected.answer.cluster_id == logged_cluster(machine)
    assert _started(machine) == before


def of_draft(made: Draft) -> dict[str, Any]:
    spec, (host,) = made.spec, made.spec.hosts
    return {
        "name": host.member_name,
        "data-dir": spec.data_dir(host),
        "wal-dir": spec.wal_dir(host),
        "heartbeat-interval": spec.etcd.heartbeat_ms,
        "election-timeout": spec.etcd.election_ms,
        "quota": spec.etcd.quota,
        "snapshot-count": spec.etcd.extra["snapshot-count"],
        "max-wals": spec.etcd.extra["max-wals"],
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": spec.etcd.auto_compaction,
        "listen-peer-urls": [spec.peer_url(host)],
        "advertise-client-urls": [spec.client_url(host)],
        "listen-metrics-urls": [f"http://{host.address}:{spec.etcd.metrics_port}"],
    }


def of_log(logged: Mapping[str, Any], cwd: Path) -> dict[str, Any]:
    return {
        "name": logged["name"],
        "data-dir": str(cwd / logged["data-dir"]),
        "wal-dir": str(cwd / logged["wal-dir"]),
        "heartbeat-interval": _milliseconds(logged["heartbeat-interval"]),
        "election-timeout": _milliseconds(logged["election-timeout"]),
        "quota": logged.get("quota-size-bytes", logged.get("quota-backend-bytes")),
        "snapshot-count": logged["snapshot-count"],
        "max-wals": logged.get("max-wals", 6),
        "auto-compaction-mode": logged["auto-compaction-mode"],
        "auto-compaction-retention": _milliseconds(logged["auto-compaction-retention"]) // 1000,
        "listen-peer-urls": logged["listen-peer-urls"],
        "advertise-client-urls": logged["advertise-client-urls"],
        "listen-metrics-urls": logged["listen-metrics-urls"],
    }


def _milliseconds(text: str) -> int:
    """Return a duration of Go, for example `1h30m0s` or `150ms`."""
    sizes = {"h": 3_600_000, "ms": 1, "m": 60_000, "s": 1000}
    return int(sum(float(number) * sizes[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s)", text)))


def logged_cluster(machine: Machine) -> str:
    text = (machine.folder / "log").read_text()
    (found, *_) = re.findall(r'"cluster-id":"([0-9a-f]+)"', text)
    return str(found)


def _started(machine: Machine) -> str:
    assert machine.etcd is not None
    assert machine.etcd.poll() is None
    return Path(f"/proc/{_child_of(machine.etcd.pid)}/stat").read_text().rpartition(")")[2].split()[19]


def test_an_answer_counts_only_with_a_certificate_of_the_ca_of_peers(machine: Machine) -> None:
    """A certificate of another CA is not accepted."""
    version = "3.6.14"
    if reason := why_not(version):
        pytest.skip(reason)
    found = values(machine.address, (3, 6))
    machine.start(etcd_binaries(version) / "etcd", as_flags(found), {})
    assert member_of(machine.inspect()).name == "M_1"
    (machine.folder / "ca.pem").write_bytes(Authority("another").pem)
    seen = machine.inspect()
    assert seen.answer.version is None
    assert seen.answer.why
