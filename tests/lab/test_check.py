"""`etcdup check` on real machines: before a bootstrap, on a cluster with faults, and on a cluster made by hand."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cis_controls import failed_controls
from tests.lab.machine import Machine
from tests.lab.operator import Operator, move_leadership, output_of
from tests.lab.test_bootstrap import PROVIDED, issue_provided, path_install
from tests.support.etcd_binaries import etcd_binaries, why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

Findings = list[dict[str, Any]]


def run_check(operator: Operator, code: int, *options: str) -> Findings:
    done = operator.run("check", "--json", *options)
    assert done.returncode == code, output_of(done)
    findings: Findings = json.loads(done.stdout)["findings"]
    assert any(each["level"] == "wrong" for each in findings) == (code == 1)
    return findings


def codes(findings: Findings, level: str, *hosts: str | None) -> set[str]:
    """Return the codes of the findings of this level, of these hosts only if any are given."""
    return {
        each["code"] for each in findings if each["level"] == level and (not hosts or each["host"] in hosts)
    }


def failed_cis_controls(findings: Findings, host: str) -> set[str]:
    """Return the CIS controls that `check` reports as failed on a host."""
    return {each["cis"] for each in findings if each["cis"] and each["host"] == host}


def wait_until_fixed(operator: Operator, timeout_s: float = 60) -> None:
    """Wait until `check` ends with 0, because broken links reconnect by themselves."""
    deadline = time.monotonic() + timeout_s
    while (done := operator.run("check")).returncode != 0:
        assert time.monotonic() < deadline, output_of(done)
        time.sleep(0.5)


def install_server_only_pair(operator: Operator, machine: Machine) -> None:
    """Install a peer certificate of the cluster's CA that has no clientAuth."""
    pki, folder = operator.folder / "pki", operator.folder
    (folder / "ext").write_text(
        f"subjectAltName=IP:{machine.address},IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
    )
    for argv in (
        f"req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=etcdup:prod:peer "
        f"-keyout {folder}/half-key.pem -out {folder}/half.csr",
        f"x509 -req -in {folder}/half.csr -CA {pki}/ca.pem -CAkey {pki}/ca-key.pem -days 90 "
        f"-set_serial 7 -extfile {folder}/ext -out {folder}/half.pem",
    ):
        subprocess.run(["openssl", *argv.split()], check=True, capture_output=True, timeout=30)
    machine.write("/etc/etcd/pki/peer-key.pem", (folder / "half-key.pem").read_text(), "600")
    machine.write("/etc/etcd/pki/peer.pem", (folder / "half.pem").read_text(), "640")


@pytest.mark.full
def test_check_finds_each_fault_and_its_hint_fixes_it(operator: Operator) -> None:
    first, second, third = operator.lab.machines
    # The quota is the smallest that is allowed, because one of the faults is a full database.
    operator.write(
        version=VERSION,
        install=path_install(VERSION),
        ssh="connect_timeout: 3s",
        more="etcd: {quota: 16MiB}\n",
    )
    check_bare_machines(operator)
    operator.apply()
    ours = run_check(operator, 0)
    assert codes(ours, "untried") == set()
    for machine in operator.lab:
        assert failed_cis_controls(ours, machine.name) == failed_controls(machine) == set()
    for machine in (second, third, first, second, third, first):
        move_leadership(operator, machine.name)
    assert "leader-changes-often" in codes(run_check(operator, 0), "advice")

    second.shift_clock(3600)
    third.run(
        "ip address add 192.168.8.99/24 dev host0; ip route add 192.168.8.66 dev host0 src 192.168.8.99"
    )
    third.run("systemd-run --unit=etcd-events sleep infinity")
    found = run_check(operator, 1)
    assert codes(found, "wrong", "infra2") == {"clock-differs"}
    assert codes(found, "wrong", "infra3") >= {"source-address-missing", "second-etcd"}
    assert any("192.168.8.99" in each["what"] for each in found if each["code"] == "source-address-missing")
    assert any("etcd-events.service" in each["what"] for each in found if each["code"] == "second-etcd")
    second.shift_clock(0)
    third.run(
        "systemctl stop etcd-events; ip route del 192.168.8.66; ip address del 192.168.8.99/24 dev host0"
    )

    check_one_way_link(operator, second, third)
    check_full_database(operator)

    install_server_only_pair(operator, second)
    assert "key-usage-missing" in codes(run_check(operator, 1), "wrong", "infra2")
    third.run(
        "cat /etc/etcd/pki/health-key.pem >/etc/etcd/pki/server-key.pem; chmod 644 /etc/etcd/pki/peer-key.pem"
    )
    mixed = run_check(operator, 1)
    assert codes(mixed, "wrong", "infra3") == {
        "member-silent", "key-wrong", "certificate-file-mode", "key-readable",
    }  # fmt: skip
    assert any("/etc/etcd/pki/peer-key.pem" in each["what"] for each in mixed)
    operator.apply()
    wait_until_fixed(operator)
    operator.assert_nothing_to_do()
    assert third.run("stat -c '%a %U' /etc/etcd/pki/peer-key.pem").stdout == "600 etcd\n"

    first.run("systemctl stop etcd")
    occupy_port(first, 2379)
    third.kill()
    dead = run_check(operator, 1)
    assert "port-taken" in codes(dead, "wrong", "infra1")
    assert codes(dead, "wrong", "infra3") == {"host-unreachable"}
    assert "Traceback" not in operator.run("check").stderr


def occupy_port(machine: Machine, port: int) -> None:
    """Start another program that listens on a port."""
    command = f"systemd-socket-activate --accept --listen=0.0.0.0:{port} /bin/cat"
    machine.run(f"{command} >/dev/null 2>&1 & until ss -Hltn | grep -q ':{port} '; do sleep 0.1; done")


def check_bare_machines(operator: Operator) -> None:
    """Check bare machines: a port in use, cloned hosts, a data directory on tmpfs, a slow link."""
    first, second, third = operator.lab.machines
    occupy_port(first, 2380)
    own = second.read("/etc/machine-id")
    second.write("/etc/machine-id", third.read("/etc/machine-id"), "444")
    second.run("hostname infra3")
    first.run("mkdir -p /var/lib/etcd; mount -t tmpfs tmpfs /var/lib/etcd")
    third.slow(60)
    done = operator.run("check", "--json", "--disk")
    assert done.returncode == 1, output_of(done)
    report = json.loads(done.stdout)
    found: Findings = report["findings"]
    assert codes(found, "wrong", "infra1") == {"setup-refused", "data-lost-at-reboot"}
    assert any("systemd-socket-" in each["what"] for each in found if each["code"] == "setup-refused")
    assert codes(found, "wrong", None) == {"same-machine-id", "same-hostname"}
    assert codes(found, "untried") == {"links-not-tried"}
    slow = next(each for each in found if each["code"] == "timeouts-too-short")
    heartbeat, election = map(int, re.findall(r"_ms: (\d+)", slow["fix"]))
    assert heartbeat >= 120
    assert election == 10 * heartbeat
    for machine in operator.lab:
        assert len(report["hosts"][machine.name]["writes_ms"]) == 100
        follows = machine.run("timedatectl show --property=NTPSynchronized --value").stdout.strip()
        assert report["hosts"][machine.name]["synchronised"] is (follows == "yes")
        assert "etcdup-check" not in machine.run("ls -A /var/lib /var/lib/etcd", check=False).stdout
    third.reconnect()
    first.run("kill $(pidof systemd-socket-activate); umount /var/lib/etcd; rmdir /var/lib/etcd")
    second.run("hostname infra2")
    second.write("/etc/machine-id", own, "444")
    run_check(operator, 0)


def check_one_way_link(operator: Operator, source: Machine, target: Machine) -> None:
    """Block new connections in one direction. Open connections work, so only `check` reports it."""
    target.deny(source)
    operator.health()
    findings = run_check(operator, 1)
    closed = [each for each in findings if each["code"] == "port-unreachable"]
    for port in (2379, 2380):
        assert any(f"{target.address}:{port}" in each["what"] for each in closed)
    assert all(target.address in each["fix"] for each in closed)
    assert {each["host"] for each in findings if each["level"] == "wrong"} == {source.name}
    target.reconnect()
    wait_until_fixed(operator)


def check_full_database(operator: Operator) -> None:
    """Fill the database with many versions of one key, and follow the hint of `check`."""
    machine = operator.lab.machines[0]
    machine.run(
        f"export ETCDCTL_ENDPOINTS=https://{machine.address}:2379 ETCDCTL_CACERT=/etc/etcd/pki/ca.pem "
        "ETCDCTL_CERT=/etc/etcd/pki/health.pem ETCDCTL_KEY=/etc/etcd/pki/health-key.pem;"
        "head -c 1000000 /dev/zero | tr '\\0' x >/tmp/big;"
        "for n in $(seq 30); do /opt/etcd/current/etcdctl put big </tmp/big || exit 0; done; exit 1"
    )
    full = run_check(operator, 1)
    assert codes(full, "wrong") == {"alarm-raised"}
    assert "database-nearly-full" in codes(full, "advice")
    assert any("fix-space`" in each["fix"] for each in full if each["code"] == "alarm-raised")
    done = operator.run("maintain", "fix-space", "--yes")
    assert done.returncode == 0, output_of(done)
    wait_until_fixed(operator)


GUIDE_VERSION = "3.5.16"  # Debian 13's
WEAKNESSES = {"client-certificates-optional", "client-port-without-tls", "key-readable", "data-owned-by-root"}
GUIDE = {
    "unit": """\
[Unit]
Description=Etcd Server
[Service]
Type=notify
WorkingDirectory=/var/lib/etcd
EnvironmentFile=-/etc/etcd/etcd.conf
ExecStart=/usr/local/bin/etcd
Restart=on-failure
LimitNOFILE=65536
[Install]
WantedBy=multi-user.target
""",
    "conf": """\
ETCD_NAME={name}
ETCD_DATA_DIR="/var/lib/etcd"
ETCD_LISTEN_PEER_URLS="https://{address}:2380"
ETCD_LISTEN_CLIENT_URLS="https://{address}:2379,http://127.0.0.1:2379"
ETCD_INITIAL_ADVERTISE_PEER_URLS="https://{address}:2380"
ETCD_INITIAL_CLUSTER="{initial_cluster}"
ETCD_INITIAL_CLUSTER_TOKEN="etcd-cluster"
ETCD_INITIAL_CLUSTER_STATE="new"
ETCD_ADVERTISE_CLIENT_URLS="https://{address}:2379"
ETCD_CERT_FILE="/etc/kubernetes/ssl/kubernetes.pem"
ETCD_KEY_FILE="/etc/kubernetes/ssl/kubernetes-key.pem"
ETCD_TRUSTED_CA_FILE="/etc/kubernetes/ssl/ca.pem"
ETCD_PEER_CERT_FILE="/etc/kubernetes/ssl/kubernetes.pem"
ETCD_PEER_KEY_FILE="/etc/kubernetes/ssl/kubernetes-key.pem"
ETCD_PEER_TRUSTED_CA_FILE="/etc/kubernetes/ssl/ca.pem"
""",
}


def set_up_by_hand(operator: Operator, machine: Machine) -> None:
    """Set up one host as the guide does. The members wait for each other."""
    initial_cluster = ",".join(f"{each.name}=https://{each.address}:2380" for each in operator.lab)
    shutil.copy(Path(etcd_binaries(GUIDE_VERSION)) / "etcd", machine.root / "usr/local/bin/etcd")
    for name in ("ca.pem", "kubernetes.pem", "kubernetes-key.pem"):
        machine.write(f"/etc/kubernetes/ssl/{name}", (operator.folder / name).read_text())
    conf = GUIDE["conf"].format(name=machine.name, address=machine.address, initial_cluster=initial_cluster)
    machine.write("/etc/etcd/etcd.conf", conf)
    machine.write("/etc/systemd/system/etcd.service", GUIDE["unit"])
    machine.run("mkdir -p /var/lib/etcd; systemctl daemon-reload; systemctl start --no-block etcd")


@pytest.mark.skipif(bool(why_not(GUIDE_VERSION)), reason=f"no etcd {GUIDE_VERSION}: {why_not(GUIDE_VERSION)}")
@pytest.mark.in_turn(0, 2)
def test_check_finds_each_weakness_of_a_cluster_built_by_the_guide(operator: Operator) -> None:
    """The weaknesses of the guide's setup and of its version are findings, and kube-bench has the same results."""
    issue_provided(operator.lab, operator.folder)
    operator.write(version=VERSION, install=path_install(VERSION), more=PROVIDED)
    operator.lab.each(lambda machine: set_up_by_hand(operator, machine))
    for machine in operator.lab:
        machine.run("timeout 60 sh -c 'until systemctl is-active --quiet etcd; do sleep 0.2; done'")
    findings = run_check(operator, 1)
    built = {"1.1.11", "1.1.12", "2.2", "2.5"}
    for machine in operator.lab:
        assert codes(findings, "wrong", machine.name) >= WEAKNESSES
        assert failed_cis_controls(findings, machine.name) == failed_controls(machine) == built
    assert codes(findings, "advice") >= {
        "key-shared-by-members", "key-shared-by-roles", "etcd-not-by-etcdup", "unit-not-hardened",
        "version-known-fault",
    }  # fmt: skip
    assert codes(findings, "untried") == {"links-not-tried"}, (
        "leader changes are read from the plain http port"
    )
    assert codes(findings, "wrong", None) == {"version-loses-data"}
    known = [each for each in findings if each["code"] in ("version-known-fault", "version-loses-data")]
    assert all("`version: 3.5." in each["fix"] for each in known), known
    assert "fix: " in operator.run("check").stdout
    switch_to_auto_tls(operator.lab.machines[2])
    every = {"1.1.11", "1.1.12", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7"}
    assert (
        failed_cis_controls(run_check(operator, 1), "infra3")
        == failed_controls(operator.lab.machines[2])
        == every
    )


def switch_to_auto_tls(machine: Machine) -> None:
    """Let etcd make its own certificates. The other members reject them, but etcd runs, and `check` evaluates it."""
    machine.run(
        "sed -i /_FILE=/d /etc/etcd/etcd.conf;"
        "printf 'ETCD_AUTO_TLS=true\\nETCD_PEER_AUTO_TLS=true\\n' >>/etc/etcd/etcd.conf;"
        "systemctl restart --no-block etcd;"
        "timeout 60 sh -c 'until grep -qs ETCD_PEER_AUTO_TLS /proc/$(pidof etcd)/environ; do sleep 0.1; done'"
    )
