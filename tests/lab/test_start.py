"""Starts that wait for the network of a machine that booted a moment ago, and a way back from a version that fails."""

import pytest

from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not

VERSION, NEWER = "3.6.14", "3.7.1"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

# It fails as etcd does: after the checks that run `etcd --version`.
BROKEN_ETCD = """\
#!/bin/sh
case $* in *--version*) echo "etcd Version: 3.7.1"; exit 0 ;; esac
echo '{"level":"panic","msg":"never heard of this entry"}' >&2
exit 2
"""


def write_spec(operator: Operator, version: str = VERSION) -> None:
    operator.write(version=version, install=path_install(version))


def waiting_text(machine: Machine) -> str:
    return f"waiting for network-online.target on {machine.name}"


def test_a_cluster_forms_on_machines_that_booted_a_moment_ago(operator: Operator) -> None:
    """systemd-networkd-wait-online runs for the first time when etcd is started."""
    write_spec(operator)
    operator.lab.reset()
    operator.apply()
    operator.assert_nothing_to_do()


@pytest.mark.in_turn(0, 2)
def test_apply_waits_for_a_network_that_is_late(operator: Operator) -> None:
    """The form of a cluster, and then a member whose machine had a power cut."""
    write_spec(operator)
    late = operator.lab["infra2"]
    late.delay_network_online(20)
    assert waiting_text(late) in operator.apply()

    late.kill()
    late.start()
    late.wait_ssh()
    (member,) = [each for each in operator.status()["members"] if each["name"] == late.name]
    assert "systemd waits for network-online.target" in member["why"], member
    assert waiting_text(late) in operator.apply()
    operator.assert_nothing_to_do()


@pytest.mark.parametrize(
    "command", one_in_turn("true", "systemctl stop etcd", "systemctl kill --signal=KILL etcd")
)
@pytest.mark.in_turn(1, 2)
def test_a_member_that_fails_on_a_new_version_is_taken_back(operator: Operator, command: str) -> None:
    if reason := why_not(NEWER):
        pytest.skip(f"no etcd {NEWER}: {reason}")
    write_spec(operator)
    operator.apply()
    for machine in operator.lab:
        for tool in ("etcd", "etcdctl", "etcdutl"):
            machine.write(f"/opt/etcd/{NEWER}/{tool}", BROKEN_ETCD, "755")
    write_spec(operator, NEWER)
    failed = operator.run("apply", "--yes")
    assert failed.returncode == 5, output_of(failed)
    assert "never heard of this entry" in failed.stderr, output_of(failed)
    assert f"hint: write `version: {VERSION}` in cluster.yaml" in failed.stderr
    assert "again to resume" not in failed.stderr
    down = next(each for each in operator.status()["members"] if not each["healthy"])
    assert "never heard of this entry" in down["why"], down
    operator.lab[down["name"]].run(command, check=False)
    write_spec(operator)
    operator.apply()
    assert [member["version"] for member in operator.status()["members"]] == [VERSION] * 3
    operator.assert_nothing_to_do()
