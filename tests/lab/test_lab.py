"""The lab itself: its machines, its faults, and that it leaves nothing on this computer."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from tests.lab import OPER_PASSWORD, USERS, Lab, LabError, Machine
from tests.lab.cgroup import TOP, hierarchies
from tests.lab.shell import run
from tests.lab.workspace import runs

SLEEPER = """
import sys, time
from tests.lab import Lab
with Lab(machines=1) as lab:
    lab.popen(["sleep", "300"])
    print(lab.workspace.lab_id, flush=True)
    time.sleep(300)
"""


def find_traces(lab_id: str) -> list[str]:
    """Return what a lab has on this computer: mounts, namespace, control groups with processes, loop devices, files."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if lab_id in line]
    groups = [str(path) for top in hierarchies() if (path := top / TOP / lab_id).exists()]
    loops = run(["losetup", "--all"]).stdout.splitlines()
    files = [str(path) for path in (Path("/run/netns", lab_id), runs() / lab_id) if path.exists()]
    return mounts + groups + [line for line in loops if lab_id in line] + files


def can_reach(lab: Lab, address: str, timeout_s: float = 1) -> bool:
    with lab.inside():
        try:
            socket.create_connection((address, 22), timeout=timeout_s).close()
        except OSError:
            return False
    return True


def read_clock_offset(lab: Lab, host: str, command: str = "date +%s", user: str = "root") -> float:
    return float(lab.ssh(host, command, user=user)) - datetime.now().timestamp()


# Machines


def test_machines_have_debian_and_systemd_and_no_python(lab: Lab) -> None:
    assert "bookworm" in lab.ssh("infra1", "cat /etc/os-release")
    assert lab.ssh("infra1", "cat /proc/1/comm") == "systemd\n"
    assert lab.ssh("infra1", "systemctl is-system-running --wait") == "running\n"
    assert lab.ssh("infra1", "ls /usr/bin | grep -c ^python || true") == "0\n"
    lab.keep_machines()


@pytest.mark.parametrize("user", USERS)
def test_each_user_logs_in_with_the_operators_key(lab: Lab, user: str) -> None:
    assert lab.ssh("infra2", "id -un", user=user) == f"{user}\n"
    lab.keep_machines()


def test_sudo_works_for_admin_needs_a_password_for_oper_and_refuses_nosudo(lab: Lab) -> None:
    assert lab.ssh("infra1", "sudo -n id -un", user="admin") == "root\n"
    assert lab.ssh("infra1", "sudo -S -p '' id -un", user="oper", stdin=f"{OPER_PASSWORD}\n") == "root\n"
    for user in ("oper", "nosudo"):
        with pytest.raises(LabError, match="password is required"):
            lab.ssh("infra1", "sudo -n id -un", user=user)
    lab.keep_machines()


def test_host_keys_are_checked(lab: Lab, machines: list[Machine]) -> None:
    machines[0].run("cd /etc/ssh; rm ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key")
    with pytest.raises(LabError, match="HOST IDENTIFICATION HAS CHANGED"):
        lab.ssh("infra1", "true")


def test_each_systemd_sees_only_its_own_processes(lab: Lab, machines: list[Machine]) -> None:
    """With shared control groups, one machine's systemd would stop services of another machine."""
    for machine in machines:
        machine.run("systemd-run -q --unit=nap sleep 300")
    machines[0].run("systemctl stop nap")
    assert [machine.run("systemctl is-active nap", check=False).stdout for machine in machines] == [
        "inactive\n", "active\n", "active\n",
    ]  # fmt: skip


def test_debian_packages_install_without_a_network(lab: Lab, machines: list[Machine]) -> None:
    assert machines[0].run("apt-get update", check=False).stdout != ""
    lab.serve_packages()
    machines[0].run("apt-get -qq update && apt-get -qq install -y etcd-server etcd-client")
    assert "3.4.23" in lab.ssh("infra1", "etcd --version")


# Power


def test_a_power_cut_keeps_the_disk_and_a_reset_does_not(lab: Lab, machines: list[Machine]) -> None:
    machine = machines[0]
    machine.write("/var/lib/kept", "here\n", mode="600")
    machine.kill()
    assert not machine.is_on()
    assert not can_reach(lab, machine.address)
    assert (machine.root / "var/lib/kept").read_text() == "here\n"
    machine.start()
    machine.wait_ssh()
    assert lab.ssh("infra1", "stat -c %a /var/lib/kept; cat /var/lib/kept") == "600\nhere\n"
    machine.reset()
    machine.wait_ssh()
    assert lab.ssh("infra1", "ls /var/lib/kept || echo gone").endswith("gone\n")


@pytest.mark.full
def test_many_reboots_in_a_row(lab: Lab, machines: list[Machine]) -> None:
    machines[1].small_disk("/srv/small", 16)
    for count in range(5):
        machines[1].run(f"touch /srv/small/{count}")
        machines[1].reboot()
    assert lab.ssh("infra2", "ls /srv/small").split() == ["0", "1", "2", "3", "4", "lost+found"]


def test_a_machine_just_started_can_lose_its_power(machines: list[Machine]) -> None:
    for _ in range(10):
        machines[0].kill()
        machines[0].start()
    machines[0].wait_ssh()


def test_an_orderly_shutdown_stops_services(machines: list[Machine]) -> None:
    machine = machines[2]
    machine.run("systemd-run -q --unit=nap -p ExecStopPost='/bin/touch /var/lib/stopped' sleep 300")
    machine.shut_down()
    assert not machine.is_on()
    assert (machine.root / "var/lib/stopped").exists()


def test_a_reset_removes_added_machines_and_changes() -> None:
    with Lab(machines=1) as lab:
        assert lab.ssh(lab.add_machine().name, "hostname") == "infra2\n"
        lab.reset()
        assert [machine.name for machine in lab] == ["infra1"]
        assert not can_reach(lab, "192.168.8.67", timeout_s=0.2)
        lab.machines[0].write("/root/kept", "here")
        lab.keep_machines()
        lab.reset_changed()
        assert lab.machines[0].read("/root/kept") == "here"
        lab.reset_changed()
        lab.wait_ssh()
        assert lab.machines[0].run("ls -A /root/kept", check=False).stdout == ""


# Network


def test_a_machine_that_is_cut_off_hangs_until_it_is_reconnected(lab: Lab, machines: list[Machine]) -> None:
    machines[0].cut_off()
    assert not can_reach(lab, machines[0].address)
    assert machines[0].run("systemctl is-active ssh").stdout == "active\n"
    machines[0].reconnect()
    machines[0].wait_ssh(5)
    lab.keep_machines()


def test_a_machine_is_cut_off_from_one_machine_only(lab: Lab, machines: list[Machine]) -> None:
    one, other, third = machines
    one.cut_off_from(other)
    ping = "ping -q -c 1 -W 1"
    assert one.run(f"{ping} {other.address}", check=False).returncode != 0
    assert other.run(f"{ping} {one.address}", check=False).returncode != 0
    assert third.run(f"{ping} {one.address}").returncode == 0
    assert can_reach(lab, one.address)
    one.reconnect()
    assert other.run(f"{ping} {one.address}").returncode == 0
    lab.keep_machines()


@pytest.mark.alone
def test_a_slow_link_delays_both_directions_and_drops_packets(lab: Lab, machines: list[Machine]) -> None:
    machines[0].slow(delay_ms=40)
    started = time.monotonic()
    assert can_reach(lab, machines[0].address)
    assert 0.075 < time.monotonic() - started < 0.25
    assert lab.ssh("infra1", "head -c 20000000 /dev/zero | sha1sum", stdin="x" * 5_000_000)
    machines[0].slow(delay_ms=0, loss=0.5)
    pings = machines[1].run(f"ping -q -i 0.01 -c 100 {machines[0].address}", check=False).stdout
    assert "packet loss" in pings
    assert " 0% packet loss" not in pings
    machines[0].reconnect()
    assert " 0% packet loss" in machines[1].run(f"ping -q -i 0.01 -c 20 {machines[0].address}").stdout


def test_nothing_leaves_the_namespace(lab: Lab) -> None:
    assert lab.ssh("infra1", "ip route").splitlines() == [
        "192.168.8.0/24 dev host0 proto kernel scope link src 192.168.8.66 "
    ]
    assert lab.run(["ip", "route", "show", "default"]).stdout == ""
    lab.keep_machines()


# Disk


@pytest.mark.parametrize("running", [True, False])
def test_a_small_disk_is_filled_and_freed(machines: list[Machine], running: bool) -> None:
    machine = machines[0]
    if not running:
        machine.kill()
    machine.small_disk("/var/lib/etcd", 32)
    if not running:
        machine.start()
    machine.fill_disk("/var/lib/etcd")
    full = machine.run("head -c 100000 /dev/zero > /var/lib/etcd/data", check=False)
    assert "No space left on device" in full.stderr
    machine.free_disk("/var/lib/etcd")
    machine.run("head -c 100000 /dev/zero > /var/lib/etcd/data")
    with pytest.raises(LabError, match="is not a small disk"):
        machine.fill_disk("/var/lib")


# Clock


def test_a_shifted_clock_applies_over_ssh_and_under_sudo(lab: Lab, machines: list[Machine]) -> None:
    machines[0].shift_clock(-3600)
    assert read_clock_offset(lab, "infra1") == pytest.approx(-3600, abs=5)
    assert read_clock_offset(lab, "infra1", "sudo date +%s", user="admin") == pytest.approx(-3600, abs=5)
    assert read_clock_offset(lab, "infra1", "sh -c 'date +%s'", user="oper") == pytest.approx(-3600, abs=5)
    assert read_clock_offset(lab, "infra2") == pytest.approx(0, abs=5)
    machines[0].shift_clock(0.5)
    assert read_clock_offset(lab, "infra1", "date +%s.%N") == pytest.approx(0.5, abs=0.3)
    machines[0].shift_clock(0)
    assert read_clock_offset(lab, "infra1") == pytest.approx(0, abs=5)
    lab.keep_machines()


# The operator's side


def test_a_command_has_status_output_environment_and_user(lab: Lab) -> None:
    script = "cat; echo $WORD; id -un; exit 3"
    user = "nobody"
    done = lab.run(["sh", "-c", script], env={"WORD": "x"}, user=user, stdin="in\n")
    assert (done.returncode, done.stdout) == (3, f"in\nx\n{user}\n")
    lab.keep_machines()


def test_popen_has_the_pid_of_the_command(lab: Lab) -> None:
    with lab.popen(["sh", "-c", "echo $$; exec sleep 30"]) as process:
        pid = _first_line(process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert pid == str(process.pid)
    lab.keep_machines()


def test_a_folder_is_served_until_the_server_is_stopped(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("served\n")
    with lab.http_server(tmp_path) as server:
        with lab.inside(), urllib.request.urlopen(f"{server.url}file", timeout=5) as answer:
            assert answer.read() == b"served\n"
        assert server.requests == ["/file"]
    with lab.inside(), pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{server.url}file", timeout=5)
    lab.keep_machines()


# What is left on the computer


def test_nothing_is_left_after_the_end() -> None:
    with Lab(machines=1) as lab:
        lab_id = lab.workspace.lab_id
        lab.machines[0].small_disk("/srv/small", 8)
        lab.machines[0].slow(1)
        lab.popen(["sh", "-c", "sleep 300 & sleep 300"])
        assert len(find_traces(lab_id)) > 4
    assert find_traces(lab_id) == []


def test_nothing_is_left_after_an_exception() -> None:
    lab_id = ""
    with pytest.raises(KeyboardInterrupt), Lab(machines=1) as lab:  # noqa: PT012
        lab_id = lab.workspace.lab_id
        raise KeyboardInterrupt
    assert lab_id
    assert find_traces(lab_id) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_after_a_signal(number: signal.Signals) -> None:
    with _start_sleeper() as process:
        lab_id = _first_line(process)
        process.send_signal(number)
        process.wait(20)
    assert find_traces(lab_id) == []


@pytest.mark.alone  # each new lab removes the rests of dead ones
def test_the_next_lab_removes_what_a_killed_lab_left(lab: Lab) -> None:
    with _start_sleeper() as process:
        lab_id = _first_line(process)
        process.kill()
    assert len(find_traces(lab_id)) > 4
    with Lab(machines=0):
        assert find_traces(lab_id) == []
    assert lab.ssh("infra1", "hostname") == "infra1\n"  # the running lab is not affected


def _start_sleeper() -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", SLEEPER], cwd=root, env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
