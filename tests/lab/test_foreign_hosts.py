"""Hosts as other people have built them: etcdup works on them, or it refuses with a hint before it writes anything.

The recipes of one test run one after the other on the same machines, because new machines take longer.
"""

import json
from dataclasses import dataclass

import pytest

from tests.lab.lab import Lab
from tests.lab.operator import Operator, host_traces, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


@dataclass(frozen=True)
class Recipe:
    """`make` and `undo` are shell commands on infra2. A refusal must contain all `texts`."""

    name: str
    make: str
    undo: str
    texts: tuple[str, ...]


def expect_refusal(operator: Operator, recipe: Recipe) -> None:
    """Require that plan and apply refuse with these texts and a hint, and that no file of any host changes."""
    operator.lab["infra2"].run(recipe.make)
    before = [host_traces(machine) for machine in operator.lab]
    for words in (("plan",), ("apply", "--yes")):
        done = operator.run(*words)
        said = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 4, f"{recipe.name}: {output_of(done)}"
        assert [text for text in recipe.texts if text not in said] == [], f"{recipe.name}: {output_of(done)}"
        assert "hint: " in said, output_of(done)
        assert "Traceback" not in said
    assert [host_traces(machine) for machine in operator.lab] == before, recipe.name
    operator.lab["infra2"].run(recipe.undo)


KEYS = "/root/.ssh/authorized_keys"
FORCED = 'no-pty,command=\\"echo Please log in as debian rather than root.; exit 142\\" ssh-'
LOGINS = (
    Recipe(
        "a forced command of a cloud image",
        f'cp -p {KEYS} /root/keys; sed -i "s/^ssh-/{FORCED}/" {KEYS}',
        f"mv /root/keys {KEYS}",
        ("infra2", "Please log in as debian rather than root.", "ssh.user: debian"),
    ),
    Recipe(
        "an expired password",
        "chage -d 0 root",
        "chage -d -1 root",
        ("infra2", "Your password has expired", "chage -d -1 root"),
    ),
    Recipe(
        "nologin",
        "usermod -s /usr/sbin/nologin root",
        "usermod -s /bin/bash root",
        ("infra2", "This account is currently not available", "chsh -s /bin/sh root"),
    ),
    Recipe(
        "a restricted shell",
        "ln -s /bin/bash /bin/rbash2; ln -sf bash /bin/rbash; usermod -s /bin/rbash root",
        "usermod -s /bin/bash root; rm /bin/rbash2",
        ("infra2", "restricted", "exec sh"),
    ),
)
# What hosts print at each login: .bashrc, sshrc, and lines that look like the output of the probe and of the lock.
# The umask of the login changes no mode of a directory that etcdup makes.
GREETINGS = {
    "infra1": "sed -i '1i umask 077; echo Authorised use only; echo again; echo err >&2' /root/.bashrc",
    "infra2": "printf 'echo @machine\\necho @ready\\necho locked\\n' >/etc/ssh/sshrc",
    "infra3": "sed -i '1i printf locked' /root/.bashrc",
}


@pytest.mark.in_turn(0, 5)
def test_logins_that_run_no_commands_and_logins_that_greet(operator: Operator, lab: Lab) -> None:
    operator.write(install=path_install(VERSION))
    for recipe in LOGINS:
        expect_refusal(operator, recipe)
    for name, command in GREETINGS.items():
        lab[name].run(command)
    operator.apply()
    done = operator.run("certs", "list")
    assert done.returncode == 0, output_of(done)
    checked = json.loads(operator.run("check", "--json").stdout)
    assert "port-unreachable" not in {finding["code"] for finding in checked["findings"]}


@pytest.mark.in_turn(1, 5)
def test_sshd_without_forwarding(operator: Operator, lab: Lab) -> None:
    """The port of each member is used directly. If that is not possible either, plan and apply refuse."""
    operator.write(install=path_install(VERSION))
    strict = "printf 'AllowTcpForwarding no\n' >/etc/ssh/sshd_config.d/00-hard.conf; systemctl reload ssh"
    lab.each(lambda machine: machine.run(strict))
    closed = Recipe(
        "no forwarding, and a firewall",
        # Answers from the port are dropped, as a firewall would drop the requests.
        "ip rule add ipproto 6 sport 2379 to 192.168.8.1 blackhole",
        "ip rule delete ipproto 6 sport 2379 to 192.168.8.1 blackhole",
        ("infra2", "forbids forwarding", "does not reach", "AllowTcpForwarding yes"),
    )
    expect_refusal(operator, closed)
    operator.apply()
    operator.health()
    operator.file.write_text(operator.file.read_text() + "etcd: {quota: 4GiB}\n")
    operator.apply()
    found = operator.run("check").stdout
    assert "handshake-failed" not in found
    assert operator.run("backup", "now").returncode == 0


PATHS = (
    Recipe(
        "the data directory is a link",
        "mkdir -p /data/etcd; ln -s /data/etcd /var/lib/etcd",
        "rm /var/lib/etcd; rm -r /data",
        ("infra2", "/var/lib/etcd is a link to /data/etcd"),
    ),
    Recipe(
        "/opt with noexec",
        "mount -t tmpfs -o noexec none /opt",
        "umount /opt",
        ("infra2", "noexec", "/opt/etcd"),
    ),
    Recipe(
        "/opt read-only",
        "mount -t tmpfs -o ro none /opt",
        "umount /opt",
        ("infra2", "/opt/etcd cannot be written", "read-only"),
    ),
    Recipe(
        "a directory of the same file system, mounted read-only",
        "mkdir /opt/etcd; mount --bind /opt/etcd /opt/etcd; mount -o remount,ro,bind /opt/etcd",
        "umount /opt/etcd; rmdir /opt/etcd",
        ("infra2", "a read-only file system is mounted on /opt/etcd", "mount -o remount,rw /opt/etcd"),
    ),
)


@pytest.mark.in_turn(2, 5)
def test_links_mounts_and_programs_of_the_operator(operator: Operator, lab: Lab) -> None:
    operator.write(install=path_install(VERSION))
    for recipe in PATHS:
        expect_refusal(operator, recipe)
    lab["infra1"].run(
        "printf '#!/bin/sh\\necho mine\\n' >/usr/local/bin/etcdctl; chmod +x /usr/local/bin/etcdctl"
    )
    assert "/usr/local/bin/etcdctl" in operator.run("plan").stdout
    operator.apply()
    assert lab["infra1"].run("etcdctl").stdout == "mine\n"
    done = operator.run("destroy", "--yes-destroy", "prod")
    assert done.returncode == 0, output_of(done)
    assert lab["infra1"].run("ls /usr/local/bin | grep etcd").stdout == "etcdctl\n"
    assert lab["infra2"].run("ls /usr/local/bin | grep etcd", check=False).stdout == ""


UNFIT = (
    Recipe(
        "a host without setpriv",
        "mv /usr/bin/setpriv /usr/bin/setpriv.off",
        "mv /usr/bin/setpriv.off /usr/bin/setpriv",
        ("infra2 has no setpriv", "install util-linux on infra2"),
    ),
    Recipe(
        "a file in the place of a directory",
        "touch /opt/etcd",
        "rm /opt/etcd",
        ("infra2", "/opt/etcd is not a directory"),
    ),
    Recipe(
        "a user etcd with the rights of root",
        "useradd --non-unique --uid 0 --gid 0 etcd",
        "sed -i '/^etcd:/d' /etc/passwd /etc/shadow",
        ("infra2: user etcd has the UID 0", "/etc/passwd on infra2"),
    ),
    Recipe(
        "a user etcd with the UID of another user",
        "useradd svc; useradd --non-unique --uid $(id -u svc) etcd",
        "userdel -f etcd; userdel -f svc",
        ("infra2: the users etcd and svc have the same UID", "usermod -u UID etcd"),
    ),
    Recipe(
        "a file of users that cannot be written",
        "mount --bind /etc/passwd /etc/passwd; mount -o remount,ro,bind /etc/passwd",
        "umount /etc/passwd",
        ("infra2: there is no user etcd, and /etc/passwd cannot be written", "chattr -i /etc/passwd"),
    ),
    Recipe(
        "a firewall between peers",
        # Answers from the port are dropped, as a firewall would drop the requests.
        "ip rule add ipproto 6 sport 2380 blackhole",
        "ip rule delete ipproto 6 sport 2380 blackhole",
        ("infra1, infra3 do not reach infra2", "TCP port 2380", "nft insert rule"),
    ),
    Recipe(
        "a drop-in of an older etcd",
        "mkdir -p /etc/systemd/system/etcd.service.d; "
        "printf '[Service]\\nEnvironment=ETCD_LOG_LEVEL=debug\\n' >/etc/systemd/system/etcd.service.d/10-old.conf",
        "rm -r /etc/systemd/system/etcd.service.d",
        ("infra2", "/etc/systemd/system/etcd.service.d/10-old.conf", "ETCD_LOG_LEVEL"),
    ),
    Recipe(
        "a variable of etcd in the environment of systemd",
        "systemctl set-environment ETCD_VERSION=3.6.14",
        "systemctl unset-environment ETCD_VERSION",
        ("infra2", "systemd gives ETCD_VERSION", "unset-environment"),
    ),
)


# On a member that is stopped.
STOPPED = (
    Recipe(
        "data that root copied back",
        "systemctl stop etcd; chown -R root:root /var/lib/etcd",
        "chown -R etcd:etcd /var/lib/etcd",
        (
            "infra2: user etcd cannot write the data",
            "belongs to root:root",
            "chown -R etcd:etcd /var/lib/etcd",
        ),
    ),
    Recipe(
        "data that is mounted read-only",
        "mount --bind /var/lib/etcd /var/lib/etcd; mount -o remount,ro,bind /var/lib/etcd",
        "umount /var/lib/etcd",
        ("infra2: /var/lib/etcd cannot be written", "remount,rw"),
    ),
    Recipe(
        "a marker that was deleted",
        "mv /etc/etcd/etcdup.json /root",
        "mv /root/etcdup.json /etc/etcd",
        ("infra2: the marker /etc/etcd/etcdup.json is missing", "from another host"),
    ),
)


@pytest.mark.in_turn(3, 5)
def test_programs_ports_and_settings_from_outside(operator: Operator, lab: Lab) -> None:
    operator.write(install=path_install(VERSION))
    for recipe in UNFIT:
        expect_refusal(operator, recipe)
    # Neither etcd nor its tools use the proxies and the variables of the hosts.
    proxies = "https_proxy=http://192.0.2.1:3128 HTTPS_PROXY=http://192.0.2.1:3128"
    tools = r"printf 'ETCDCTL_ENDPOINTS=https://127.0.0.1:2379\n%s\n' '{}' >>/etc/environment"
    lab.each(lambda machine: machine.run(f"systemctl set-environment {proxies}"))
    lab.each(lambda machine: machine.run(tools.format(proxies.replace(" ", r"\n"))))
    operator.apply()
    assert operator.run("certs", "list").returncode == 0
    checked = json.loads(operator.run("check", "--json").stdout)
    assert "port-unreachable" not in {finding["code"] for finding in checked["findings"]}
    # A drop-in that is made later is named, and restarts nothing.
    machine = lab["infra2"]
    machine.run(UNFIT[-2].make + "; systemctl daemon-reload")
    operator.file.write_text(operator.file.read_text() + "etcd: {quota: 4GiB}\n")
    operator.apply()
    started = machine.run("systemctl show etcd.service --property=InvocationID").stdout
    done = operator.run("plan")
    assert "ETCD_LOG_LEVEL" in done.stdout
    assert "10-old.conf" in done.stdout
    assert "settings-from-outside" in operator.run("check", "--json").stdout
    operator.apply()
    assert machine.run("systemctl show etcd.service --property=InvocationID").stdout == started
    machine.run(UNFIT[-2].undo + "; systemctl daemon-reload")
    for recipe in STOPPED:
        expect_refusal(operator, recipe)
    operator.apply()


@pytest.mark.in_turn(4, 5)
def test_addresses_become_names(operator: Operator, lab: Lab) -> None:
    operator.write(install=path_install(VERSION))
    operator.apply()
    by_address = operator.file.read_text()
    names = "".join(f"{each.address} {each.name}.lab.test\\n" for each in lab)
    by_name = by_address
    for each in lab:
        name = f"address: {each.name}.lab.test, listen_address: {each.address}, ssh_address: {each.address}"
        by_name = by_name.replace(f"address: {each.address}", name)
    operator.file.write_text(by_name)
    done = operator.run("apply", "--yes", "--consumers-have", "endpoints")
    assert done.returncode == 4, output_of(done)
    assert "/etc/hosts" in done.stderr
    lab.each(lambda machine: machine.run(f"printf '{names}' >>/etc/hosts"))
    operator.apply("--consumers-have", "endpoints")
    assert "infra1.lab.test:2380" in operator.ctl("member", "list")
    assert operator.run("certs", "list").returncode == 0
    operator.file.write_text(by_address)
    operator.apply("--consumers-have", "endpoints")
    operator.health()
