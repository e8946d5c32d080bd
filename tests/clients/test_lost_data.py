"""Restores, their undo, and a lost quorum: the clients lose nothing else, and observe the change by themselves."""

import time

import pytest

from tests.clients.conftest import ETCD_HOSTS, Client
from tests.clients.patroni import SCOPES, Patroni
from tests.clients.test_changes import leader_of, run
from tests.lab.operator import Operator, output_of

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

RESTORE = ("restore", "--yes-restore", "prod")


def test_a_backup_is_restored_and_undone(operator: Operator, client: Client) -> None:
    """The primary moves after the backup, so that a lease of the backup belongs to the wrong node."""
    backup = operator.run("backup", "now")
    assert backup.returncode == 0, output_of(backup)
    if isinstance(client, Patroni):
        for scope in SCOPES:
            client.switch_over(scope)
    begun = time.time()
    with client.measure("restore latest") as measured:
        run(operator, *RESTORE, "latest")
        measured.rolled_back = (begun, time.time())
    measured.assert_consistent()
    begun = time.time()
    with client.measure("restore --undo") as measured:
        run(operator, *RESTORE, "--undo")
        measured.rolled_back = (begun, time.time())
    measured.assert_consistent()


def test_a_lost_quorum_is_recovered(operator: Operator, client: Client) -> None:
    """The leader survives, because it has every acknowledged write."""
    survivor = leader_of(operator).name
    lost = [name for name in ETCD_HOSTS if name != survivor]
    with client.measure("two of three hosts lost, recover") as measured:
        for name in lost:
            operator.lab[name].kill()
        fenced = [word for name in lost for word in ("--fenced", name)]
        run(operator, "recover", *fenced, "--yes-recover", "prod")
    measured.assert_consistent()
    members = operator.status()["members"]
    assert [each["name"] for each in members if each["healthy"]] == [survivor]
