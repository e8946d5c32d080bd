"""What people and dead disks leave behind: recognised, told in the right words, and put right by one command."""

import time
from collections.abc import Sequence

import pytest

from tests.lab.load import load_on
from tests.lab.operator import HEALTHY, Operator, move_leadership, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

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
    """etcd takes no member in before its own have been connected for five seconds (rule 25)."""
    deadline = time.monotonic() + 30
    while (done := operator.run("ctl", "--", "member", "add", *words)).returncode != 0:
        assert "unhealthy cluster" in done.stderr, output_of(done)
        assert time.monotonic() < deadline, output_of(done)
        time.sleep(0.5)


def test_members_added_by_hand(operator: Operator) -> None:
    """A learner and a voter that never started: taken out again, or started where cluster.yaml names the host."""
    new = operator.lab.add_machine()
    url = f"--peer-urls=https://{new.address}:2380"
    write_members(operator, infra_names(1, 2, 3))
    operator.apply()

    add_by_etcdctl(operator, "stray", "--learner", url)
    assert "was added and never started" in " ".join(operator.apply().split())
    assert list_members(operator) == set(infra_names(1, 2, 3))

    add_by_etcdctl(operator, "stray", url)
    assert "was added and never started" in " ".join(operator.apply().split())
    assert list_members(operator) == set(infra_names(1, 2, 3))

    add_by_etcdctl(operator, new.name, "--learner", url)
    write_members(operator, [*infra_names(1, 2), new.name])
    operator.apply()
    assert list_members(operator) == {*infra_names(1, 2), new.name}
    assert "nothing to do" in operator.apply()


@pytest.mark.alone
def test_members_replaced_under_load(operator: Operator) -> None:
    """A wiped disk, a dead host with a new one elsewhere, and a member that is well; the last without a gap."""
    new = operator.lab.add_machine()
    write_members(operator, infra_names(1, 2, 3))
    operator.apply()
    wiped, dead = operator.lab["infra3"], operator.lab["infra2"]
    with load_on(operator.lab, operator, infra_names(1)) as load:
        wiped.run("systemctl stop etcd; rm -rf /var/lib/etcd/member")
        refused = operator.run("apply", "--yes")
        assert refused.returncode == 4, output_of(refused)
        assert "contains no member, but infra3 is a member of this cluster" in refused.stderr
        assert "`etcdup member replace infra3`" in refused.stderr
        assert wiped.run("ls /var/lib/etcd").stdout == ""
        replace(operator, "infra3")

        move_leadership(
            operator, "infra1"
        )  # a leader that loses power is a gap of an election, whatever etcdup does
        dead.kill()
        replace(operator, "infra2", "--address", new.address)
        load.report().assert_clean(restarted=infra_names(2, 3))
    assert new.address in operator.file.read_text()
    assert list_members(operator) == set(infra_names(1, 2, 3))
    with load_on(operator.lab, operator, infra_names(1)) as load:
        replace(operator, "infra3")
        load.report().assert_clean(restarted=infra_names(3))
    assert len(wiped.run("ls -d /var/lib/etcd.aside-*").stdout.split()) == 1
    assert "nothing to do" in operator.apply()
