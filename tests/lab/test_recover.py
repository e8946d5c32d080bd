"""A lost quorum, by its guide: two of three machines are lost under writes, and both old members boot again."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.lab.lost_quorum_drill import VERSION, YES, page_commands, wait_for_fence
from tests.lab.machine import Machine
from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not
from tests.support.keyboard import CTRL_C, run_interactively
from tests.support.texts import Texts

pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
PKI = "/etc/etcd/pki"
# The startup fence is the end of a unit's ExecStartPre.
FENCE_COMMAND = re.compile(r"; \\\n[^']*'\nExecStart=")


@pytest.mark.in_turn(0, 3)
def test_a_cluster_that_lost_two_of_three_members_is_recovered(operator: Operator, texts: Texts) -> None:
    status, recover, apply = page_commands()
    infra1, infra2, infra3 = operator.lab.machines
    operator.write(version=VERSION, install=path_install(VERSION))
    operator.apply()
    infra1.run(f"nohup sh -c '{WRITER}' >/dev/null 2>&1 &")
    wait_for_writes(infra1, 60)
    infra2.kill()
    infra3.kill()

    assert operator.run(*status).returncode == 0
    texts([cause["what"] for cause in operator.status()["causes"]])
    done = operator.run("recover", "--json")
    assert done.returncode == 4, output_of(done)
    refused = json.loads(done.stdout)["error"]["refused"]
    assert [each["host"] for each in refused] == ["infra2", "infra3"], output_of(done)
    before = read_survivor_keys(operator)
    # The survivor itself acknowledged each of them, so it has applied them.
    assert set(read_acknowledged(infra1)) <= set(before)

    check_questions(operator, texts)
    done = operator.run(*recover, *YES)
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    print(done.stderr)
    # The log may end in a write that failed because there was no quorum.
    assert set(before) <= set(after := read_survivor_keys(operator))
    assert infra1.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
    # The copy equals the archived data, and only the user etcd can read it.
    assert infra1.run("diff -r /var/lib/etcd.cold-* /var/lib/etcd.aside-* && echo same").stdout == "same\n"
    assert infra1.run("stat -c '%U:%G %a' /var/lib/etcd.cold-*/member").stdout == "etcd:etcd 700\n"
    kept = max((operator.folder / "backups").glob("*-recover-infra1-*.db"))
    again = operator.run(*recover, *YES)
    assert again.returncode == 4, output_of(again)

    show_split_brain_without_fence(operator)
    bring_old_members_back(operator, apply)
    # infra3 loses its disk: a new machine with its address replaces it.
    infra3.reset()
    infra3.wait_ssh()
    done = operator.run("member", "replace", "infra3", "--yes")
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    assert len(operator.status()["members"]) == 3
    assert read_survivor_keys(operator) == after
    operator.assert_nothing_to_do()
    restore_and_undo(operator, kept)


def check_questions(operator: Operator, texts: Texts) -> None:
    """The operator types the name of each unreachable host, then of the cluster. A wrong name or Ctrl-C means no."""
    wrong = [(power_off_question("infra2"), "infra2"), (power_off_question("infra3"), "infra2")]
    code, screen = run_interactively(operator.on_terminal("recover"), wrong)
    assert code == 130, screen
    texts(screen.splitlines()[-1])
    assert not list((operator.folder / "backups").glob("*-recover-*")), screen
    stopped = [*((power_off_question(name), name) for name in ("infra2", "infra3")), ("(prod): ", CTRL_C)]
    code, screen = run_interactively(operator.on_terminal("recover"), stopped)
    assert code == 130, screen
    assert operator.lab["infra1"].run("ls -d /var/lib/etcd.*", check=False).stdout == ""


def power_off_question(name: str) -> str:
    return f"Power it off, then type its name ({name}): "


def show_split_brain_without_fence(operator: Operator) -> None:
    """Without the startup fence, both old members form the old cluster again and accept a write (rule 65).

    The recovered cluster runs at the same time, so there are two clusters.
    """
    infra1, *old = operator.lab.machines
    units = {machine.name: machine.root / "etc/systemd/system/etcd.service" for machine in old}
    fenced = {name: unit.read_text() for name, unit in units.items()}
    for name, unit in units.items():
        unit.write_text(FENCE_COMMAND.sub("'\nExecStart=", fenced[name]))
        assert FENCE_COMMAND.search(fenced[name])
        assert not FENCE_COMMAND.search(unit.read_text())
    for machine in old:
        machine.start()
    for machine in old:
        machine.wait_ssh()
        wait_for_put(machine, "/whose", "the-two")
    assert infra1.run(f"{ETCDCTL} get /whose").stdout == "", "the recovered cluster must not have the write"
    infra1.run(f"{ETCDCTL} put /whose the-survivor")
    for machine in old:
        machine.kill()
        units[machine.name].write_text(fenced[machine.name])
    assert infra1.run(f"{ETCDCTL} get /whose --print-value-only").stdout.strip() == "the-survivor"


def wait_for_put(machine: Machine, key: str, value: str) -> None:
    deadline = time.monotonic() + 60
    while (done := machine.run(f"{ETCDCTL} put {key} {value}", check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


def bring_old_members_back(operator: Operator, apply: tuple[str, ...]) -> None:
    """Boot both old members with their data, a quorum of the old cluster (rule 65). The fence keeps them stopped."""
    _, *old = operator.lab.machines
    for machine in old:
        machine.start()
    for machine in old:
        machine.wait_ssh()
        wait_for_fence(machine)
        assert machine.run("journalctl -b _COMM=etcd -o cat").stdout == "", "the old etcd was started"
        put = machine.run(f"{ETCDCTL} put second cluster", check=False)
        assert put.returncode != 0, f"the old etcd of {machine.name} accepted a write"
    causes = {cause["code"]: cause["hosts"] for cause in operator.status()["causes"]}
    assert causes["host-superseded"] == ["infra2", "infra3"]
    plan = operator.run("plan")
    order = [plan.stdout.index(what) for what in ("stop etcd, archive its data", "add to the cluster")]
    assert order == sorted(order), output_of(plan)
    done = operator.run(*apply, "--yes")
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    for machine in old:
        assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]


def restore_and_undo(operator: Operator, snapshot: Path) -> None:
    """Restore a snapshot and undo it: the keys that were written after the snapshot are back."""
    operator.ctl("put", "late", "written")
    confirm = ("--yes-restore", "prod")
    refused = operator.run("restore", str(snapshot), *confirm)
    assert refused.returncode == 4, "the recovery restored this snapshot already"
    done = operator.run("restore", str(snapshot), "--again", *confirm)
    assert done.returncode == 0, output_of(done)
    assert operator.ctl("get", "late") == ""
    done = operator.run("restore", "--undo", *confirm)
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    assert operator.ctl("get", "late", "--print-value-only").strip() == "written"
    operator.assert_nothing_to_do()


ETCDCTL = (
    f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/ca.pem --cert={PKI}/server.pem "
    f"--key={PKI}/server-key.pem --command-timeout=2s"
)
WRITER = f"while n=$((n+1)); {ETCDCTL} put key$n v$n; do echo key$n >>/root/acknowledged; done"


def read_acknowledged(machine: Machine) -> list[str]:
    return machine.run("cat /root/acknowledged", check=False).stdout.split()


def wait_for_writes(machine: Machine, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(read_acknowledged(machine)) < count:
        assert time.monotonic() < deadline, "the writer has too few acknowledged writes"
        time.sleep(0.2)


def read_survivor_keys(operator: Operator) -> list[str]:
    """Return the keys of the survivor, by a serializable read, which needs no quorum."""
    out = operator.lab.machines[0].run(f"{ETCDCTL} get key --prefix --consistency=s").stdout
    return sorted(out.split())
