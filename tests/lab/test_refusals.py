"""Refusals of apply on real machines: an error with a hint, the exit code, and no change on any host."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import OPER_PASSWORD
from tests.lab.operator import Operator, host_traces, output_of
from tests.lab.test_bootstrap import PROVIDED, issue_provided, path_install
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_certs import Authority

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


@dataclass(frozen=True)
class Case:
    """`prepare` causes the fault and returns changes of cluster.yaml. The error must contain all `texts`.

    `undo` repairs the machines. Without it, the machines are reset.
    """

    prepare: Callable[[Operator], dict[str, str]]
    status: int
    texts: tuple[str, ...]
    undo: Callable[[Operator], object] | None = lambda _: None


def unknown_host_key(operator: Operator) -> dict[str, str]:
    own = operator.folder / "known_hosts"
    lines = operator.lab.known_hosts.read_text().splitlines(keepends=True)
    address = operator.lab["infra2"].address
    own.write_text("".join(line for line in lines if address not in line))
    return {"known_hosts": str(own)}


def changed_host_key(operator: Operator) -> dict[str, str]:
    own = operator.folder / "known_hosts"
    other = next(line for line in lines_of(operator, "infra1"))
    kept = [
        line
        for line in operator.lab.known_hosts.read_text().splitlines()
        if line not in lines_of(operator, "infra2")
    ]
    own.write_text("\n".join([*kept, f"{operator.lab['infra2'].address} {other.split(' ', 1)[1]}"]) + "\n")
    return {"known_hosts": str(own)}


def lines_of(operator: Operator, name: str) -> list[str]:
    address = operator.lab[name].address
    return [
        line for line in operator.lab.known_hosts.read_text().splitlines() if address in line.split(" ")[0]
    ]


def wrong_key(operator: Operator) -> dict[str, str]:
    key = operator.folder / "other"
    done = operator.lab.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    assert done.returncode == 0
    return {"identity_file": str(key)}


def closed_port(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].run("systemctl stop ssh.socket ssh.service")
    return {}


def open_port(operator: Operator) -> None:
    operator.lab["infra2"].run("systemctl start ssh.service")


def cut_off(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].cut_off()
    return {"ssh": "connect_timeout: 3s"}


def reconnect(operator: Operator) -> None:
    operator.lab["infra2"].reconnect()


def no_sudo(operator: Operator) -> dict[str, str]:
    operator.env["ETCDUP_SUDO_PASSWORD"] = "anything"
    return {"user": "nosudo", "ssh": "sudo: true"}


def wrong_sudo_password(operator: Operator) -> dict[str, str]:
    operator.env["ETCDUP_SUDO_PASSWORD"] = OPER_PASSWORD + "x"
    return {"user": "oper", "ssh": "sudo: true"}


def not_root(operator: Operator) -> dict[str, str]:
    return {"user": "admin"}


def no_space_for_data(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].small_disk("/var/lib/etcd", 64)
    return {}


def no_space_for_binaries(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].small_disk("/opt", 32)
    return {}


def taken_port(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].run(
        "systemd-socket-activate --listen=0.0.0.0:2380 /bin/cat >/dev/null 2>&1 & sleep 0.5"
    )
    return {}


def foreign_data(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].run(
        "mkdir -p /var/lib/etcd/member/wal && echo precious > /var/lib/etcd/member/wal/0.wal"
    )
    return {}


def remove_data(operator: Operator) -> None:
    operator.lab["infra2"].run("rm -r /var/lib/etcd")


def foreign_etcd(operator: Operator) -> dict[str, str]:
    """Install Debian's etcd package, which starts a single node."""
    operator.lab.serve_packages()
    operator.lab["infra2"].run("apt-get update -q && apt-get install -q -y etcd-server", timeout_s=180)
    return {}


def wrong_clock(operator: Operator) -> dict[str, str]:
    operator.lab["infra2"].shift_clock(3600)
    return {}


def correct_clock(operator: Operator) -> None:
    operator.lab["infra2"].shift_clock(0)


def missing_address(operator: Operator) -> dict[str, str]:
    issue_provided(operator.lab, operator.folder)
    authority = Authority("kubernetes")
    addresses = [machine.address for machine in operator.lab][:2]
    authority.issue("kubernetes", [*addresses, "127.0.0.1"]).write(operator.folder, "kubernetes")
    (operator.folder / "ca.pem").write_bytes(authority.pem)
    return {"more": PROVIDED}


def expired_certs(operator: Operator) -> dict[str, str]:
    authority = Authority("kubernetes")
    addresses = [*(machine.address for machine in operator.lab), "127.0.0.1"]
    authority.issue("kubernetes", addresses, days=-1).write(operator.folder, "kubernetes")
    (operator.folder / "ca.pem").write_bytes(authority.pem)
    return {"more": PROVIDED}


def no_such_version(operator: Operator) -> dict[str, str]:
    mirror = operator.lab.http_server(operator.folder)
    checksum = f"sha256: {{amd64: '{'0' * 64}'}}"
    return {"version": "3.6.99", "install": f"from: release, mirror: '{mirror.url}', {checksum}"}


def other_version_in_folder(operator: Operator) -> dict[str, str]:
    return {"version": "3.6.13", "install": f"from: path, path: {etcd_binaries(VERSION)}"}


def bad_version(operator: Operator) -> dict[str, str]:
    mirror = operator.lab.http_server(operator.folder)
    return {"version": "3.5.2", "install": f"from: release, mirror: '{mirror.url}'"}


CASES = {
    "unknown host key": Case(unknown_host_key, 4, ("infra2", "not in known_hosts", "etcdup trust")),
    "changed host key": Case(changed_host_key, 4, ("infra2", "changed", "ssh-keygen -R")),
    "wrong key": Case(wrong_key, 4, ("root", "infra1", "infra2", "infra3")),
    "closed port": Case(closed_port, 4, ("infra2", "refused"), open_port),
    "cut off": Case(cut_off, 4, ("infra2",), reconnect),
    "no sudo": Case(no_sudo, 4, ("sudo", "nosudo")),
    "wrong sudo password": Case(wrong_sudo_password, 4, ("sudo", "password")),
    "not root": Case(not_root, 4, ("infra1, infra2, infra3: the SSH user admin is not root", "sudo: true")),
    "no space for data": Case(no_space_for_data, 4, ("infra2: /var/lib/etcd has ",), None),
    "no space for binaries": Case(no_space_for_binaries, 4, ("infra2: /opt/etcd has ",), None),
    "taken port": Case(taken_port, 4, ("infra2: port 2380 (peer) is in use by ",), None),
    "foreign data": Case(foreign_data, 4, ("infra2: /var/lib/etcd is not empty", "member"), remove_data),
    "foreign etcd": Case(foreign_etcd, 4, ("infra2: another etcd runs there", "etcd.service"), None),
    "wrong clock": Case(wrong_clock, 4, ("infra2: the clock is 36", "ahead of"), correct_clock),
    "a certificate without one address": Case(
        missing_address, 2, ("kubernetes.pem", "infra3", "192.168.8.68")
    ),
    "an expired certificate": Case(expired_certs, 2, ("kubernetes.pem", "expired")),
    "no such version": Case(no_such_version, 1, ("3.6.99", "404")),
    "another version in the folder": Case(other_version_in_folder, 1, ("3.6.13", "3.6.14")),
    "a version that loses data": Case(bad_version, 4, ("3.5.2", "must not be used")),
}


@pytest.mark.parametrize("name", CASES)
def test_a_refused_apply_has_a_hint_and_changes_nothing(
    operator: Operator, name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    operator.write(install=path_install(VERSION))
    changes = case.prepare(operator)
    if name in ("no such version", "a version that loses data"):
        operator.env["ETCDUP_CACHE"] = str(tmp_path / "cache")
    write_case(operator, changes)
    before = [host_traces(machine) for machine in operator.lab]
    done = operator.run("apply", "--yes")
    assert done.returncode == case.status, output_of(done)
    assert "Traceback" not in done.stderr
    assert [text for text in case.texts if text not in done.stderr] == [], output_of(done)
    assert "error: " in done.stderr
    assert "hint: " in done.stderr, output_of(done)
    assert [host_traces(machine) for machine in operator.lab] == before
    if case.undo is not None:
        case.undo(operator)
        operator.lab.keep_machines()


def write_case(operator: Operator, changes: dict[str, str]) -> None:
    arguments = {"install": path_install(VERSION)} | {
        key: value for key, value in changes.items() if key not in ("known_hosts", "identity_file")
    }
    operator.write(**arguments)
    text = operator.file.read_text()
    for key, now in (
        ("known_hosts", operator.lab.known_hosts),
        ("identity_file", operator.lab.identity_file),
    ):
        if key in changes:
            text = text.replace(f"{key}: {now}", f"{key}: {changes[key]}")
    operator.file.write_text(text)
