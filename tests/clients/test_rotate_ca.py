"""Rotation of the CA, also with a client that was forgotten before the last phase."""

import pytest

from tests.clients.conftest import Client
from tests.clients.patroni import Patroni
from tests.clients.test_changes import run
from tests.lab.operator import Operator, output_of

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

ROTATE = ("certs", "rotate-ca", "--yes")
TRUSTING = (*ROTATE, "--consumers-have", "ca")
RENEWED = (*ROTATE, "--consumers-have", "certs")


def test_the_ca_is_rotated(operator: Operator, client: Client) -> None:
    do_two_phases(operator, client)
    client.update_certificates()
    with client.measure("rotate-ca, phase 3") as measured:
        run(operator, *RENEWED)
    measured.assert_uninterrupted()


def test_a_forgotten_client_stops_the_rotation(operator: Operator, client: Client) -> None:
    """Its certificate of the new CA was issued, but not copied: it keeps its connections to the last member."""
    do_two_phases(operator, client)
    forget(operator, client)
    with client.measure("rotate-ca, forgotten client") as measured:
        stopped = operator.run(*RENEWED)
    print(stopped.stderr)
    measured.assert_uninterrupted()
    assert stopped.returncode == 5, output_of(stopped)
    assert forgotten_address(client) in stopped.stderr
    client.update_certificates()
    with client.measure("rotate-ca, client updated") as measured:
        run(operator, *RENEWED)
    measured.assert_uninterrupted()


def do_two_phases(operator: Operator, client: Client) -> None:
    with client.measure("rotate-ca, phase 1") as measured:
        run(operator, *ROTATE)
    measured.assert_uninterrupted()
    client.update_ca()
    with client.measure("rotate-ca, phase 2") as measured:
        run(operator, *TRUSTING)
    measured.assert_uninterrupted()


def forget(operator: Operator, client: Client) -> None:
    """Issue the certificate of the new CA, but do not copy it to the primary's machine, or to the apiserver."""
    if isinstance(client, Patroni):
        primary = client.primary()
        client.install(*(each for each in client.machines if each is not primary))
    else:
        issued = operator.run("certs", "issue", "kube-apiserver")
        assert issued.returncode == 0, output_of(issued)


def forgotten_address(client: Client) -> str:
    if isinstance(client, Patroni):
        return client.primary().address
    return client.operator.lab.operator_address
