"""`etcdup adopt --to-tls` on real machines: its scripts, word for word, bring plain http to https under writers.

The members are those of another tool, with settings as flags or as variables. After the last script, the ordinary
`adopt` and `adopt --take-over` work.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from etcdup.core.adopt.to_tls import TLS_FOLDER
from etcdup.core.adopt.to_tls_script import DROP_IN
from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.test_adopt import log_in_by_ssh_config
from tests.lab.test_take_over import processes, run
from tests.local.conftest import VERSIONS
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_certs import Authority

GUIDE = Path(__file__).parents[2] / "docs/guides/adopt.md"
FLAGS = {
    "name": "{name}",
    "data-dir": "/var/lib/etcd",
    "listen-peer-urls": "http://{address}:2380",
    "listen-client-urls": "http://{address}:2379,http://127.0.0.1:2379",
    "advertise-client-urls": "http://{address}:2379",
    "initial-advertise-peer-urls": "http://{address}:2380",
    "initial-cluster": "{cluster}",
    "initial-cluster-token": "plain",
}
HTTPS_FOR_CLIENTS = {
    "listen-client-urls": "https://{address}:2379,http://127.0.0.1:2379",
    "advertise-client-urls": "https://{address}:2379",
    "trusted-ca-file": "/etc/etcd-certs/ca.pem",
    "cert-file": "/etc/etcd-certs/server.pem",
    "key-file": "/etc/etcd-certs/server-key.pem",
    "client-cert-auth": "true",
}
UNIT = """\
[Unit]
Description=etcd
After=network.target

[Service]
Type=notify
EnvironmentFile=-/etc/etcd.env
ExecStart=/usr/local/bin/etcd {arguments}
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
WRITER = """\
number=0
while [ -e /run/writes ]; do
  number=$((number + 1))
  key=written/{name}/$number
  if etcdctl --command-timeout=5s --endpoints=http://{address}:2379 put $key x >/dev/null 2>/run/failure; then
    echo $key >>/run/acknowledged
  else
    tail -n 1 /run/failure >>/run/failed
  fi
  sleep 0.05
done
"""
LISTEN = "*S = IO::Socket::INET->new(Listen => 1, LocalPort => 2382) or die; sleep"


@dataclass(frozen=True)
class PlainCluster:
    """A cluster with plain http: its version, and whether its settings are flags or variables."""

    operator: Operator
    version: str

    @property
    def addresses(self) -> list[str]:
        return [each.address for each in self.operator.lab.machines]

    def start(self, *, as_flags: bool, more: Mapping[str, str] | None = None) -> None:
        cluster = ",".join(f"{each.name}=http://{each.address}:2380" for each in self.operator.lab.machines)
        for machine in self.operator.lab.machines:
            self._install(machine)
            settings = _filled(machine, cluster) | _filled(machine, cluster, more or {})
            arguments = " ".join(f"--{flag} {value}" for flag, value in settings.items()) if as_flags else ""
            variables = {f"ETCD_{flag.upper().replace('-', '_')}": value for flag, value in settings.items()}
            text = "" if as_flags else "".join(f"{name}={value}\n" for name, value in variables.items())
            machine.write("/etc/etcd.env", text)
            machine.write("/etc/systemd/system/etcd.service", UNIT.format(arguments=arguments))
            machine.run("systemctl daemon-reload; systemctl enable -q etcd; systemctl start --no-block etcd")
        for machine in self.operator.lab.machines:
            machine.run("for _ in $(seq 100); do systemctl is-active -q etcd && break; sleep 0.2; done")

    def _install(self, machine: Machine) -> None:
        for tool in ("etcd", "etcdctl", "etcdutl"):
            source = etcd_binaries(self.version) / tool
            if source.exists():
                (machine.root / "usr/local/bin" / tool).write_bytes(source.read_bytes())
        machine.run("chmod 755 /usr/local/bin/etcd*")

    def ask(self) -> CompletedProcess[str]:
        """Run `adopt --to-tls`."""
        done = self.operator.run("adopt", *self.addresses, "--user", "root", "--to-tls")
        print(output_of(done))
        return done

    def run_script(self, text: str) -> CompletedProcess[str]:
        """Run a script that was printed."""
        done = self.operator.lab.run(["sh", "step.sh"], env=self._prepare(text), cwd=self.operator.folder)
        print(output_of(done))
        return done

    def cut_script(self, text: str, after_s: float) -> None:
        """Start a script, and end it and its connections after this time."""
        argv, env = ["timeout", "-s", "KILL", str(after_s), "sh", "step.sh"], self._prepare(text)
        self.operator.lab.run(argv, env=env, cwd=self.operator.folder)

    def _prepare(self, text: str) -> dict[str, str]:
        """Write a script, and return its environment. `ssh` has the identity of the lab."""
        folder = self.operator.folder
        shim = folder / "bin/ssh"
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/.ssh/config "$@"\n')
        shim.chmod(0o755)
        (folder / "step.sh").write_text(text)
        path = f"{shim.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": str(folder)}


def _filled(machine: Machine, cluster: str, flags: Mapping[str, str] = FLAGS) -> dict[str, str]:
    values = {"name": machine.name, "address": machine.address, "cluster": cluster}
    return {flag: value.format(**values) for flag, value in flags.items()}


@contextmanager
def writers(operator: Operator) -> Iterator[None]:
    """Run a writer on each machine, which writes to its own member with http."""
    for machine in operator.lab.machines:
        machine.write("/run/writer", WRITER.format(name=machine.name, address=machine.address))
        machine.run(
            "touch /run/writes /run/acknowledged /run/failed; systemd-run -q --unit=writer sh /run/writer"
        )
    try:
        yield
    finally:
        for machine in operator.lab.machines:
            machine.run("rm -f /run/writes; while systemctl is-active -q writer; do sleep 0.1; done")


def lines_of(machine: Machine, path: str) -> list[str]:
    return machine.read(path).splitlines()


def to_tls(cluster: PlainCluster) -> list[str]:
    """Run each printed script until there is none. Return their first lines."""
    heads: list[str] = []
    while (done := cluster.ask()).returncode == 3:
        heads.append(done.stdout.splitlines()[0])
        assert len(heads) < 8, heads
        ran = cluster.run_script(done.stdout)
        assert ran.returncode == 0, output_of(ran)
    assert done.returncode == 0, output_of(done)
    return heads


@pytest.mark.parametrize(("version", "as_flags"), one_in_turn(*product(VERSIONS, (True, False))))
def test_plain_http_becomes_https_and_the_cluster_is_adopted(
    operator: Operator, version: str, as_flags: bool
) -> None:
    if reason := why_not(version):
        pytest.skip(reason)
    cluster = PlainCluster(operator, version)
    cluster.start(as_flags=as_flags)
    log_in_by_ssh_config(operator)
    with writers(operator):
        heads = to_tls(cluster)
        assert len(heads) == 5, heads
        assert_client_works(cluster, 2383 if version == "3.4.23" else 2379)
        time.sleep(2)
    written = {each.name: lines_of(each, "/run/acknowledged") for each in operator.lab.machines}
    for machine in operator.lab.machines:
        print(
            machine.name,
            len(written[machine.name]),
            "acknowledged; failed:",
            lines_of(machine, "/run/failed"),
        )
        assert len(written[machine.name]) > 20
    run(operator, "adopt", *cluster.addresses, "--user", "root", "--name", "prod", "--yes")
    run(operator, "plan", "--exit-code")
    run(operator, "adopt", "--take-over", "--yes", code=4)
    run(operator, "adopt", "--take-over", "--consumers-have", "tls", "--yes")
    assert [processes(each) for each in operator.lab.machines] == [[f"etcd /opt/etcd/{version}/etcd"]] * 3
    operator.assert_no_step()
    port = 2383 if version == "3.4.23" else 2379
    found = set(keys_of(operator.lab["infra1"], port))
    assert not {key for keys in written.values() for key in keys} - found


def assert_client_works(cluster: PlainCluster, port: int) -> None:
    """Issue the certificate of a client with the commands of the guide, and use it."""
    operator, machine = cluster.operator, cluster.operator.lab["infra2"]
    _, _, after = GUIDE.read_text().partition("certificate for the client `apiserver`:\n\n")
    commands = "\n".join(line.removeprefix("    ") for line in after.partition("\n\n")[0].splitlines())
    assert cluster.run_script(commands).returncode == 0
    for name in ("apiserver.pem", "apiserver-key.pem", "to-tls/ca.pem"):
        machine.write(f"/run/{name.rpartition('/')[2]}", (operator.folder / name).read_text())
    files = "--cacert=/run/ca.pem --cert=/run/apiserver.pem --key=/run/apiserver-key.pem"
    machine.run(f"etcdctl {files} --endpoints=https://{machine.address}:{port} put client x")


def keys_of(machine: Machine, port: int) -> list[str]:
    """Return all keys of the writers, read with the certificate of the member."""
    files = f"--cacert={TLS_FOLDER}/ca.pem --cert={TLS_FOLDER}/member.pem --key={TLS_FOLDER}/member-key.pem"
    endpoint = f"--endpoints=https://{machine.address}:{port}"
    return machine.run(f"etcdctl {files} {endpoint} get written/ --prefix --keys-only").stdout.split()


@pytest.mark.full
def test_members_with_https_for_clients_keep_their_certificates(operator: Operator) -> None:
    """Only the peers have http. The take-over needs no confirmation, because clients already use https."""
    authority = Authority("etcd-ca", days=3650)
    for machine in operator.lab.machines:
        pair = authority.issue("etcd", [machine.address, "127.0.0.1"], days=90)
        machine.run("mkdir -p /etc/etcd-certs")
        machine.write("/etc/etcd-certs/ca.pem", authority.pem.decode())
        machine.write("/etc/etcd-certs/server.pem", pair.cert.decode())
        machine.write("/etc/etcd-certs/server-key.pem", pair.key.decode(), "600")
    cluster = PlainCluster(operator, "3.6.14")
    cluster.start(as_flags=False, more=HTTPS_FOR_CLIENTS)
    log_in_by_ssh_config(operator)
    assert len(to_tls(cluster)) == 5
    run(operator, "adopt", *cluster.addresses, "--user", "root", "--name", "prod", "--yes")
    run(operator, "plan", "--exit-code")
    run(operator, "adopt", "--take-over", "--yes")
    operator.assert_no_step()


@pytest.mark.full
def test_a_member_that_cannot_listen_runs_as_before(operator: Operator) -> None:
    """Another program has the port. The script of the member ends with an error, and its settings are the old ones."""
    cluster = PlainCluster(operator, "3.6.14")
    cluster.start(as_flags=True)
    log_in_by_ssh_config(operator)
    machine = operator.lab["infra1"]
    machine.run(f"systemd-run -q --unit=other perl -MIO::Socket::INET -e '{LISTEN}'")
    done = cluster.run_script(cluster.ask().stdout)
    assert done.returncode == 1
    machine.run("systemctl is-active other; systemctl stop other")
    assert machine.run(f"ls /etc/systemd/system/etcd.service.d/{DROP_IN}", check=False).returncode != 0
    machine.run(
        "for _ in $(seq 100); do systemctl is-active -q etcd && break; sleep 0.2; done; systemctl is-active etcd"
    )
    assert len(to_tls(cluster)) == 5


@pytest.mark.full
def test_the_way_back_of_the_guide_ends_with_http(operator: Operator) -> None:
    cluster = PlainCluster(operator, "3.5.33")
    cluster.start(as_flags=True)
    log_in_by_ssh_config(operator)
    with writers(operator):
        to_tls(cluster)
        set_peer_urls(operator, "http://{address}:2380,https://{address}:2382")
        set_peer_urls(operator, "http://{address}:2380")
        for machine in operator.lab.machines:
            wait_healthy(operator)
            machine.run(f"rm /etc/systemd/system/etcd.service.d/{DROP_IN}; systemctl daemon-reload")
            machine.run("systemctl restart etcd")
        wait_healthy(operator)
        assert "restarts with https" in cluster.ask().stdout
        assert len(to_tls(cluster)) == 5
    found = set(keys_of(operator.lab["infra1"], 2379))
    for machine in operator.lab.machines:
        assert not set(lines_of(machine, "/run/acknowledged")) - found


def set_peer_urls(operator: Operator, urls: str) -> None:
    ctl = "etcdctl --endpoints=http://127.0.0.1:2379"
    first = operator.lab["infra1"]
    for machine in operator.lab.machines:
        wait_healthy(operator)
        member_id = first.run(f"{ctl} member list | grep -w {machine.name} | cut -d, -f1").stdout.strip()
        first.run(f"{ctl} member update {member_id} --peer-urls={urls.format(address=machine.address)}")


def wait_healthy(operator: Operator) -> None:
    endpoints = ",".join(f"http://{each.address}:2379" for each in operator.lab.machines)
    health = f"etcdctl --command-timeout=5s --endpoints={endpoints} endpoint health"
    operator.lab["infra1"].run(f"sleep 2; for _ in $(seq 20); do {health} && exit; sleep 1; done; exit 1")


@pytest.mark.full
def test_scripts_that_are_cut_are_finished_by_the_next_run(operator: Operator) -> None:
    """The operator's machine ends a script at any time, and a machine restarts."""
    cluster = PlainCluster(operator, "3.6.14")
    cluster.start(as_flags=False)
    log_in_by_ssh_config(operator)
    with writers(operator):
        for number, delay in enumerate((0.1, 0.4, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)):
            asked = cluster.ask()
            while asked.returncode == 4:  # a member that restarts does not answer for a moment
                time.sleep(1)
                asked = cluster.ask()
            if asked.returncode == 0:
                break
            cluster.cut_script(asked.stdout, delay)
            if number == 4:
                operator.lab["infra2"].reboot()
        time.sleep(5)
        to_tls(cluster)
    run(operator, "adopt", *cluster.addresses, "--user", "root", "--name", "prod", "--yes")
    run(operator, "plan", "--exit-code")
    found = set(keys_of(operator.lab["infra1"], 2379))
    for name in ("infra1", "infra3"):  # the reboot empties /run of infra2
        assert not set(lines_of(operator.lab[name], "/run/acknowledged")) - found
