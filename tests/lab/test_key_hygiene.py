"""Private keys exist only in the folders for keys: not in output, other files, journals or command lines."""

import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from pyrage import x25519

from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


class ArgvWatch(threading.Thread):
    """Collects all command lines on this computer, those of the machines too."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    self.seen.add((process / "cmdline").read_bytes())

    def end(self) -> bytes:
        self._over.set()
        self.join()
        return b"\n".join(self.seen)


def secrets_of(pki: Path) -> set[str]:
    """Return one line from the middle of each private key: base64 that no other file contains by chance."""
    return {key.read_text().splitlines()[1] for key in pki.rglob("*key.pem")}


PASSPHRASE = "correct horse battery"
ANY_KEY = "PRIVATE KEY"


def all_verbs(plan: Path, identity: Path) -> list[tuple[str, ...]]:
    """Return commands that change and inspect a cluster."""
    return [
        ("plan", "--out", str(plan)), ("plan", "--json"), ("check",), ("check", "--json"), ("apply", "--yes"),
        ("certs", "list"), ("certs", "renew", "--days", "9999", "--yes"), ("status", "--json"),
        ("export", "env"), ("export", "kubeadm"), ("export", "kube-apiserver"),
        ("certs", "issue", "app"), ("certs", "issue", "app", "--renew", "--json"), ("certs", "forget", "app"),
        ("backup", "now"), ("backup", "drill", "--identity", str(identity)),
        ("restore", "latest", "--identity", str(identity), "--yes-restore", "prod"),
        ("certs", "rotate-ca", "--yes"), ("certs", "list", "--json"),
    ]  # fmt: skip


@pytest.mark.full
def test_no_key_is_in_any_output_file_or_command_line(operator: Operator) -> None:
    identity, age = operator.folder / "identity.txt", x25519.Identity.generate()
    identity.write_text(f"{age}\n")
    operator.env["ETCDUP_CA_PASSPHRASE"] = PASSPHRASE
    backup = f"backup: {{encrypt_to: {age.to_public()}}}\n"
    operator.write(version=VERSION, install=path_install(VERSION), more=backup)
    watch = ArgvWatch()
    watch.start()
    outputs = [operator.apply()]
    secrets = {PASSPHRASE, str(age)} | secrets_of(operator.folder / "pki")
    assert len(secrets) >= 2 + 11, "the CA key, three keys of each member, the operator's key"
    _, second, third = operator.lab.machines
    second.run("chmod 644 /etc/etcd/pki/*-key.pem; chown root:root /etc/etcd/pki/server-key.pem")
    third.run("rm /etc/etcd/pki/peer-key.pem; echo garbage >/etc/etcd/pki/server-key.pem")
    (operator.folder / "pki/ca-key.pem").chmod(0o644)
    plan = operator.folder / "saved.plan"
    for verb in all_verbs(plan, identity):
        done = operator.run(*verb)
        outputs.append(output_of(done))
        assert "Traceback" not in done.stderr
        assert done.returncode in ((0, 1) if verb[0] == "check" else (0,)), output_of(done)
        secrets |= secrets_of(operator.folder / "pki")
    third.run("systemctl kill -s KILL etcd; rm -rf /var/lib/etcd/member")
    done = operator.run("member", "replace", "infra3", "--yes")
    assert done.returncode == 0, output_of(done)
    outputs.append(output_of(done))
    argvs = watch.end()
    assert b"etcdup-probe" in argvs, "the watch must see the commands of etcdup"
    assert (
        second.run("stat -c '%a %U:%G' /etc/etcd/pki/*-key.pem").stdout.split("\n")[:-1]
        == ["600 etcd:etcd"] * 3
    )
    assert "ca-key.pem is accessible to other users (mode 0644): its mode is now 0600" in "".join(outputs)
    assert stat.S_IMODE((operator.folder / "pki/ca-key.pem").stat().st_mode) == 0o600

    secrets |= secrets_of(operator.folder / "pki")
    assert len(secrets) >= 2 + 11 + 3, "two keys of the consumer, the key of the new CA"
    places = {
        "output": "\n".join(outputs),
        "argv": argvs.decode(errors="replace"),
        **{
            str(file): file.read_text(errors="replace")
            for file in operator.folder.rglob("*")
            if file.is_file() and "pki" not in file.parts and file != identity
        },
        **{f"journal of {each.name}": each.run("journalctl --no-pager").stdout for each in operator.lab},
    }
    assert any(name.endswith(".jsonl") for name in places)
    assert str(plan) in places
    texts = [*secrets, ANY_KEY]
    assert [(name, text) for name, content in places.items() for text in texts if text in content] == []
    for machine in operator.lab:
        assert find_on(machine, sorted(secrets), "/opt") == []
        assert find_on(machine, texts) == []


def find_on(machine: Machine, texts: Sequence[str], *more: str) -> list[str]:
    """Return the files with one of the texts, outside the folders for keys. Binary files are searched too.

    /opt is not searched for ANY_KEY, because the etcd binary contains that text.
    """
    folders = " ".join(("/etc", "/run", "/tmp", "/var", "/root", "/home", *more))
    done = machine.run(f"grep -raFls -f - -- {folders}", stdin="\n".join(texts), check=False)
    found = done.stdout.splitlines()
    assert any(path.startswith("/etc/etcd/pki/") for path in found), (
        "the search must find the keys in their folder"
    )
    return [path for path in found if not path.startswith(("/etc/etcd/pki/", "/etc/ssh/"))]
