"""No key leaves the folders that are made for keys: looked for in every word said, every file and every argv."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.operator import Operator, said
from tests.lab.test_bootstrap import by_path
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


class ArgvWatch(threading.Thread):
    """Every command line on this computer, the machines' too, looked at again and again."""

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


def secrets_of(pki: Path) -> list[str]:
    """A line of each private key, from its middle: base64 that nothing else holds by chance."""
    return [key.read_text().splitlines()[1] for key in sorted(pki.rglob("*key.pem"))]


def test_no_key_in_any_word_file_or_argv(operator: Operator) -> None:
    operator.write(version=VERSION, install=by_path(VERSION))
    watch = ArgvWatch()
    watch.start()
    words = [operator.apply()]
    _, second, third = operator.lab.machines
    second.run("chmod 644 /etc/etcd/pki/*-key.pem; chown root:root /etc/etcd/pki/server-key.pem")
    third.run("rm /etc/etcd/pki/peer-key.pem; echo garbage >/etc/etcd/pki/server-key.pem")
    plan = operator.folder / "saved.plan"
    for verb in (
        ("plan", "--out", str(plan)), ("plan", "--json"), ("check",), ("check", "--json"), ("apply", "--yes"),
        ("certs", "list"), ("certs", "renew", "--days", "9999", "--yes"), ("status", "--json"), ("export", "env"),
    ):  # fmt: skip
        done = operator.run(*verb)
        words.append(said(done))
        assert "Traceback" not in done.stderr
    argvs = watch.end()
    assert b"etcdup-probe" in argvs, "the watch saw our commands"
    assert (
        second.run("stat -c '%a %U:%G' /etc/etcd/pki/*-key.pem").stdout.split("\n")[:-1]
        == ["600 etcd:etcd"] * 3
    )

    secrets = secrets_of(operator.folder / "pki")
    assert len(secrets) >= 11, "a CA, three a member, the operator's own"
    assert all(len(secret) == 64 for secret in secrets)
    places = {
        "output": "\n".join(words),
        "argv": argvs.decode(errors="replace"),
        **{
            str(file): file.read_text(errors="replace")
            for file in operator.folder.rglob("*")
            if file.is_file() and "pki" not in file.parts
        },
        **{f"journal of {each.name}": each.run("journalctl --no-pager").stdout for each in operator.lab},
    }
    assert any(name.endswith(".jsonl") for name in places)
    assert str(plan) in places
    marks = [*secrets, "PRIVATE KEY"]
    assert [(name, mark) for name, text in places.items() for mark in marks if mark in text] == []
    for machine in operator.lab:
        left = machine.run(
            "grep -rlIs 'PRIVATE KEY' /etc /run /tmp /var /root /home /opt | grep -v -e ^/etc/etcd/pki/ -e ^/etc/ssh/",
            check=False,
        )
        assert left.stdout == ""
