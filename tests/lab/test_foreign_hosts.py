"""Hosts as other people have built them: etcdup works on them, or refuses before it writes anything, with the cure.

The recipes of one test run one after the other on the same machines, because new machines take longer.
"""

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
    user: str = "root"


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
GREETINGS = {
    "infra1": "sed -i '1i echo Authorised use only; echo again; echo err >&2' /root/.bashrc",
    "infra2": "printf 'echo @machine\\necho @ready\\necho locked\\n' >/etc/ssh/sshrc",
    "infra3": "sed -i '1i printf locked' /root/.bashrc",
}


def test_logins_that_run_no_commands_and_logins_that_greet(operator: Operator, lab: Lab) -> None:
    operator.write(install=path_install(VERSION))
    for recipe in LOGINS:
        expect_refusal(operator, recipe)
    for name, command in GREETINGS.items():
        lab[name].run(command)
    operator.apply()
    done = operator.run("certs", "list")
    assert done.returncode == 0, output_of(done)
    assert "does not reach" not in operator.run("check").stdout


def test_sshd_without_forwarding(operator: Operator, lab: Lab) -> None:
    """The port of each member is used directly. If that is not possible either, plan and apply refuse."""
    operator.write(install=path_install(VERSION))
    strict = "printf 'AllowTcpForwarding no\n' >/etc/ssh/sshd_config.d/00-hard.conf; systemctl reload ssh"
    lab.each(lambda machine: machine.run(strict))
    closed = Recipe(
        "no forwarding, and a firewall",
        "nft add table inet own; nft add chain inet own in '{ type filter hook input priority 0; }';"
        " nft add rule inet own in ip saddr 192.168.8.1 tcp dport 2379 drop",
        "nft delete table inet own",
        ("infra2", "forbids forwarding", "does not reach", "AllowTcpForwarding yes"),
    )
    if lab["infra2"].run("command -v nft", check=False).returncode == 0:
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
)


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
