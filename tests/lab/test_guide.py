"""The administrator's guide that etcdup started from: three masters, one certificate, systemd."""

import re

import pytest

from tests.lab.operator import HEALTHY, Operator
from tests.lab.test_bootstrap import PROVIDED, issue_provided, path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"

# The guide's lines. If etcdup differs, the operating rules require it.
UNIT = """\
[Service]
Type=notify
WorkingDirectory=/var/lib/etcd
Restart=on-failure
LimitNOFILE=65536
[Install]
WantedBy=multi-user.target
""".splitlines()

VARIABLES = {
    "ETCD_NAME": "infra1",
    "ETCD_DATA_DIR": "/var/lib/etcd",
    "ETCD_LISTEN_PEER_URLS": "https://192.168.8.66:2380",
    "ETCD_LISTEN_CLIENT_URLS": "https://192.168.8.66:2379,https://127.0.0.1:2379",
    "ETCD_INITIAL_ADVERTISE_PEER_URLS": "https://192.168.8.66:2380",
    "ETCD_INITIAL_CLUSTER": "infra1=https://192.168.8.66:2380,infra2=https://192.168.8.67:2380,"
    "infra3=https://192.168.8.68:2380",
    "ETCD_ADVERTISE_CLIENT_URLS": "https://192.168.8.66:2379",
}


@pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
def test_the_hosts_have_the_units_and_settings_of_the_guide(operator: Operator) -> None:
    issue_provided(operator.lab, operator.folder)
    operator.write(version=VERSION, install=path_install(VERSION), more=PROVIDED)
    operator.apply()
    first = operator.lab["infra1"]
    assert [machine.address for machine in operator.lab] == ["192.168.8.66", "192.168.8.67", "192.168.8.68"]

    unit = first.read("/etc/systemd/system/etcd.service").splitlines()
    assert [line for line in UNIT if line not in unit] == []
    assert "EnvironmentFile=/etc/etcd/etcd.conf" in unit

    conf = dict(re.findall(r'^(ETCD_\w+)="(.*)"$', first.read("/etc/etcd/etcd.conf"), re.MULTILINE))
    assert {name: conf[name] for name in VARIABLES} == VARIABLES
    assert conf["ETCD_INITIAL_CLUSTER_TOKEN"]
    assert conf["ETCD_INITIAL_CLUSTER_STATE"] == "existing", "the state after the cluster is formed (rule 7)"

    assert first.read("/etc/etcd/pki/server.pem") == (operator.folder / "kubernetes.pem").read_text()
    assert first.run("systemctl is-enabled etcd; systemctl is-active etcd").stdout.split() == [
        "enabled",
        "active",
    ]

    *members, last = operator.health().splitlines()
    assert last == HEALTHY
    for machine, line in zip(operator.lab, members, strict=True):
        expected = rf"member [0-9a-f]+ is healthy: got healthy result from https://{machine.address}:2379"
        assert re.fullmatch(expected, line), line
