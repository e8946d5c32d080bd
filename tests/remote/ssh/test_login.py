"""Logins that must succeed, and logins that must fail with the reason, each with a real sshd."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import (
    ConnectFailed,
    HostKeyChanged,
    HostKeyUnknown,
    RemoteError,
)
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.known_hosts import add_to_known_hosts
from etcdup.remote.ssh.ssh import connect
from tests.support.sshd import Sshd, new_key, run_sshd, wait_for_file
from tests.support.texts import Texts

NOBODY_TO_ASK = Secrets(environ={})


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


async def log_in_and_echo(host: HostSpec, ssh: SshSpec, secrets: Secrets = NOBODY_TO_ASK) -> str:
    """Log in, run one command, and close the connection."""
    reached = await connect(host, ssh, secrets=secrets)
    try:
        return (await reached.run(["echo", "hello"])).stdout
    finally:
        await reached.close()


async def expect_refusal(host: HostSpec, ssh: SshSpec, secrets: Secrets = NOBODY_TO_ASK) -> RemoteError:
    """Return the error of a login that must fail."""
    with pytest.raises(RemoteError) as caught:
        await log_in_and_echo(host, ssh, secrets)
    assert caught.value.host == host.name
    assert host.name in caught.value.message
    assert caught.value.hint
    return caught.value


async def test_an_unknown_host_key_is_refused_and_shown(texts: Texts, sshd: Sshd, tmp_path: Path) -> None:
    error = await expect_refusal(sshd.host(), sshd.ssh(known_hosts=str(tmp_path / "none")))
    assert type(error) is HostKeyUnknown
    texts(error, OFFERED=fingerprint(sshd.folder / "host_key"), PORT=sshd.port)


async def test_an_offered_key_is_added_to_known_hosts(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "folder/known"
    known.parent.mkdir()
    known.write_text("# a comment without a line end")
    ssh = sshd.ssh(known_hosts=str(known))
    error = await expect_refusal(sshd.host(), ssh)
    assert isinstance(error, HostKeyUnknown)
    assert error.offered
    add_to_known_hosts(error.offered)
    assert await log_in_and_echo(sshd.host(), ssh) == "hello\n"
    assert len(known.read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_a_changed_host_key_is_another_error(
    texts: Texts, sshd: Sshd, tmp_path: Path, kind: str
) -> None:
    other = new_key(tmp_path, "other", kind=kind)
    known = tmp_path / "known"
    known.write_text(sshd.known_hosts_line(other))
    error = await expect_refusal(sshd.host(), sshd.ssh(known_hosts=str(known)))
    assert type(error) is HostKeyChanged
    offered = fingerprint(sshd.folder / "host_key")
    texts(error, KNOWN=fingerprint(other), OFFERED=offered, PORT=sshd.port)


async def test_a_revoked_host_key_is_never_trusted(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(sshd.known_hosts_line() + "@revoked " + sshd.known_hosts_line())
    assert type(await expect_refusal(sshd.host(), sshd.ssh(known_hosts=str(known)))) is HostKeyChanged


async def test_a_damaged_line_in_known_hosts_is_ignored(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"@nonsense\nword\n\n# a comment\n{sshd.known_hosts_line()}")
    assert await log_in_and_echo(sshd.host(), sshd.ssh(known_hosts=str(known))) == "hello\n"


@pytest.mark.parametrize("setting", ["UserKnownHostsFile none", "UserKnownHostsFile /dev/null"])
async def test_ssh_config_cannot_disable_the_host_key_check(sshd: Sshd, tmp_path: Path, setting: str) -> None:
    config = tmp_path / "config"
    config.write_text(f"{setting}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking no\n")
    error = await expect_refusal(sshd.host(), sshd.ssh(config_file=str(config), known_hosts=None))
    assert type(error) is HostKeyUnknown


async def test_a_closed_port_is_reported_as_refused(texts: Texts, sshd: Sshd) -> None:
    error = await expect_refusal(sshd.host(), sshd.ssh(port=1))
    texts(error)


async def test_an_unknown_name_is_reported(texts: Texts, sshd: Sshd) -> None:
    error = await expect_refusal(HostSpec(name="infra1", address="no-such-host.invalid"), sshd.ssh())
    assert type(error) is ConnectFailed
    texts([error.message, error.hint], PORT=sshd.port)


async def test_a_server_that_never_answers_is_a_timeout(texts: Texts, sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with asyncio.timeout(5):
            ssh = sshd.ssh(port=silent.getsockname()[1], connect_timeout="1s")
            error = await expect_refusal(sshd.host(), ssh)
    texts(error, PORT=ssh.port)


async def test_dropped_packets_are_a_timeout(texts: Texts, sshd: Sshd) -> None:
    # A full accept queue drops further SYN packets, as a firewall does.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [_open_connection(port) for _ in range(4)]
        error = await expect_refusal(sshd.host(), sshd.ssh(port=port, connect_timeout="1s"))
        for knock in waiting:
            knock.close()
    texts(error, PORT=port)


async def test_a_port_without_ssh_is_reported(texts: Texts, sshd: Sshd) -> None:
    async with _BannerServer(b"HTTP/1.0 400 Bad Request\r\n\r\n") as port:
        error = await expect_refusal(sshd.host(), sshd.ssh(port=port))
    assert type(error) is ConnectFailed
    texts(error.hint)


async def test_a_key_that_is_not_authorized_names_user_and_key(
    texts: Texts, sshd: Sshd, tmp_path: Path
) -> None:
    wrong = new_key(tmp_path, "wrong")
    error = await expect_refusal(sshd.host(), sshd.ssh(identity_file=str(wrong), user="root"))
    texts(error, KEY=fingerprint(wrong).split()[1], PORT=sshd.port)


async def test_a_missing_identity_file_is_named(texts: Texts, sshd: Sshd, tmp_path: Path) -> None:
    error = await expect_refusal(sshd.host(), sshd.ssh(identity_file=str(tmp_path / "none")))
    texts(error)


async def test_an_identity_file_that_is_no_key_is_named(texts: Texts, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a key")
    error = await expect_refusal(sshd.host(), sshd.ssh(identity_file=str(tmp_path / "text")))
    texts(error)


async def test_without_a_key_the_hint_has_the_command_that_creates_one(
    texts: Texts, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    error = await expect_refusal(sshd.host(), sshd.ssh(identity_file=None))
    texts(error, PORT=sshd.port)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run an sshd that accepts an encrypted key with the passphrase `open sesame`."""
    folder = tmp_path_factory.mktemp("locked")
    with run_sshd(folder / "sshd", identity=new_key(folder, "id", passphrase="open sesame")) as running:
        yield running


async def test_the_passphrase_of_an_encrypted_key_is_prompted_for_once(locked: Sshd) -> None:
    prompts: list[str] = []

    async def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "open sesame"

    secrets = Secrets(ask, environ={})
    await asyncio.gather(*(log_in_and_echo(locked.host(), locked.ssh(), secrets) for _ in range(3)))
    assert prompts == [f"Passphrase for {locked.identity}: "]


async def test_an_encrypted_key_needs_its_passphrase(texts: Texts, locked: Sshd) -> None:
    error = await expect_refusal(locked.host(), locked.ssh())
    texts(error)


async def test_a_wrong_passphrase_is_not_repeated_in_the_error(texts: Texts, locked: Sshd) -> None:
    secrets = Secrets(environ={"ETCDUP_SSH_PASSPHRASE": "hunter2"})
    error = await expect_refusal(locked.host(), locked.ssh(), secrets)
    texts(error)
    assert "hunter2" not in f"{error} {error.detail} {error.hint} {secrets!r}"


async def test_with_the_agent_no_passphrase_is_needed(
    locked: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _agent_with(locked.identity, tmp_path) as socket_path:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket_path)
        assert await log_in_and_echo(locked.host(), locked.ssh()) == "hello\n"
        monkeypatch.setenv("HOME", str(tmp_path))
        assert await log_in_and_echo(locked.host(), locked.ssh(identity_file=None)) == "hello\n"


async def test_ssh_config_has_what_cluster_yaml_leaves_out(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host db-one\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.identity}\n"
        f"  UserKnownHostsFile {sshd.known_hosts}\n  GlobalKnownHostsFile none\n"
    )
    host = HostSpec(name="infra1", address="192.0.2.1", ssh_address="db-one")
    assert await log_in_and_echo(host, SshSpec(config_file=str(config))) == "hello\n"


async def test_a_damaged_ssh_config_is_an_error(texts: Texts, sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Port many\n")
    error = await expect_refusal(sshd.host(), sshd.ssh(config_file=str(config), port=None))
    texts(error)


def fingerprint(key: Path) -> str:
    public = asyncssh.read_public_key(f"{key}.pub")
    return f"{public.get_algorithm()} {public.get_fingerprint()}"


@contextmanager
def _agent_with(identity: Path, tmp_path: Path) -> Iterator[str]:
    """Run an ssh-agent that has this encrypted key, and return its socket."""
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho open sesame\n")
    askpass.chmod(0o755)
    socket_path = str(tmp_path / "agent")
    environ = {"SSH_AUTH_SOCK": socket_path, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL)
    try:
        wait_for_file(tmp_path, "agent")
        add = ["ssh-add", str(identity)]
        subprocess.run(add, env=os.environ | environ, check=True, capture_output=True, timeout=20)
        yield socket_path
    finally:
        agent.terminate()
        agent.wait()


def _open_connection(port: int) -> socket.socket:
    knock = socket.socket()
    knock.setblocking(False)
    knock.connect_ex(("127.0.0.1", port))
    return knock


class _BannerServer:
    """A server that sends one line and closes the connection."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._send_banner, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _send_banner(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._words)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
