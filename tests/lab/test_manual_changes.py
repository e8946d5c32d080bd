"""Members added by hand, wiped disks and dead hosts: etcdup reports each one, and one command repairs it."""

import json
import time
from collections.abc import Sequence

import pytest

from tests.lab.load import load_on
from tests.lab.operator import HEALTHY, Operator, move_leadership, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


def write_members(operator: Operator, members: Sequence[str]) -> None:
    operator.write(version=VERSION, install=path_install(VERSION), members=members)


def infra_names(*numbers: int) -> list[str]:
    return [f"infra{number}" for number in numbers]


def list_members(operator: Operator) -> set[str]:
    return {line.split(", ")[2] for line in operator.ctl("member", "list").splitlines()}


def replace(operator: Operator, *words: str) -> str:
    done = operator.run("member", "replace", *words, "--yes")
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    return done.stderr


def add_by_etcdctl(operator: Operator, *words: str) -> None:
    """Add a member. etcd refuses that until its members have been connected for five seconds (rule 25)."""
    deadline = time.monotonic() + 30
    while (done := operator.run("ctl", "--", "member", "add", *words)).returncode != 0:
        assert "unhealthy cluster" in done.stderr, output_of(done)
        assert time.monotonic() < deadline, output_of(done)
        time.sleep(0.5)


def planned_reasons(operator: Operator) -> list[str]:
    """Return the reason of each step that an apply would do."""
    return [step["reason"] for step in json.loads(operator.run("plan", "--json").stdout)["steps"]]


@pytest.mark.in_turn(1, 2)
def test_members_that_were_added_by_hand_are_removed_or_started(operator: Operator, texts: Texts) -> None:
    """A learner or voter that never started is removed, or started if cluster.yaml has its host."""
    new = operator.lab.add_machine()
    url = f"--peer-urls=https://{new.address}:2380"
    write_members(operator, infra_names(1, 2, 3))
    operator.apply()

    add_by_etcdctl(operator, "stray", "--learner", url)
    texts(planned_reasons(operator), ADDRESS=new.address)
    operator.apply()
    assert list_members(operator) == set(infra_names(1, 2, 3))

    add_by_etcdctl(operator, "stray", url)
    texts(planned_reasons(operator), ADDRESS=new.address)
    operator.apply()
    assert list_members(operator) == set(infra_names(1, 2, 3))

    add_by_etcdctl(operator, new.name, "--learner", url)
    write_members(operator, [*infra_names(1, 2), new.name])
    operator.apply()
    assert list_members(operator) == {*infra_names(1, 2), new.name}
    operator.assert_nothing_to_do()


@pytest.mark.full
@pytest.mark.alone
def test_members_replaced_under_load(operator: Operator, texts: Texts) -> None:
    """Replace a member with a wiped disk, one of a dead host by a host at another address, and a healthy one."""
    new = operator.lab.add_machine()
    write_members(operator, infra_names(1, 2, 3))
    operator.apply()
    wiped, dead = operator.lab["infra3"], operator.lab["infra2"]
    with load_on(operator.lab, operator, infra_names(1)) as load:
        wiped.run("systemctl stop etcd; rm -rf /var/lib/etcd/member")
        refused = operator.run("apply", "--yes")
        texts(refused)
        assert wiped.run("ls /var/lib/etcd").stdout == ""
        replace(operator, "infra3")

        # A leader that loses power always causes a gap of one election.
        move_leadership(operator, "infra1")
        dead.kill()
        replace(operator, "infra2", "--address", new.address)
        load.report().assert_clean(restarted=infra_names(2, 3))
    assert new.address in operator.file.read_text()
    assert list_members(operator) == set(infra_names(1, 2, 3))
    with load_on(operator.lab, operator, infra_names(1)) as load:
        replace(operator, "infra3")
        load.report().assert_clean(restarted=infra_names(3))
    assert len(wiped.run("ls -d /var/lib/etcd.aside-*").stdout.split()) == 1
    operator.assert_nothing_to_do()
