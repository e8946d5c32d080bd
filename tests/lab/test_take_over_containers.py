"""`etcdup adopt --take-over` of members in containers: started by a wrapper, by a unit, and by the engine alone."""

import time
from collections.abc import Sequence

import pytest

from tests.lab.load import load_on
from tests.lab.load_records import Request
from tests.lab.load_report import TRANSFER_ERRORS, Report
from tests.lab.machine import Machine
from tests.lab.operator import Operator
from tests.lab.test_adopt import VERSION, log_in_by_ssh_config
from tests.lab.test_take_over import (
    NEW,
    OLD,
    cut_at_each_line,
    give_load_a_certificate,
    member_ids,
    processes,
    run,
)
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries
from tests.support.etcd_binaries import why_not as why_no_etcd
from tests.support.etcd_certs import Authority

pytestmark = pytest.mark.skipif(bool(why_no_etcd(VERSION)), reason=f"no etcd {VERSION}")

IMAGE = f"localhost/etcd:{VERSION}"
IMPORT = f"""
set -e
mkdir -p /root/image/usr/local/bin /root/image/tmp
cp /root/etcd /root/image/usr/local/bin/
[ "$1" = podman ] || {{ systemctl enable -q docker; systemctl start docker; }}
tar -C /root/image -cf - . | $1 import --change 'ENTRYPOINT ["/usr/local/bin/etcd"]' - {IMAGE}
rm -r /root/image
"""
FLAGS = """\
--name={name} --data-dir={data} --trusted-ca-file=/pki/ca.pem --cert-file=/pki/pair.pem --key-file=/pki/pair-key.pem \
--peer-trusted-ca-file=/pki/ca.pem --peer-cert-file=/pki/pair.pem --peer-key-file=/pki/pair-key.pem \
--client-cert-auth --peer-client-cert-auth --listen-peer-urls=https://{address}:2380 \
--listen-client-urls=https://{address}:2379,https://127.0.0.1:2379 --advertise-client-urls=https://{address}:2379 \
--initial-advertise-peer-urls=https://{address}:2380 --initial-cluster={cluster}"""
# The unit and the wrapper of kubespray: roles/etcd/templates/etcd-docker.service.j2, etcd.j2.
WRAPPER_UNIT = """\
[Unit]
Description=etcd container
[Service]
ExecStartPre=-/usr/bin/{engine} rm -f {name}
ExecStart=/usr/local/bin/etcd
ExecStop=/usr/bin/{engine} stop {name}
Restart=always
RestartSec=2s
TimeoutStartSec=30s
[Install]
WantedBy=multi-user.target
"""
UNIT = """\
[Unit]
Description=etcd container
After=docker.service
[Service]
ExecStart=/usr/bin/docker start -a etcd
ExecStop=/usr/bin/docker stop etcd
Restart=always
[Install]
WantedBy=multi-user.target
"""


def make_containers(operator: Operator, engine: str) -> None:
    """Start a cluster: infra1 by a wrapper in its unit, infra2 by another unit, infra3 by the engine alone."""
    authority = Authority("etcd-ca", days=3650)
    machines = operator.lab.machines
    cluster = ",".join(f"{each.name}=https://{each.address}:2380" for each in machines)
    for machine in machines:
        pair = authority.issue(machine.name, [machine.address, "127.0.0.1"], days=90)
        for name, content in (("ca", authority.pem), ("pair", pair.cert), ("pair-key", pair.key)):
            machine.write(f"/etc/etcd-pki/{name}.pem", content.decode(), "600")
        (machine.root / "root/etcd").write_bytes((etcd_binaries(VERSION) / "etcd").read_bytes())
        machine.run(f"chmod 755 /root/etcd; set {engine}; {IMPORT}", timeout_s=300)
    by_unit = by_unit_of_podman if engine == "podman" else by_unit_of_docker
    for machine, start, data in zip(
        machines, (by_wrapper, by_unit, by_engine), ("/srv/etcd", "/data", "/data"), strict=True
    ):
        flags = FLAGS.format(name=machine.name, data=data, address=machine.address, cluster=cluster)
        machine.run("mkdir -p -m 700 /srv/etcd")
        start(machine, engine, f"--net=host -v /srv/etcd:{data} -v /etc/etcd-pki:/pki:ro {IMAGE} {flags}")
    for machine in machines:
        machine.run("for _ in $(seq 100); do pidof etcd && exit; sleep 0.2; done; exit 1")


def by_wrapper(machine: Machine, engine: str, arguments: str) -> None:
    wrapper = f'#!/bin/bash\n{engine} run --restart=on-failure:5 --name={machine.name} {arguments} "$@"\n'
    machine.write("/usr/local/bin/etcd", wrapper, "750")
    unit = WRAPPER_UNIT.format(name=machine.name, engine=engine)
    machine.write("/etc/systemd/system/etcd.service", unit)
    machine.run("systemctl enable etcd; systemctl start --no-block etcd")


def by_unit_of_podman(machine: Machine, _: str, arguments: str) -> None:
    machine.run(
        f"podman create --name etcd {arguments}; cd /etc/systemd/system; "
        "podman generate systemd --new --files --name etcd; podman rm etcd; systemctl daemon-reload; "
        "systemctl enable container-etcd; systemctl start --no-block container-etcd"
    )


def by_unit_of_docker(machine: Machine, _: str, arguments: str) -> None:
    machine.write("/etc/systemd/system/etcd-docker.service", UNIT)
    machine.run(
        f"docker create --name etcd {arguments}; systemctl enable etcd-docker; systemctl start --no-block etcd-docker"
    )


def by_engine(machine: Machine, engine: str, arguments: str) -> None:
    machine.run(f"systemctl disable podman-restart; {engine} run -d --name etcd --restart=always {arguments}")


def adopt_containers(operator: Operator, engine: str) -> None:
    make_containers(operator, engine)
    log_in_by_ssh_config(operator)
    addresses = [each.address for each in operator.lab.machines]
    run(operator, "adopt", *addresses, "--user", "root", "--name", "prod", "--yes")


def states(machine: Machine, engine: str) -> str:
    return machine.run(f"{engine} ps --all --format '{{{{.Names}}}} {{{{.Status}}}}'").stdout


@pytest.mark.alone
@pytest.mark.parametrize("engine", one_in_turn("podman", "docker"))
@pytest.mark.in_turn(3, 4)
def test_containers_are_taken_over_under_load(container_operator: Operator, engine: str) -> None:
    operator = container_operator
    adopt_containers(operator, engine)
    machines = operator.lab.machines
    ids = member_ids(operator)
    give_load_a_certificate(operator)
    switches: list[tuple[str, int, int]] = []

    def switch(machine: Machine, option: str) -> None:
        began = time.monotonic_ns()
        run(operator, "adopt", option, machine.name, "--yes")
        switches.append((machine.name, began, time.monotonic_ns()))

    with load_on(operator.lab, operator) as clients:
        for machine in machines:
            switch(machine, "--take-over")
            assert processes(machine) == [NEW]
            run(operator, "plan", "--exit-code")
            switch(machine, "--give-back")
            assert processes(machine)[-1] == OLD
            assert "Up" in states(machine, engine)
        for machine in machines:
            switch(machine, "--take-over")
            assert "Up" not in states(machine, engine)
        report = clients.report()
    assert_explained(report, switches)
    assert [processes(each) for each in machines] == [[NEW]] * 3
    assert member_ids(operator) == ids
    operator.assert_no_step()


def assert_explained(report: Report, switches: Sequence[tuple[str, int, int]]) -> None:
    """Assert that no write was lost, and that only requests to a member that was switched then failed."""
    print(report)
    assert not report.lost
    assert not report.unexpected
    assert not report.violation
    assert report.gap.of_cluster_s < 1
    failures = set(report.failures) - set(report.during_transfer)
    assert [each for each in failures if not is_explained(each, switches)] == []


def is_explained(failure: Request, switches: Sequence[tuple[str, int, int]]) -> bool:
    """Return whether the request was for a member that was switched then, or ended by a transfer of its leadership.

    The history has only the log of etcd.service, and so no transfer from a container.
    """
    is_of_transfer = any(text in failure.error for text in TRANSFER_ERRORS)
    return any(
        (is_of_transfer or failure.member == name)
        and failure.returned_ns >= began
        and failure.invoked_ns <= ended
        for name, began, ended in switches
    )


@pytest.mark.full
@pytest.mark.parametrize(("engine", "how"), [("docker", "reboot"), ("docker", "kill"), ("podman", "kill")])
@pytest.mark.parametrize("name", ["infra1", "infra3"])
def test_a_cut_at_each_line_ends_with_one_member(
    container_operator: Operator, engine: str, how: str, name: str
) -> None:
    adopt_containers(container_operator, engine)
    cut_at_each_line(container_operator, container_operator.lab[name], how, "pidof etcd")
