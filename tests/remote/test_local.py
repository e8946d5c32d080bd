"""Behaviour of this machine as a Host that other Hosts do not have."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import CommandFailed
from etcdup.remote.local import LocalHost, connect_local
from etcdup.remote.secrets import Secrets
from tests.support.texts import Texts

NOBODY = 65534
OWNER = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB."""
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(where)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


async def test_a_full_disk_keeps_the_old_file(texts: Texts, small_disk: Path) -> None:
    host = LocalHost("infra1")
    await host.write(f"{small_disk}/file", b"old", mode=0o644, owner=OWNER)
    with pytest.raises(CommandFailed) as caught:
        await host.write(f"{small_disk}/file", b"n" * 200_000, mode=0o644, owner=OWNER)
    assert "No space left" in caught.value.detail
    texts(caught.value.hint)
    assert [path.name for path in _listed(small_disk)] == ["file"]
    assert await host.read(f"{small_disk}/file") == b"old"


async def test_variables_of_etcdup_are_not_passed_to_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDUP_SUDO_PASSWORD", "hunter2")
    assert "hunter2" not in (await LocalHost("infra1").run(["env"])).stdout


async def test_a_local_host_through_sudo(users: object) -> None:
    """Root may use sudo too, which tests the same path as for other users."""
    host = LocalHost("infra1")
    await host.use_sudo(Secrets(environ={}))
    result = await host.run(["sh", "-c", 'id -un; echo "$SUDO_COMMAND"; cat'], stdin=b"input")
    user, command, *_ = result.stdout.splitlines()
    assert user == "root"
    assert command.startswith("/usr/bin/"), "sudo gave the command to root"
    assert result.stdout.endswith("\ninput")


async def test_forwarding_on_this_machine_is_the_address_itself() -> None:
    assert await LocalHost("infra1").forward("127.0.0.9", 2379) == ("127.0.0.9", 2379)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Run one test as an unprivileged user, and return a directory of that user."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user without privileges")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        os.setresgid(NOBODY, NOBODY, 0)
        os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield Path(folder)
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)


async def test_this_user_owns_files_in_a_directory_of_its_own(nobody: Path) -> None:
    """Root, sudo and the given owner are not needed there."""
    spec = HostSpec(name="infra1", address="127.0.0.1", local=True, root=str(nobody))
    host = await connect_local(spec, SshSpec(sudo=True), secrets=Secrets(environ={}))
    await host.write(f"{nobody}/file", b"content", mode=0o640, owner="root:root")
    assert await host.read(f"{nobody}/file") == b"content"
    assert _listed(nobody)[0].stat().st_uid == NOBODY


async def test_an_owner_that_cannot_be_set_is_an_error(nobody: Path) -> None:
    host = LocalHost("infra1")
    with pytest.raises(CommandFailed) as caught:
        await host.write(f"{nobody}/file", b"content", mode=0o640, owner="root:root")
    assert "ssh.sudo" in caught.value.hint
    assert _listed(nobody) == []


async def test_a_local_host_with_a_directory_never_uses_sudo() -> None:
    spec = HostSpec(name="infra1", address="127.0.0.1", local=True, root="/tmp/demo")
    host = await connect_local(spec, SshSpec(sudo=True), secrets=Secrets(environ={}))
    assert (await host.run(["sh", "-c", "echo ${SUDO_COMMAND:-none}"])).stdout == "none\n"


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir())
