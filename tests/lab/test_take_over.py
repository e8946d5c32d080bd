"""`etcdup adopt --take-over` on machines where another tool installed etcd, under load, cut, and given back."""

import json
import re
import shlex
import time
from collections.abc import Callable

import pytest

from etcdup.core.adopt.switch_commands import BEGIN, FORGET, GIVE_BACK
from etcdup.core.adopt.switch_script import SWITCH_UNIT
from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.spec.load import load
from tests.lab.load import load_on
from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.test_adopt import VERSION, log_in_by_ssh_config, make_as_kubespray, make_by_hand
from tests.lab.test_bootstrap import path_install
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not
from tests.support.etcd_certs import Authority
from tests.support.kill_everywhere import strided

pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

LAYOUTS: dict[str, tuple[Callable[[Operator], Authority], tuple[str, ...]]] = {
    "guide": (make_by_hand, ()),
    "kubespray": (make_as_kubespray, ("--with-ca-key",)),
}


def adopt(operator: Operator, make: Callable[[Operator], Authority], options: tuple[str, ...]) -> None:
    make(operator)
    log_in_by_ssh_config(operator)
    addresses = [each.address for each in operator.lab.machines]
    run(operator, "adopt", *addresses, "--user", "root", "--name", "prod", "--yes", *options)


def give_load_a_certificate(operator: Operator) -> None:
    """Write the files that the clients of the load use. With provided certificates, a member's pair is one."""
    clients = operator.folder / "pki/clients"
    if not (clients / "admin.pem").exists():
        clients.mkdir()
        for name in ("", "-key"):
            (clients / f"admin{name}.pem").write_bytes(
                (operator.folder / f"pki/infra1{name}.pem").read_bytes()
            )


def run(operator: Operator, *words: str, code: int = 0) -> str:
    done = operator.run(*words)
    print(output_of(done))
    assert done.returncode == code, output_of(done)
    return done.stdout + done.stderr


def processes(machine: Machine) -> list[str]:
    """Return user and program of each process of etcd on a machine."""
    listed = machine.run(
        "for p in $(pidof etcd); do echo $(stat -c %U /proc/$p) $(readlink /proc/$p/exe); done"
    )
    return listed.stdout.split("\n")[:-1]


def member_ids(operator: Operator) -> dict[str, str]:
    return {each["name"]: each["member_id"] for each in operator.status()["members"]}


NEWER = "3.6.14"
OLD = "root /usr/local/bin/etcd"
NEW = f"etcd /opt/etcd/{VERSION}/etcd"


@pytest.mark.alone
@pytest.mark.parametrize("layout", one_in_turn(*LAYOUTS))
@pytest.mark.in_turn(2, 4)
def test_all_members_are_taken_over_under_load(operator: Operator, layout: str) -> None:
    adopt(operator, *LAYOUTS[layout])
    give_load_a_certificate(operator)
    ids, first = member_ids(operator), load(operator.file.read_text()).hosts[0].name
    with load_on(operator.lab, operator) as clients:
        run(operator, "adopt", "--take-over", first, "--yes")
        assert [processes(each) for each in operator.lab.machines] == [[NEW], [OLD], [OLD]]
        run(operator, "plan", "--exit-code")
        run(operator, "adopt", "--give-back", first, "--yes")
        assert [processes(each) for each in operator.lab.machines] == [[OLD], [OLD], [OLD]]
        run(operator, "adopt", "--take-over", "--yes")
        report = clients.report()
    report.assert_clean(restarted={machine.name for machine in operator.lab})
    assert [processes(each) for each in operator.lab.machines] == [[NEW]] * 3
    assert member_ids(operator) == ids
    operator.assert_no_step()
    again = json.loads(operator.run("adopt", "--take-over", "--yes", "--json").stdout)
    assert again["outcome"] == "nothing to do"
    run(operator, "adopt", "--give-back", first, "--yes", code=4)
    run(operator, "restart", "--yes")
    upgrade(operator, NEWER)


def upgrade(operator: Operator, version: str) -> None:
    """Upgrade members that were taken over, to binaries of this machine."""
    text = operator.file.read_text()
    newer = re.sub(r"^version: .*$", f"version: {version}", text, flags=re.MULTILINE)
    assert newer != text
    operator.file.write_text(f"{newer}\ninstall: {{{path_install(version)}}}\n")
    run(operator, "apply", "--yes")
    operator.assert_no_step()


# The lines of the script that change something, or that decide whether to.
CHANGES = re.compile(
    r"\s*((systemctl|chown|chmod|mkdir|rm|mv|rename|sync|flag|exists|start|stop_\w+|start_\w+|set_\w+|give_\w+"
    r"|put_\w+|take_\w+|return_\w+|place|wait_\w+)\b|!|\[|\"\$engine\")"
)
CUT = """
cut() {{
  [ -e /cut-at ] && [ "$(cat /cut-at)" = "$1" ] || return 0
  rm /cut-at
  sync
  : >/run/cut-reached
  {how}
}}
"""
HOW = {"kill": "kill -9 $$", "reboot": "sleep 600"}


def with_cuts(script: str, how: str) -> tuple[str, int]:
    """Return the script with a cut before each line that changes something, and the number of cuts."""
    lines, count, body = [], 0, False
    for line in script.splitlines():
        if line.startswith("exists()"):
            lines += CUT.format(how=HOW[how]).splitlines()
            body = True
        if body and CHANGES.match(line) and not line.startswith("exists()") and "() {" not in line:
            lines.append(f"cut {count}")
            count += 1
        lines.append(line)
    return "\n".join(lines) + "\n", count


def end_of(machine: Machine) -> str:
    """Wait until the script has ended, and return which member it ended with."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        names = machine.run(f"ls {SWITCH_FOLDER}").stdout.split()
        done = "old" if "back" in names else "new"
        if f"{done}.done" in names and unit_state(machine) == "inactive":
            return done
        time.sleep(0.2)
    log = machine.run(f"journalctl -u {SWITCH_UNIT} --no-pager | tail -30; ls -R {SWITCH_FOLDER}")
    raise AssertionError(log.stdout)


def unit_state(machine: Machine) -> str:
    return machine.run(f"systemctl is-active {SWITCH_UNIT}", check=False).stdout.strip()


def wait_for_member(machine: Machine, expected: str, is_ready: str) -> None:
    deadline = time.monotonic() + 60
    while processes(machine) != [expected] or machine.run(is_ready, check=False).returncode:
        assert time.monotonic() < deadline, machine.run(
            "pidof etcd; systemctl status etcd", check=False
        ).stdout
        time.sleep(0.2)


@pytest.mark.full
@pytest.mark.parametrize("how", ["reboot", "kill"])
def test_a_cut_at_each_line_ends_with_one_member(operator: Operator, how: str) -> None:
    adopt(operator, make_by_hand, ())
    cut_at_each_line(operator, operator.lab["infra1"], how)


def cut_at_each_line(
    operator: Operator,
    machine: Machine,
    how: str,
    is_old_ready: str = "systemctl is-active etcd",
    options: tuple[str, ...] = (),
) -> None:
    """Take the machine over and give it back, and cut both before each line. In the end, take all machines over."""
    ids = member_ids(operator)
    run(operator, "adopt", "--take-over", machine.name, "--yes", *options)
    run(operator, "adopt", "--give-back", machine.name, "--yes")
    script, count = with_cuts(machine.read(f"{SWITCH_FOLDER}/switch"), how)
    assert count > 40
    machine.write(f"{SWITCH_FOLDER}/switch", script, "600")
    for direction, begin, expected in (("new", BEGIN, NEW), ("old", GIVE_BACK, OLD)):
        is_ready = is_old_ready if direction == "old" else "systemctl is-active etcd"
        for point in strided(range(count)):
            sh(machine, FORGET, SWITCH_FOLDER)
            if direction == "old":
                sh(machine, BEGIN, SWITCH_FOLDER, SWITCH_UNIT)
                assert end_of(machine) == "new"
            machine.run(f"echo {point} >/cut-at; rm -f /run/cut-reached")
            sh(machine, begin, SWITCH_FOLDER, SWITCH_UNIT)
            reached = wait_for_cut(machine)
            if reached and how == "reboot":
                machine.reboot()
            machine.run("rm -f /cut-at")
            ended = end_of(machine)
            print(f"{direction} cut {point} {'' if reached else 'not reached '}-> {ended}", flush=True)
            assert ended == direction
            wait_for_member(machine, expected, is_ready)
            if direction == "new":
                sh(machine, GIVE_BACK, SWITCH_FOLDER, SWITCH_UNIT)
                assert end_of(machine) == "old"
                wait_for_member(machine, OLD, is_old_ready)
    operator.wait_healthy()
    assert member_ids(operator) == ids
    run(operator, "adopt", "--take-over", "--yes", *options)
    operator.assert_no_step()


def sh(machine: Machine, script: str, *arguments: str) -> None:
    machine.run(shlex.join(("sh", "-c", script, "script", *arguments)))


def wait_for_cut(machine: Machine) -> bool:
    """Return whether the script reached the cut before it ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if machine.run("ls /run/cut-reached", check=False).returncode == 0:
            return True
        if unit_state(machine) == "inactive":
            return machine.run("ls /run/cut-reached", check=False).returncode == 0
        time.sleep(0.1)
    raise AssertionError("the script neither ends nor reaches the cut")
