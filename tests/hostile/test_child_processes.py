"""Child processes get no secrets of etcdup, and only sudo of the system gets the sudo password."""

import asyncio
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import UnreachableError
from etcdup.ops.install.command import run
from etcdup.ops.operator_command import MOST_BYTES, SecretCommandError, first_line
from etcdup.remote import scripts
from etcdup.remote.host import Result
from etcdup.remote.local import LocalHost
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.dial import dial
from etcdup.remote.sudo import Execute, RawResult, become_root
from tests.support.texts import Texts

SECRETS = {
    "ETCDUP_SUDO_PASSWORD": "hunter2-sudo",
    "ETCDUP_CA_PASSPHRASE": "hunter2-ca",
    "ETCDUP_SSH_PASSPHRASE": "hunter2-ssh",
    "AWS_SECRET_ACCESS_KEY": "hunter2-aws",
    "VAULT_TOKEN": "hunter2-vault",
    "ETCD_NAME": "hunter2-etcd",
    "LD_PRELOAD_": "hunter2-preload",
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")


def test_a_local_host_and_a_tool_get_an_allow_list() -> None:
    ended: Result = asyncio.run(LocalHost("here").run(("env",)))
    for shown in (ended.stdout, asyncio.run(run(["env"])).stdout):
        assert "hunter2" not in shown
        names = {line.partition("=")[0] for line in shown.splitlines()}
        assert {"PATH", "HOME", "HTTPS_PROXY"} <= names


def test_the_command_of_the_operator_gets_no_secret_of_etcdup(tmp_path: Path) -> None:
    shown = first_line("key", "sh -c 'env | tr \\\\n ,'", tmp_path)
    assert "hunter2-vault" in shown
    assert not [name for name in SECRETS if name.startswith("ETCDUP_") and SECRETS[name] in shown]


@pytest.mark.parametrize(
    "command",
    [
        "head -c 10000000 /dev/zero",
        "yes hunter2",
        "sh -c 'echo hunter2; exec sleep 60'",
        "sh -c 'echo hunter2; exec >&-; exec sleep 60'",
        "sh -c 'sleep 60 & echo hunter2'",
        "sh -c 'echo hunter2; exit 3'",
        "sh -c 'echo hunter2; kill -9 $$'",
        "printf 'hunter2\\0'",
        "printf 'hunter2\\377'",
        "hunter2",
        "echo hunter2 '",
        "echo hunter2\0",
    ],
)
def test_a_command_that_prints_a_secret_is_bounded(texts: Texts, command: str, tmp_path: Path) -> None:
    """No error has what it printed."""
    began = time.monotonic()
    with pytest.raises(SecretCommandError) as failed:
        first_line("etcd.access.password_command", command, tmp_path, timeout_s=0.5)
    texts(failed.value)
    assert "hunter2" not in str(failed.value)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("printf 'one\\ntwo\\n'", "one"),
        ("printf 'one\\r\\n'", "one"),
        ("printf one", "one"),
        ("echo '$(touch injected); `id`'", "$(touch injected); `id`"),
        (f"sh -c 'head -c {MOST_BYTES} /dev/zero | tr \\\\0 x'", "x" * MOST_BYTES),
    ],
)
def test_the_first_line_is_the_secret(command: str, line: str, tmp_path: Path) -> None:
    assert first_line("key", command, tmp_path) == line
    assert not any(tmp_path.iterdir())


async def test_a_proxy_command_gets_no_secret_of_etcdup(tmp_path: Path) -> None:
    shown, words, key = tmp_path / "shown", tmp_path / "words", tmp_path / "key"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    await asyncio.to_thread(subprocess.run, make, check=True)
    command = f"tr '\\0' '\\n' </proc/self/environ >{shown}; tr '\\0' ' ' </proc/$PPID/cmdline >{words}"
    config = tmp_path / "config"
    config.write_text(
        f'Host *\n  ProxyCommand sh -c "{command}"\n  IdentityFile {key}\n  IdentitiesOnly yes\n'
    )
    host = HostSpec(name="infra1", address="10.0.0.1")
    with pytest.raises(UnreachableError):
        await dial(host, SshSpec(user="root", config_file=str(config)), secrets=Secrets(None))
    environment = shown.read_text()
    assert "hunter2-aws" in environment, "it is a command of the operator"
    assert not [name for name in SECRETS if name.startswith("ETCDUP_") and SECRETS[name] in environment]
    assert "hunter2" not in words.read_text()


@pytest.mark.parametrize("wrap", [scripts.by_sudo, scripts.by_sudo_with_password])
def test_the_path_of_a_login_does_not_choose_sudo(
    tmp_path: Path, wrap: Callable[[Sequence[str]], tuple[str, ...]]
) -> None:
    taken = tmp_path / "taken"
    for name in ("sudo", "env"):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat >{taken}\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    line = f"exec {shlex.join(wrap(('true',)))}"
    subprocess.run(["sh", "-c", line], env=environment, input=b"password\n", timeout=30, check=False)
    assert not taken.exists()


async def test_each_host_gets_its_own_sudo_password() -> None:
    """A host that takes passwords requires one, and keeps what it gets."""
    given: dict[str, bytes] = {}

    def host(name: str) -> Execute:
        async def execute(argv: Sequence[str], stdin: bytes) -> RawResult:
            given[name] = given.get(name, b"") + stdin
            return RawResult(0 if stdin else 1, b"", b"sudo: a password is required")

        return execute

    environ = {"ETCDUP_SUDO_PASSWORD_INFRA1": "hunter2-one", "ETCDUP_SUDO_PASSWORD_INFRA2": "hunter2-two"}
    for name in ("infra1", "infra2"):
        await become_root(name, "admin", host(name), Secrets(environ=environ))
    assert b"hunter2-one" in given["infra1"]
    assert b"hunter2-two" not in given["infra1"]
    assert b"hunter2-one" not in given["infra2"]
