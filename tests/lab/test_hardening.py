"""The sandbox of etcd.service on each version of etcd, and the drop-in of SECURITY.md that makes it smaller."""

import json
import re

import pytest

from tests.lab.machine import Machine
from tests.lab.operator import Operator
from tests.lab.test_bootstrap import path_install
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

DROP_IN = "/etc/systemd/system/etcd.service.d/sandbox.conf"
# The ratings of systemd 252 that SECURITY.md names. Lower is safer.
EXPOSURE, EXPOSURE_WITH_DROP_IN = 1.2, 1.0


@pytest.mark.parametrize("version", one_in_turn("3.6.14", "3.7.1", "3.4.23", "3.5.33"))
def test_the_sandbox_of_each_version(operator: Operator, version: str, texts: Texts) -> None:
    if reason := why_not(version):
        pytest.skip(f"no etcd {version}: {reason}")
    operator.write(version=version, install=path_install(version))
    operator.apply()
    for machine in operator.lab:
        assert read_exposure(machine) <= EXPOSURE
        assert_sandbox(machine)

    machine = operator.lab["infra2"]
    addresses = " ".join(each.address for each in operator.lab)
    options = f"PrivateUsers=yes\nIPAddressDeny=any\nIPAddressAllow=localhost {addresses}\n"
    machine.write(DROP_IN, f"[Service]\n{options}", "644")
    machine.run("systemctl daemon-reload && systemctl restart etcd")
    operator.wait_healthy()
    assert read_exposure(machine) <= EXPOSURE_WITH_DROP_IN
    operator.assert_no_step()
    planned = json.loads(operator.run("plan", "--json").stdout)
    texts([note for note in planned["notes"] if DROP_IN in note])


def read_exposure(machine: Machine) -> float:
    """Return the rating of the unit by systemd, and print the options that it does not have."""
    text = machine.run("systemd-analyze security --no-pager etcd.service").stdout
    print("\n".join(line for line in text.splitlines() if not line.startswith("✓")))
    (found,) = re.findall(r"exposure level for etcd\.service: ([0-9.]+)", text)
    return float(found)


def assert_sandbox(machine: Machine) -> None:
    """Assert what user etcd cannot do in the mounts of its member, and that etcd has the backlog of the kernel."""
    for folder in ("/var/lib/etcd", "/tmp"):
        command = f"cp /bin/true {folder}/planted && {{ {folder}/planted; code=$?; rm {folder}/planted; exit $code; }}"
        assert run_inside(machine, command) == 126, folder
    assert run_inside(machine, "test -w /dev/shm") == 1
    assert run_inside(machine, "test -e /proc/1") == 1
    limits = machine.run("grep '^Max core' /proc/$(pidof etcd)/limits").stdout
    assert limits.split()[4:6] == ["0", "0"], limits
    backlogs = machine.run("ss -Hltn 'sport = :2379'").stdout.splitlines()
    kernel = machine.run("cat /proc/sys/net/core/somaxconn").stdout.strip()
    assert [line.split()[2] for line in backlogs] == [kernel] * 2


def run_inside(machine: Machine, command: str) -> int:
    """Run a command as user etcd in the mounts of the running member, and return its exit code."""
    login = "setpriv --reuid=etcd --regid=etcd --clear-groups"
    return machine.run(
        f"nsenter --target $(pidof etcd) --mount {login} sh -c '{command}'", check=False
    ).returncode
