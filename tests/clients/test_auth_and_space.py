"""etcd's users are enabled under clients; the quota is used up and raised."""

import pytest

from tests.clients.conftest import ETCD_HOSTS, VERSIONS, Client
from tests.clients.patroni import SCOPES, Patroni
from tests.clients.test_changes import write
from tests.lab.operator import Operator, output_of

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

PASSWORD = "lab-password"
# Patroni 3.0.2 does not log in again for its lease, which needs a login from etcd 3.5.28 and 3.6.9 on. So it can demote
# its primary at each restart of a member, which forgets all logins. It does not recognise the errors of the gateway of
# etcd 3.6 either, so it must not log in before users are enabled. docs/guides/patroni.md says all of this.
OLD, NEW = SCOPES
SMALL, LARGE = "etcd: {quota: 16MiB}\n", "etcd: {quota: 64MiB}\n"
VALUE = "x" * 1_000_000


@pytest.mark.parametrize("version", VERSIONS[:2])
def test_users_are_enabled(operator: Operator, client: Client, version: str) -> None:
    add_user(operator, "root", "root")
    if isinstance(client, Patroni):
        operator.ctl("role", "add", "patroni")
        operator.ctl("role", "grant-permission", "patroni", "--prefix", "readwrite", "/service/")
        add_user(operator, "patroni", "patroni")
        client.log_in("patroni", PASSWORD, NEW)
    else:
        # Only root can compact, and kube-apiserver compacts every five minutes.
        add_user(operator, "kube-apiserver", "root")
    with client.measure("auth enable") as measured:
        operator.ctl("auth", "enable")
        if isinstance(client, Patroni):
            client.log_in("patroni", PASSWORD, OLD)
        operator.health()
    measured.assert_uninterrupted(too_old=OLD.label, demotions=1)
    write(operator, version, "etcd: {quota: 3GiB}\n")
    with client.measure("settings change with auth") as measured:
        operator.apply()
    measured.assert_uninterrupted(too_old=OLD.label, demotions=len(ETCD_HOSTS))


def add_user(operator: Operator, name: str, role: str) -> None:
    operator.ctl("user", "add", name, f"--new-user-password={PASSWORD}")
    operator.ctl("user", "grant-role", name, role)


def test_a_quota_that_is_used_up_is_raised(operator: Operator, client: Client, version: str) -> None:
    write(operator, version, SMALL)
    operator.apply()
    with client.measure("NOSPACE, quota raised") as measured:
        use_up(operator)
        print(operator.run("status").stdout)
        assert operator.status()["has_quorum"]
        write(operator, version, LARGE)
        operator.apply()
    measured.assert_consistent()


def use_up(operator: Operator) -> None:
    for number in range(32):
        put = operator.run("ctl", "--", "put", f"fill/{number}", stdin=VALUE)
        if "database space exceeded" in put.stderr:
            return
        assert put.returncode == 0, output_of(put)
    raise AssertionError("the quota is not used up")
