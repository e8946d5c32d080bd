"""`etcdup adopt` on machines where another tool installed etcd: only the marker is written, and no member restarts."""

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from etcdup.core.spec.load import load
from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_certs import Authority

VERSION = "3.5.33"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

# The unit of the guide. The member list and the name are in the environment file, as on etcd 3.4 and later.
UNIT = """\
[Unit]
Description=Etcd Server
After=network.target
After=network-online.target
Wants=network-online.target
Documentation=https://github.com/coreos

[Service]
Type=notify
WorkingDirectory=/var/lib/etcd/
EnvironmentFile=-/etc/etcd/etcd.conf
ExecStart=/usr/local/bin/etcd \\
  --cert-file=/etc/kubernetes/ssl/kubernetes.pem \\
  --key-file=/etc/kubernetes/ssl/kubernetes-key.pem \\
  --peer-cert-file=/etc/kubernetes/ssl/kubernetes.pem \\
  --peer-key-file=/etc/kubernetes/ssl/kubernetes-key.pem \\
  --trusted-ca-file=/etc/kubernetes/ssl/ca.pem \\
  --peer-trusted-ca-file=/etc/kubernetes/ssl/ca.pem \\
  --initial-cluster {cluster} \\
  --initial-cluster-state=new
Restart=on-failure
RestartSec=5
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""
CONF = """\
# [member]
ETCD_NAME={name}
ETCD_DATA_DIR="/var/lib/etcd"
ETCD_LISTEN_PEER_URLS="https://{address}:2380"
ETCD_LISTEN_CLIENT_URLS="https://{address}:2379,http://127.0.0.1:2379"

#[cluster]
ETCD_INITIAL_ADVERTISE_PEER_URLS="https://{address}:2380"
ETCD_INITIAL_CLUSTER_TOKEN="etcd-cluster"
ETCD_ADVERTISE_CLIENT_URLS="https://{address}:2379"
"""
# The unit and the environment file of kubespray: roles/etcd/templates/etcd-host.service.j2, etcd.env.j2.
KUBESPRAY_UNIT = """\
[Unit]
Description=etcd
After=network.target

[Service]
Type=notify
User=root
EnvironmentFile=/etc/etcd.env
ExecStart=/usr/local/bin/etcd
NotifyAccess=all
Restart=always
RestartSec=10s
LimitNOFILE=40000

[Install]
WantedBy=multi-user.target
"""
KUBESPRAY_ENV = """\
ETCD_DATA_DIR=/var/lib/etcd
ETCD_ADVERTISE_CLIENT_URLS=https://{address}:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{address}:2380
ETCD_INITIAL_CLUSTER_STATE=new
ETCD_METRICS=basic
ETCD_LISTEN_CLIENT_URLS=https://{address}:2379,https://127.0.0.1:2379
ETCD_ELECTION_TIMEOUT=5000
ETCD_HEARTBEAT_INTERVAL=250
ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
ETCD_LISTEN_PEER_URLS=https://{address}:2380
ETCD_NAME={name}
ETCD_INITIAL_CLUSTER={cluster}
ETCD_AUTO_COMPACTION_RETENTION=8
ETCD_SNAPSHOT_COUNT=100000
ETCD_QUOTA_BACKEND_BYTES=2147483648
ETCD_MAX_REQUEST_BYTES=1572864
ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-{host}.pem
ETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-{host}-key.pem
ETCD_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
ETCD_PEER_CERT_FILE=/etc/ssl/etcd/ssl/member-{host}.pem
ETCD_PEER_KEY_FILE=/etc/ssl/etcd/ssl/member-{host}-key.pem
ETCD_PEER_CLIENT_CERT_AUTH=True
ETCDCTL_CACERT=/etc/ssl/etcd/ssl/ca.pem
"""
# All that an inspection could change: files, units, users, and the processes of etcd with their start times.
STATE = """
find /etc /usr /opt /var/lib/etcd /root -xdev -type f ! -path '*/member/*' -exec sha256sum {} + | sort
find /etc /usr /opt /var/lib/etcd /root -xdev ! -path '*/member/*' -printf '%p %m %U %C@\\n' | sort
for pid in $(pidof etcd); do awk '{ print $1, $22 }' /proc/$pid/stat; done
"""


def make_by_hand(operator: Operator) -> Authority:
    """Install and start a cluster of the guide on all machines. Return its CA."""
    machines = operator.lab.machines
    authority = Authority("kubernetes", days=3650)
    addresses = [*(each.address for each in machines), "127.0.0.1"]
    pair = authority.issue("kubernetes", addresses, days=90)
    for machine in machines:
        machine.run("mkdir -p /etc/kubernetes/ssl /etc/etcd /var/lib/etcd")
        machine.write("/etc/kubernetes/ssl/ca.pem", authority.pem.decode())
        machine.write("/etc/kubernetes/ssl/ca-key.pem", "not a key", "600")
        machine.write("/etc/kubernetes/ssl/kubernetes.pem", pair.cert.decode())
        machine.write("/etc/kubernetes/ssl/kubernetes-key.pem", pair.key.decode(), "600")
        machine.write("/usr/lib/systemd/system/etcd.service", UNIT.format(cluster=_cluster(operator)))
        machine.write("/etc/etcd/etcd.conf", CONF.format(name=machine.name, address=machine.address))
    _start(operator)
    return authority


def make_as_kubespray(operator: Operator) -> Authority:
    """Install and start a cluster in the layout of kubespray: the CA is etcd's own, and each host has its key."""
    authority = Authority("etcd-ca", days=3650)
    for number, machine in enumerate(operator.lab.machines, 1):
        pair = authority.issue(f"etcd-member-{machine.name}", [machine.address, "127.0.0.1"], days=90)
        machine.run("mkdir -p /etc/ssl/etcd/ssl /var/lib/etcd; chmod 700 /var/lib/etcd")
        machine.write("/etc/ssl/etcd/ssl/ca.pem", authority.pem.decode())
        machine.write("/etc/ssl/etcd/ssl/ca-key.pem", authority.key_pem.decode(), "600")
        machine.write(f"/etc/ssl/etcd/ssl/member-{machine.name}.pem", pair.cert.decode())
        machine.write(f"/etc/ssl/etcd/ssl/member-{machine.name}-key.pem", pair.key.decode(), "600")
        machine.write("/etc/systemd/system/etcd.service", KUBESPRAY_UNIT)
        variables = KUBESPRAY_ENV.format(
            name=f"etcd{number}",
            host=machine.name,
            address=machine.address,
            cluster=_cluster(operator, "etcd"),
        )
        machine.write("/etc/etcd.env", variables, "640")
    _start(operator)
    return authority


def _cluster(operator: Operator, name: str = "") -> str:
    machines = enumerate(operator.lab.machines, 1)
    return ",".join(
        f"{f'{name}{number}' if name else each.name}=https://{each.address}:2380" for number, each in machines
    )


def _start(operator: Operator) -> None:
    machines = operator.lab.machines
    for machine in machines:
        for tool in ("etcd", "etcdctl", "etcdutl"):
            (machine.root / "usr/local/bin" / tool).write_bytes((etcd_binaries(VERSION) / tool).read_bytes())
        machine.run("chmod 755 /usr/local/bin/etcd*; systemctl daemon-reload")
        machine.run("systemctl start --no-block etcd")
    for machine in machines:
        machine.run(
            "for _ in $(seq 100); do systemctl is-active -q etcd && break; sleep 0.2; done; systemctl is-active etcd"
        )


def log_in_by_ssh_config(operator: Operator) -> None:
    """Write the ssh_config of the operator: `adopt` has no cluster.yaml with the settings of SSH."""
    folder = operator.folder / ".ssh"
    folder.mkdir()
    text = f"Host *\n  IdentityFile {operator.lab.identity_file}\n  UserKnownHostsFile {operator.lab.known_hosts}\n"
    (folder / "config").write_text(text)


def state_of(machine: Machine) -> str:
    return machine.run(STATE).stdout


def logged_settings(machine: Machine) -> dict[str, Any]:
    """Return the settings that etcd logged at its start."""
    log = machine.run("journalctl -u etcd -o cat --no-pager | grep -F '\"starting an etcd server\"'").stdout
    found: dict[str, Any] = json.loads(log.splitlines()[-1])
    return found


def test_the_cluster_of_the_guide_is_drafted_and_nothing_changes(operator: Operator) -> None:
    make_by_hand(operator)
    log_in_by_ssh_config(operator)
    machines = operator.lab.machines
    addresses = [each.address for each in machines]
    before = [state_of(each) for each in machines]
    assert all(re.fullmatch(r"\d+ \d+", each.splitlines()[-1]) for each in before), "etcd runs"

    one = operator.run("adopt", addresses[0], "--dry-run", "--user", "root")
    assert one.returncode == 4, output_of(one)
    assert f"etcdup adopt {' '.join(addresses)} --dry-run" in " ".join(one.stdout.split()), output_of(one)

    shown = operator.run("adopt", *addresses, "--dry-run", "--user", "root", "--name", "prod")
    assert shown.returncode == 0, output_of(shown)
    assert [each.name for each in load(shown.stdout).hosts] == [each.name for each in machines]

    as_json = operator.run("adopt", *addresses, "--dry-run", "--user", "root", "--name", "prod", "--json")
    document = json.loads(as_json.stdout)
    assert document["draft"] == shown.stdout
    for machine, member in zip(machines, document["members"], strict=True):
        logged, settings = (
            logged_settings(machine),
            {each["flag"]: each["value"] for each in member["settings"]},
        )
        assert member["member"] == logged["name"] == machine.name
        assert member["version"] == VERSION
        assert member["user"] == "root"
        assert member["started_by"] == "etcd.service"
        assert settings["data-dir"] == logged["data-dir"]
        assert settings["listen-client-urls"].split(",") == sorted(logged["listen-client-urls"], reverse=True)
        assert settings["advertise-client-urls"].split(",") == logged["advertise-client-urls"]
        assert f"name: {machine.name} " in shown.stdout
    spec = {key: re.search(rf"^  {key}: (\S+)", shown.stdout, re.MULTILINE) for key in ("quota", "mode")}
    assert {key: match and match[1] for key, match in spec.items()} == {"quota": "2GiB", "mode": "provided"}
    assert any("http://127.0.0.1:2379" in each for each in document["decide"])

    assert [state_of(each) for each in machines] == before


@pytest.mark.parametrize(
    ("make", "options", "mode"),
    one_in_turn((make_by_hand, (), "provided"), (make_as_kubespray, ("--with-ca-key",), "managed")),
)
@pytest.mark.in_turn(0, 2)
def test_a_cluster_is_adopted_used_and_released(
    operator: Operator, make: Callable[[Operator], Authority], options: tuple[str, ...], mode: str
) -> None:
    make(operator)
    log_in_by_ssh_config(operator)
    machines = operator.lab.machines
    addresses = [each.address for each in machines]
    before = [state_of(each) for each in machines]

    words = ("adopt", *addresses, "--user", "root", "--name", "prod", "--yes", *options)
    done = operator.run(*words)
    print(output_of(done))
    assert done.returncode == 0, output_of(done)
    assert load(operator.file.read_text()).tls.mode == mode
    for machine, then in zip(machines, before, strict=True):
        assert without_times(state_of(machine)) == without_times(then)
    # The cache of this machine has no archive of this release, and no checksum is pinned for it.
    operator.env["PATH"] = f"{etcd_binaries(VERSION)}:{os.environ['PATH']}"
    keys = list(operator.folder.glob("pki/**/*-key.pem"))
    assert keys
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)

    marked = [state_of(each) for each in machines]
    for again in (words, ("plan", "--exit-code"), ("health",), ("status",), ("certs", "list"),
                  ("backup", "now"), ("backup", "drill"), ("ctl", "--", "put", "a", "b"), ("apply", "--yes"),
                  ("maintain", "defrag", "--yes"), ("export", "env")):  # fmt: skip
        done = operator.run(*again)
        print(output_of(done))
        assert done.returncode == 0, output_of(done)
    print(output_of(operator.run("check")))
    if mode == "managed":
        done = operator.run("certs", "issue", "app", "--out", str(operator.folder / "app"))
        assert done.returncode == 0, output_of(done)
    for waits in (("restart", "--yes"), ("certs", "renew", "--yes"), ("certs", "rotate-ca", "--yes"),
                  ("certs", "revoke", "app", "--yes"), ("recover", "--yes-recover", "prod"),
                  ("destroy", "--yes-destroy", "prod"), ("restore", "latest", "--yes-restore", "prod")):  # fmt: skip
        done = operator.run(*waits)
        print(output_of(done))
        assert done.returncode == 4, output_of(done)
    assert [state_of(each) for each in machines] == marked

    done = operator.run("adopt", "--release", "--yes")
    print(output_of(done))
    assert done.returncode == 0, output_of(done)
    for machine, then in zip(machines, before, strict=True):
        assert without_times(state_of(machine)) == without_times(then)
    assert not operator.file.exists()
    assert not (operator.folder / "pki").exists()


def without_marker(state: str) -> list[str]:
    """Return the state without the marker, and without its directory, whose time of change is later."""
    return [
        line for line in state.splitlines() if "etcdup.json" not in line and not line.startswith("/etc/etcd ")
    ]


def without_times(state: str) -> list[str]:
    """Return the state without the directory in which the marker was, and without the times of changes of /etc."""
    return [line for line in without_marker(state) if not line.startswith("/etc ")]
