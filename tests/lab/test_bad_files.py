"""Bad files on hosts with systemd: the previous files are put back, and a binary that cannot run stops no member."""

import pytest

from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.lab.test_manual_changes import infra_names, write_members
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
STATE = "systemctl show etcd.service --property=MainPID,NRestarts,ActiveState; cat /etc/etcd/etcd.conf; ls -A /etc/etcd"


@pytest.mark.in_turn(1, 2)
def test_a_rejected_setting_and_a_binary_that_user_etcd_cannot_run(operator: Operator, texts: Texts) -> None:
    members = infra_names(1, 2, 3)
    write_members(operator, members)
    operator.apply()
    before = {name: operator.lab[name].run(STATE).stdout for name in members}

    operator.write(
        version=VERSION, install=path_install(VERSION), more="etcd: {extra: {max-txn-ops: many}}\n"
    )
    done = operator.run("apply", "--yes")
    # The leader is the last to restart, and any member can be the leader.
    first = next(name for name in members if f"etcd on {name} " in done.stderr)
    texts(done, FIRST=first)
    after = {name: operator.lab[name].run(STATE).stdout for name in members}
    assert sum(before[name] != after[name] for name in members) == 1, "one member was restarted"
    assert [text.partition("ActiveState")[2] for text in after.values()] == [
        text.partition("ActiveState")[2] for text in before.values()
    ], "the member of the rejected setting was restarted, and has its previous files"

    for name in members:
        operator.lab[name].run(
            "cp -a /opt/etcd/3.6.14 /opt/etcd/3.6.13; cd /opt/etcd/3.6.13; "
            "printf '#!/bin/sh\\necho etcd Version: 3.6.13\\n' >etcd; chmod 0700 etcd"
        )
    operator.write(version="3.6.13", install=path_install(VERSION))
    done = operator.run("apply", "--yes")
    # The programs are checked on all hosts at once.
    texts(done, ANY=next(name for name in members if f"{name}: " in done.stderr))
    assert {name: operator.lab[name].run(STATE).stdout for name in members} == after, output_of(done)
    write_members(operator, members)
    assert HEALTHY in operator.apply()
