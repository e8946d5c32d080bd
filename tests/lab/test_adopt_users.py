"""`etcdup adopt` of clusters with users of etcd: by password, by a certificate, and with gateway clients."""

import sys
from pathlib import Path

import pytest

from tests.lab.machine import Machine
from tests.lab.operator import Operator
from tests.lab.test_adopt import (
    VERSION,
    log_in_by_ssh_config,
    make_as_kubespray,
    make_by_hand,
    state_of,
    without_marker,
)
from tests.lab.test_take_over import processes, run
from tests.support.etcd_binaries import why_not
from tests.support.etcd_certs import Authority

pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

BY_PASSWORD = "etcd:\n  access: {user: root, password_command: echo secret}\n"
# A client of the JSON gateway, as Patroni: a login, then a read with the token. It prints the status of the read.
GATEWAY = """
import http.client, json, ssl, sys
folder, address, name = sys.argv[1:]
context = ssl.create_default_context(cafile=folder + "/ca.pem")
context.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}-key.pem")
def post(path, body, headers={}):
    connection = http.client.HTTPSConnection(address, 2379, timeout=10, context=context)
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
status, text = post("/v3/auth/authenticate", {"name": "root", "password": "secret"})
if status == 200:
    status, text = post("/v3/kv/range", {"key": "YQ=="}, {"Authorization": json.loads(text)["token"]})
print(status)
"""


def add_users(machine: Machine, options: str, *more: str) -> None:
    """Add root, and more users with the role root and without a password. Then enable authentication."""
    commands = ["user add root:secret", "user grant-role root root"]
    for name in more:
        commands += [f"user add {name} --no-password", f"user grant-role {name} root"]
    for command in (*commands, "auth enable"):
        machine.run(f"ETCDCTL_API=3 etcdctl {options} {command}")


def gateway_clients(operator: Operator, authority: Authority) -> Path:
    """Write the certificate of a client with a common name, and one of a client without."""
    folder = operator.folder / "gateway"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.pem)
    for file, common_name in (("named", "app"), ("nameless", "")):
        authority.issue(common_name).write(folder, file)
    return folder


def gateway_status(operator: Operator, folder: Path, name: str) -> str:
    address = operator.lab.machines[0].address
    done = operator.lab.run([sys.executable, "-c", GATEWAY, str(folder), address, name])
    return done.stdout.strip()


@pytest.mark.in_turn(0, 2)
def test_a_cluster_with_users_is_adopted_by_password_and_its_gateway_clients_stay(operator: Operator) -> None:
    """etcd requires no certificate, so a user is known by the password only. The take-over does not change that."""
    authority = make_by_hand(operator)
    log_in_by_ssh_config(operator)
    machines = operator.lab.machines
    words = ("adopt", *(each.address for each in machines), "--user", "root", "--name", "prod")
    add_users(machines[0], "--endpoints=http://127.0.0.1:2379")
    clients = gateway_clients(operator, authority)
    before = [state_of(each) for each in machines]

    refused = run(operator, *words, "--yes", code=4)
    assert "access: {user: USER" in " ".join(refused.split()), refused
    assert not operator.file.exists()
    assert not (operator.folder / "pki").exists()
    assert [state_of(each) for each in machines] == before

    draft = operator.run(*words, "--dry-run").stdout
    operator.file.write_text(draft.replace("etcd:\n", BY_PASSWORD, 1))
    run(operator, *words, "--yes")
    for machine, then in zip(machines, before, strict=True):
        assert without_marker(state_of(machine)) == without_marker(then)
    for verb in (("plan", "--exit-code"), ("health",), ("backup", "now"), ("ctl", "--", "put", "a", "b")):
        run(operator, *verb)
    assert {name: gateway_status(operator, clients, name) for name in ("named", "nameless")} == {
        "named": "200",
        "nameless": "200",
    }
    run(operator, "adopt", "--take-over", "--yes")
    for verb in (("plan", "--exit-code"), ("health",)):
        run(operator, *verb)
    assert [processes(each) for each in machines] == [[f"etcd /opt/etcd/{VERSION}/etcd"]] * 3
    assert {name: gateway_status(operator, clients, name) for name in ("named", "nameless")} == {
        "named": "200",
        "nameless": "200",
    }


@pytest.mark.in_turn(1, 2)
def test_a_certificate_whose_name_is_a_user_needs_no_password(operator: Operator) -> None:
    """etcd requires certificates. etcdup has the certificate of the first member, whose name is the user."""
    authority = make_as_kubespray(operator)
    log_in_by_ssh_config(operator)
    machines = operator.lab.machines
    words = ("adopt", *(each.address for each in machines), "--user", "root", "--name", "prod", "--yes")
    own = "/etc/ssl/etcd/ssl/member-infra1"
    options = f"--cacert=/etc/ssl/etcd/ssl/ca.pem --cert={own}.pem --key={own}-key.pem"
    options = f"--endpoints=https://127.0.0.1:2379 {options}"
    add_users(machines[0], options)
    clients = gateway_clients(operator, authority)
    refused = run(operator, *words, code=4)
    assert "etcd-member-infra1" in refused or "user name not found" in refused, refused
    assert not operator.file.exists()

    for command in ("user add etcd-member-infra1 --no-password", "user grant-role etcd-member-infra1 root"):
        machines[0].run(f"ETCDCTL_API=3 etcdctl {options} --user root:secret {command}")
    run(operator, *words)
    for verb in (("plan", "--exit-code"), ("health",), ("backup", "now")):
        run(operator, *verb)
    # etcd rejects a certificate with a common name at its gateway, and accepts one without (docs/guides/patroni.md).
    expected = {"named": "400", "nameless": "200"}
    assert {name: gateway_status(operator, clients, name) for name in expected} == expected
    run(operator, "adopt", "--take-over", "--yes")
    run(operator, "health")
    assert {name: gateway_status(operator, clients, name) for name in expected} == expected
