"""The rack lost its power under writes, and one machine of three comes back: its etcd runs, and answers nobody."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.lab.lost_quorum_drill import SURE, VERSION
from tests.lab.machine import Machine
from tests.lab.operator import HEALTHY, Operator, said
from tests.lab.test_bootstrap import by_path
from tests.lab.test_recover import WRITER, acknowledged, wait_for_writes
from tests.support.etcd_binaries import why_not

pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
FENCED = ("recover", "--fenced", "infra2", "--fenced", "infra3")
SALVAGED = "/var/lib/etcd.salvage"


def test_the_one_that_comes_back_is_enough(operator: Operator) -> None:
    infra1, *others = operator.lab.machines
    operator.write(version=VERSION, install=by_path(VERSION))
    operator.apply()
    infra1.run(f"nohup sh -c '{WRITER}' >/dev/null 2>&1 &")
    wait_for_writes(infra1, 60)
    for machine in (infra1, *others):
        machine.kill()
    infra1.start()
    infra1.wait_ssh()
    wait(lambda: bool(infra1.run("pgrep -x etcd", check=False).stdout), "its unit does not start")

    killed_while_the_copy_is_served(operator)
    # Now its etcd is stopped.
    assert infra1.run("systemctl is-active etcd", check=False).stdout.strip() in ("inactive", "failed")
    stopped = sums(infra1)
    done = operator.run(*FENCED, *SURE)
    print(done.stderr)
    assert done.returncode == 0, said(done)
    assert done.stdout.rstrip().endswith(HEALTHY), said(done)
    has = operator.ctl("get", "key", "--prefix", "--keys-only").split()
    assert set(acknowledged(infra1)) <= set(has), "an acknowledged write is gone"
    # It was only read all the while.
    for kept in ("cold", "aside"):
        assert sums(infra1, f"/var/lib/etcd.{kept}-*") == stopped, kept
    assert infra1.run(f"ls -d {SALVAGED}* /run/etcdup/salvage", check=False).stdout == ""
    (file,) = (operator.folder / "backups").glob("*-recover-infra1-*.db")
    assert file.stat().st_mode & 0o777 == 0o600


def killed_while_the_copy_is_served(operator: Operator) -> None:
    """Until then it is etcd's own user's, on loopback; with its etcdup it is gone, and so is the copy."""
    infra1 = operator.lab["infra1"]
    running = operator.start(*FENCED, *SURE)
    wait(lambda: bool(pid_on_the_copy(infra1)), "no etcd on a copy")
    seen = infra1.run(LOOK.replace("PID", pid_on_the_copy(infra1)), check=False).stdout.split()
    running.send_signal(signal.SIGKILL)
    running.communicate()
    wait(lambda: not pid_on_the_copy(infra1), "the etcd on the copy goes on")
    wait(lambda: infra1.run(f"ls {SALVAGED}", check=False).stdout == "", "the copy stays")
    assert seen[0] == "etcd"
    assert seen[1:], "it listens nowhere"
    assert set(seen[1:]) == {"0100007F"}, seen


# Its user, and the addresses that it listens on, as /proc/net/tcp writes them.
LOOK = """
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


def pid_on_the_copy(machine: Machine) -> str:
    return machine.run(f"pgrep -x etcd -a | sed -n 's, .*--data-dir={SALVAGED} .*,,p'").stdout.strip()


def sums(machine: Machine, folder: str = "/var/lib/etcd") -> dict[str, str]:
    lines = machine.run(f"cd {folder} && find . -type f -exec sha256sum {{}} +").stdout.splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def wait(so: Callable[[], bool], why: str) -> None:
    ends = time.monotonic() + 60
    while not so():
        assert time.monotonic() < ends, why
        time.sleep(0.02)
