"""Child processes get no secrets of etcdup in their environment."""

import asyncio
from pathlib import Path

import pytest

from etcdup.ops.install.command import run
from etcdup.ops.pki.passphrase import _run_command
from etcdup.remote.host import Result
from etcdup.remote.local import LocalHost

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
    shown = _run_command("sh -c 'env | tr \\\\n ,'", tmp_path)
    assert "hunter2-vault" in shown
    assert not [name for name in SECRETS if name.startswith("ETCDUP_") and SECRETS[name] in shown]
