"""All machines lose power under writes. One of three boots again: its etcd runs without a quorum."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.lab.lost_quorum_drill import VERSION, YES
from tests.lab.machine import Machine
from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.lab.test_recover import WRITER, read_acknowledged, wait_for_writes
from tests.support.etcd_binaries import why_not

pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
FENCED = ("recover", "--fenced", "infra2", "--fenced", "infra3")
SALVAGED = "/var/lib/etcd.salvage"


@pytest.mark.in_turn(1, 2)
def test_recover_salvages_the_data_of_the_only_host_that_boots_again(operator: Operator) -> None:
    infra1, *others = operator.lab.machines
    operator.write(version=VERSION, install=path_install(VERSION))
    operator.apply()
    infra1.run(f"nohup sh -c '{WRITER}' >/dev/null 2>&1 &")
    wait_for_writes(infra1, 60)
    for machine in (infra1, *others):
        machine.kill()
    infra1.start()
    infra1.wait_ssh()
    wait_until(
        lambda: bool(infra1.run("pgrep -x etcd", check=False).stdout), "the unit of infra1 has not started"
    )

    kill_while_copy_is_served(operator)
    # The killed recover had stopped etcd.
    assert infra1.run("systemctl is-active etcd", check=False).stdout.strip() in ("inactive", "failed")
    stopped = checksums(infra1)
    done = operator.run(*FENCED, *YES)
    print(done.stderr)
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    keys = operator.ctl("get", "key", "--prefix", "--keys-only").split()
    assert set(read_acknowledged(infra1)) <= set(keys), "an acknowledged write is lost"
    # The data directory was only read.
    for kept in ("cold", "aside"):
        assert checksums(infra1, f"/var/lib/etcd.{kept}-*") == stopped, kept
    assert infra1.run(f"ls -d {SALVAGED}* /run/etcdup/salvage", check=False).stdout == ""
    (file,) = (operator.folder / "backups").glob("*-recover-infra1-*.db")
    assert file.stat().st_mode & 0o777 == 0o600


def kill_while_copy_is_served(operator: Operator) -> None:
    """Kill etcdup while an etcd serves the copy: as user etcd, on loopback only. It ends, and the copy is removed."""
    infra1 = operator.lab["infra1"]
    running = operator.start(*FENCED, *YES)
    wait_until(lambda: bool(find_pid_on_copy(infra1)), "no etcd runs on a copy")
    seen = infra1.run(INSPECT_SCRIPT.replace("PID", find_pid_on_copy(infra1)), check=False).stdout.split()
    running.send_signal(signal.SIGKILL)
    running.communicate()
    wait_until(lambda: not find_pid_on_copy(infra1), "the etcd on the copy still runs")
    wait_until(lambda: infra1.run(f"ls {SALVAGED}", check=False).stdout == "", "the copy still exists")
    assert seen[0] == "etcd"
    assert seen[1:], "the etcd on the copy has no listening socket"
    assert set(seen[1:]) == {"0100007F"}, seen


# Prints the user of etcd, and its listening addresses in the format of /proc/net/tcp.
INSPECT_SCRIPT = """
stat -c %U /proc/PID
for n in $(seq 100); do
  inodes=$(ls -l /proc/PID/fd | sed -n 's/.*socket:.\\([0-9]*\\).*/\\1/p')
  found=$(awk -v of=" $(echo $inodes) " '$4 == "0A" && index(of, " " $10 " ") { print substr($2, 1, 8) }' /proc/net/tcp)
  [ "$(echo $found | wc -w)" -ge 2 ] && break
  sleep 0.02
done
echo $found
awk -v of=" $(echo $inodes) " '$4 == "0A" && index(of, " " $10 " ") { print $2 }' /proc/net/tcp6
"""


def find_pid_on_copy(machine: Machine) -> str:
    return machine.run(f"pgrep -x etcd -a | sed -n 's, .*--data-dir={SALVAGED} .*,,p'").stdout.strip()


def checksums(machine: Machine, folder: str = "/var/lib/etcd") -> dict[str, str]:
    lines = machine.run(f"cd {folder} && find . -type f -exec sha256sum {{}} +").stdout.splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def wait_until(condition: Callable[[], bool], why: str) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends, why
        time.sleep(0.02)
