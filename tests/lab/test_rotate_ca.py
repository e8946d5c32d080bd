"""Rotation of the CA on three real machines under load: each phase is killed and resumed, and no write is lost."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.apply_with_faults import apply_and_kill
from tests.lab.gateway_client import longest_gap, read_requests
from tests.lab.load import load_on
from tests.lab.machine import Machine
from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.expired_certs import issue_expired_leaves
from tests.support.texts import Texts

ROOT = Path(__file__).parents[2]
VERSION = "3.6.14"
ROTATE = ("certs", "rotate-ca")
TRUSTING = (*ROTATE, "--consumers-have", "ca")
RENEWED = (*ROTATE, "--consumers-have", "certs")


@pytest.mark.parametrize("version", one_in_turn("3.5.33", "3.4.23", "3.6.14", "3.7.1"))
@pytest.mark.in_turn(1, 3)
def test_renewal_and_rotation_lose_no_write_and_reject_no_client(
    operator: Operator, version: str, texts: Texts
) -> None:
    bring_up(operator, version)
    assert operator.run("certs", "issue", "app", "--out", "old").returncode == 0
    first = read_served_fingerprints(operator)
    with clients(operator):
        renewed = operator.run("certs", "renew", "--days", "4000", "--yes")
    assert renewed.returncode == 0, output_of(renewed)
    old = read_served_fingerprints(operator)
    assert not first & old
    with clients(operator):  # the clients trust the old CA
        apply_and_kill(operator, "RotateAuthority", command=ROTATE)
        apply_and_kill(operator, "RestartMember", command=ROTATE)
        said_next = run_phase(operator, *ROTATE)
    assert "give ./pki/ca.pem to each consumer as its CA file" in said_next
    assert read_served_fingerprints(operator) == old, "the served certificates must not change in this phase"
    refused = operator.run(*ROTATE, "--yes")
    texts(refused)

    with clients(operator):  # the clients trust both CAs and have certificates of the old one
        apply_and_kill(operator, "RotateAuthority", command=TRUSTING)
        apply_and_kill(operator, "InstallFiles", command=TRUSTING)
        said_next = run_phase(operator, *TRUSTING)
    assert "etcdup certs issue app" in said_next
    assert_complete(operator, *TRUSTING)
    assert not old & read_served_fingerprints(operator)
    locked_out = operator.run(*RENEWED, "--yes")
    texts(locked_out)
    assert operator.run("certs", "issue", "app").returncode == 0

    if version == VERSION:
        check_old_client_stops_drop(operator)
    with clients(operator):  # the clients have certificates of the new CA
        apply_and_kill(operator, "RotateAuthority", command=RENEWED)
        apply_and_kill(operator, "RestartMember", command=RENEWED)
        assert "no member trusts the old CA any more" in run_phase(operator, *RENEWED)
    assert_complete(operator, *RENEWED)
    operator.assert_nothing_to_do()
    assert operator.run("certs", "list").returncode == 0


def check_old_client_stops_drop(operator: Operator) -> None:
    """A client with an old certificate stops the rotation at the first member, and `--keep-old` goes back."""
    etcdctl = old_client_command(operator)
    with operator.lab.popen(["sh", "-c", f"while :; do {etcdctl} get a; sleep 0.2; done"]) as client:
        stopped = operator.run(*RENEWED, "--yes")
        assert stopped.returncode == 5, output_of(stopped)
        print(stopped.stderr)
        assert "a client still uses a certificate of the old CA" in stopped.stderr
        assert f"rejected {operator.lab.operator_address}" in stopped.stderr
        again = operator.run("apply", "--yes")
        # Rejected before this run, the client gets another chance while it is connected to a member with both CAs.
        assert again.returncode in (4, 5), output_of(again)
        assert operator.lab.run(["sh", "-c", f"{etcdctl} put a b"]).stdout == "OK\n", "two members accept it"
        assert "etcdup certs rotate-ca --consumers-have certs" in run_phase(operator, *ROTATE, "--keep-old")
        for machine in operator.lab:
            assert (
                operator.lab.run(["sh", "-c", f"{old_client_command(operator, machine)} put a b"]).stdout
                == "OK\n"
            )
        client.kill()


def old_client_command(operator: Operator, *machines: Machine) -> str:
    """Return the command of etcdctl with the old certificate of `app`, for these members (default: all)."""
    endpoints = ",".join(f"https://{each.address}:2379" for each in machines or operator.lab)
    old, ca = operator.folder / "old", operator.folder / "pki/ca.pem"
    files = f"--cacert={ca} --cert={old}/app.pem --key={old}/app-key.pem"
    return f"{etcd_binaries(VERSION)}/etcdctl --endpoints={endpoints} {files}"


def bring_up(operator: Operator, version: str) -> None:
    if reason := why_not(version):
        pytest.skip(f"no etcd {version}: {reason}")
    operator.write(version=version, install=path_install(version))
    operator.apply()


def assert_complete(operator: Operator, *words: str) -> None:
    """Run the command of a phase that is complete. It must not start the next phase."""
    done = operator.run(*words, "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["steps_done"]) == (0, 0), output_of(done)


def run_phase(operator: Operator, *words: str) -> str:
    """Run a phase that must succeed, and return its stderr."""
    done = operator.run(*words, "--yes")
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    print(done.stderr)
    return done.stderr


@pytest.mark.in_turn(0, 2)
def test_a_client_that_keeps_its_connection_is_moved_before_the_old_ca_is_dropped(operator: Operator) -> None:
    """With an old certificate it stops the phase and is still served. With a new one, the phase moves it and ends."""
    bring_up(operator, VERSION)
    assert operator.run("certs", "issue", "app", "--out", "used").returncode == 0
    run_phase(operator, *ROTATE)
    assert operator.run("certs", "issue", "app", "--out", "used").returncode == 0
    run_phase(operator, *TRUSTING)
    assert operator.run("certs", "issue", "app", "--out", "new").returncode == 0
    used, log = operator.folder / "used", operator.folder / "client.log"
    shutil.copy(operator.folder / "new/ca.pem", used / "ca.pem")
    # The last member in the list is the first one of the client.
    urls = [f"https://{machine.address}:2379" for machine in reversed(list(operator.lab))]
    argv: list[str | Path] = [sys.executable, "-m", "tests.lab.gateway_client", used, *urls]
    with log.open("w") as lines, operator.lab.popen(argv, cwd=ROOT, stdout=lines) as client:
        stopped = operator.run(*RENEWED, "--yes")
        print(stopped.stderr)
        assert stopped.returncode == 5, output_of(stopped)
        assert operator.lab.operator_address in stopped.stderr
        run_phase(operator, *ROTATE, "--keep-old")
        for name in ("app.pem", "app-key.pem"):
            shutil.copy(operator.folder / "new" / name, used / name)
        said = run_phase(operator, *RENEWED)
        assert "no member trusts the old CA any more" in said
        time.sleep(3)
        client.kill()
    requests = read_requests(log.read_text())
    print(f"longest gap of the client: {longest_gap(requests):.2f} s")
    assert requests[-1].ok
    assert longest_gap(requests) < 15
    operator.assert_nothing_to_do()


def read_served_fingerprints(operator: Operator) -> set[str]:
    """Return the fingerprints of the certificates that all ports serve, as openssl reports them."""
    script = "openssl s_client -connect {}:{} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint"
    return {
        operator.lab.run(["sh", "-c", script.format(machine.address, port)], cwd=operator.folder).stdout
        for machine in operator.lab.machines
        for port in (2379, 2380)
    }


@contextmanager
def clients(operator: Operator) -> Iterator[None]:
    with load_on(operator.lab, operator) as load:
        yield
        report = load.report()
    assert report.lost == report.unexpected == ()
    assert report.violation is None


@pytest.mark.parametrize("version", one_in_turn("3.4.23", "3.5.33", "3.6.14", "3.7.1"))
@pytest.mark.in_turn(1, 2)
def test_a_rebooted_cluster_with_expired_certificates_is_repaired(operator: Operator, version: str) -> None:
    """Open connections hide an expired certificate until the next start (rule 17). Then no member connects."""
    bring_up(operator, version)
    expire_all(operator)
    operator.lab.each(lambda machine: machine.reboot())
    assert operator.run("health").returncode == 1
    done = operator.run("certs", "list")
    assert done.returncode == 1, output_of(done)
    assert "expired" in done.stdout
    renewed = operator.run("certs", "renew", "--yes")
    assert renewed.returncode == 0, output_of(renewed)
    assert renewed.stdout.rstrip().endswith(HEALTHY)
    operator.assert_nothing_to_do()
    assert run_phase(operator, *ROTATE), "a cluster that had expired certificates can rotate its CA"


def expire_all(operator: Operator) -> None:
    for name, path, content in issue_expired_leaves(operator.file):
        operator.lab[name].run(f"cat > {path}", stdin=content.decode())  # owner and mode stay
