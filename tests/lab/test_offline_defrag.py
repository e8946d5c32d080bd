"""`maintain defrag` under systemd and under load, also `--offline`: nothing starts etcd on a file that is replaced."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path

import pytest

from etcdup.core.spec.version import has_etcdutl, parse_version
from tests.lab.load import load_on
from tests.lab.load_records import Request
from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.cases import one_in_turn
from tests.support.texts import Texts

TOOL_S = 6
OFFLINE = ("maintain", "defrag", "--offline", "--all", "--yes")
# The tool that waits before it begins, so that a test finds it at work.
SLOW = f"""\
#!/bin/sh
[ "$1" != defrag ] || sleep {TOOL_S}
exec "$0.real" "$@"
"""
MIB, FILL_MIB = 1024**2, 200


def wait_for(reached: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def make_slow(machine: Machine, version: str) -> None:
    tool = "etcdutl" if has_etcdutl(parse_version(version)) else "etcdctl"
    for path in machine.run(f"ls -d /opt/etcd/[0-9]*/{tool}").stdout.split():
        machine.run(f"mv {path} {path}.real")
        machine.write(path, SLOW, "755")


def is_at_work(machine: Machine) -> bool:
    return (
        machine.run("systemctl is-active etcdup-defrag.service", check=False).stdout.strip() == "activating"
    )


def start_on(operator: Operator, machine: Machine) -> subprocess.Popen[str]:
    """Start the defragmentation of this member, and return while etcdutl works."""
    run = operator.start("maintain", "defrag", machine.name, *OFFLINE[2:])

    def is_working() -> bool:
        assert run.poll() is None, run.communicate()
        return is_at_work(machine)

    wait_for(is_working, "the tool does not run")
    users = machine.run("ps -o user= -p $(systemctl show -P MainPID etcdup-defrag.service)").stdout.split()
    assert users == ["etcd"]
    return run


def assert_uses_its_file(machine: Machine) -> None:
    """The running etcd has the file open that has the name of the database."""
    opened = machine.run("ls -l /proc/$(systemctl show -P MainPID etcd)/fd").stdout
    assert "/member/snap/db" in opened
    assert "(deleted)" not in opened
    assert machine.run("stat -c %U /var/lib/etcd/member/snap/db").stdout.split() == ["etcd"]


@pytest.mark.parametrize("version", one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
@pytest.mark.in_turn(1, 2)
def test_a_start_of_etcd_ends_a_defragmentation_of_its_stopped_database(
    operator: Operator, version: str, texts: Texts
) -> None:
    """By another program, after a kill of etcdup, and at a boot. At the end, the same command finishes."""
    operator.write(version=version, install=path_install(version))
    operator.apply()
    operator.ctl("put", "kept", "value")
    one, two, three = operator.lab.machines
    for machine in operator.lab:
        make_slow(machine, version)

    run = start_on(operator, one)
    one.run("systemctl start etcd")
    assert not is_at_work(one)
    _, errors = run.communicate(timeout=90)
    texts(subprocess.CompletedProcess(run.args, run.returncode, "", errors))
    assert_uses_its_file(one)

    run = start_on(operator, two)
    run.kill()
    run.wait()
    operator.apply()  # It waits until the script on the host has ended.
    assert not is_at_work(two)
    assert_uses_its_file(two)

    run = start_on(operator, three)
    three.kill()
    run.communicate(timeout=200)
    assert run.returncode not in (0, None)
    three.start()
    three.wait_ssh()
    operator.wait_healthy()
    assert_uses_its_file(three)

    done = operator.run(*OFFLINE)
    assert done.returncode == 0, output_of(done)
    for machine in operator.lab:
        assert_uses_its_file(machine)
    assert operator.ctl("get", "kept", "--print-value-only") == "value\n"
    assert operator.run("maintain", "verify").returncode == 0
    operator.assert_nothing_to_do()


def fragment(operator: Operator, mib: int, first: str, end: str) -> None:
    """Write keys `fill/NUMBER`, delete those from `first` on and before `end`, and compact the history."""
    fill(operator, mib)
    operator.ctl("del", "--command-timeout=60s", first, end)
    found = json.loads(operator.ctl("get", "x", "-w", "json"))
    operator.ctl("compaction", "--physical", "--command-timeout=120s", str(found["header"]["revision"]))


def fill(operator: Operator, mib: int, *, full: bool = False) -> str:
    """Write keys `fill/NUMBER` with this much data, and return the errors. `full`: until the quota is reached."""
    argv = (
        sys.executable,
        "-m",
        "tests.bench.filler",
        operator.folder / "pki",
        operator.lab.machines[0].address,
    )
    filled = operator.lab.run([*argv, str(mib * MIB)], cwd=Path(__file__).parents[2])
    assert (filled.returncode != 0) == full, filled.stderr
    return filled.stderr


@pytest.mark.alone
@pytest.mark.parametrize(
    ("version", "offline"),
    one_in_turn(
        ("3.6.14", False), ("3.4.23", True), ("3.5.33", True), ("3.7.1", False), ("3.6.14", True),
        ("3.4.23", False), ("3.5.33", False), ("3.7.1", True),
    ),
)  # fmt: skip
def test_defragmentations_lose_no_write_and_have_no_long_gap(
    operator: Operator, version: str, offline: bool
) -> None:
    """Rules 38, 39 and 75: only clients of the member that is defragmented wait or fail."""
    operator.write(version=version, install=path_install(version))
    operator.apply()
    fragment(operator, FILL_MIB, "fill/", "fill0")
    before = {each["name"]: each["db_size"] for each in operator.status()["members"]}
    with load_on(operator.lab, operator) as load:
        verb = ("maintain", "defrag", "--all", "--yes", *(("--offline",) if offline else ()))
        done = operator.run(*verb)
        assert done.returncode == 0, output_of(done)
        report = load.report()
    report.assert_clean(restarted=before)
    assert {each.member for each in report.machines.downtimes} == (set(before) if offline else set())
    after = {each["name"]: each["db_size"] for each in operator.status()["members"]}
    assert all(after[name] < before[name] / 2 for name in before)


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.parametrize("count", [3, 5])
def test_large_databases_are_defragmented_without_an_election(operator: Operator, count: int) -> None:
    """Each has 2 GiB, and a third of it in use. The only new term is that of the leadership transfer (rule 75).

    A member does not answer for seconds, so requests to it time out.
    """
    for _ in range(count - len(operator.lab.machines)):
        operator.lab.add_machine()
    operator.write(install=path_install("3.6.14"), more="etcd: {quota: 8GiB}\n")
    operator.apply()
    fragment(operator, 2048, "fill/2", "fill/9")
    before = {each["name"]: each for each in operator.status()["members"]}
    with load_on(operator.lab, operator) as load:
        done = operator.run("maintain", "defrag", "--all", "--yes")
        assert done.returncode == 0, output_of(done)
        report = load.report()
    print(report)
    assert not report.lost
    assert not report.unexpected
    assert not report.violation
    assert report.gap.of_cluster_s < 1
    assert_one_after_the_other(set(report.failures) - set(report.during_transfer))
    after = {each["name"]: each for each in operator.status()["members"]}
    for name, seen in after.items():
        assert seen["db_size"] < before[name]["db_size"] / 2
        assert seen["raft_term"] == before[name]["raft_term"] + 1


def assert_one_after_the_other(failures: Collection[Request]) -> None:
    """Requests time out only on one member at a time: it does not answer while it is being defragmented."""
    assert all("EtcdTimeout" in each.error for each in failures)
    members = {each.member: [one for one in failures if one.member == each.member] for each in failures}
    spans = sorted(
        (min(one.invoked_ns for one in each), max(one.returned_ns for one in each))
        for each in members.values()
    )
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
