"""How etcdup becomes root, and each way in which it fails, with a real sudo."""

import shutil
from pathlib import Path

import pytest

from etcdup.errors import SudoFailed
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.ssh import connect
from etcdup.remote.sudo import BySudoWithPassword, RawResult, sudo_failed
from tests.support.sshd import Sshd
from tests.support.sudo_users import PASSWORD, SUDOERS, Users

NOBODY_TO_ASK = Secrets(environ={})


def password_secrets(password: str) -> Secrets:
    return Secrets(environ={"ETCDUP_SUDO_PASSWORD": password})


async def whoami(sshd: Sshd, user: str, secrets: Secrets) -> str:
    reached = await connect(sshd.host(), sshd.ssh(user=user, sudo=True), secrets=secrets)
    try:
        return (await reached.run(["id", "-un"])).stdout.strip()
    finally:
        await reached.close()


async def expect_refusal(sshd: Sshd, user: str, secrets: Secrets) -> SudoFailed:
    with pytest.raises(SudoFailed) as caught:
        await whoami(sshd, user, secrets)
    error = caught.value
    assert error.hint
    assert PASSWORD not in f"{error} {error.detail} {error.hint} {error!r} {secrets!r}"
    return error


async def test_without_a_password(sshd: Sshd, users: Users) -> None:
    assert await whoami(sshd, users.passwordless, NOBODY_TO_ASK) == "root"


async def test_with_a_password(sshd: Sshd, users: Users) -> None:
    assert await whoami(sshd, users.with_password, password_secrets(PASSWORD)) == "root"


async def test_root_needs_no_sudo(sshd: Sshd, users: Users) -> None:
    assert await whoami(sshd, "root", NOBODY_TO_ASK) == "root"


async def test_a_required_password_that_is_not_given(sshd: Sshd, users: Users) -> None:
    error = await expect_refusal(sshd, users.with_password, NOBODY_TO_ASK)
    assert "none was given" in error.message
    assert "ETCDUP_SUDO_PASSWORD" in error.hint


@pytest.mark.parametrize("password", ["wrong", "", "etcdup-sudo-took-the-password"])
async def test_a_wrong_password(sshd: Sshd, users: Users, password: str) -> None:
    error = await expect_refusal(sshd, users.with_password, password_secrets(password))
    assert f"did not accept the password of {users.with_password}" in error.message


async def test_a_user_without_permission(sshd: Sshd, users: Users) -> None:
    error = await expect_refusal(sshd, users.without_sudo, password_secrets(PASSWORD))
    assert f"{users.without_sudo} may not use sudo" in error.message
    assert "visudo" in error.hint


async def test_the_password_is_in_no_command_line(sshd: Sshd, users: Users) -> None:
    reached = await connect(
        sshd.host(), sshd.ssh(user=users.with_password, sudo=True), secrets=password_secrets(PASSWORD)
    )
    try:
        seen = await reached.run(["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"])
        assert "sudo" in seen.stdout
        assert PASSWORD not in seen.stdout
    finally:
        await reached.close()


async def test_a_password_that_sudo_does_not_read_is_no_input(
    sshd: Sshd, users: Users, tmp_path: Path
) -> None:
    """With a NOPASSWD rule for single commands, the line with the password would be the first input of the command."""
    reached = await connect(
        sshd.host(), sshd.ssh(user=users.with_password, sudo=True), secrets=password_secrets(PASSWORD)
    )
    rules = SUDOERS / f"{users.with_password}-some"
    rules.write_text(f"{users.with_password} ALL=(ALL) NOPASSWD: {shutil.which('sh')}\n")
    rules.chmod(0o440)
    try:
        with pytest.raises(SudoFailed, match="for some commands and not for others"):
            await reached.write(str(tmp_path / "file"), b"content", mode=0o644, owner="root:root")
        assert not (tmp_path / "file").exists()
    finally:
        rules.unlink()
        await reached.close()


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (RawResult(127, b"", b"env: 'sudo': No such file or directory"), "sudo is not installed"),
        (RawResult(1, b"", b"sudo: sorry, you must have a tty to run sudo"), "requires a terminal"),
        (RawResult(1, b"", b"sudo: unable to resolve plugin"), "exited with status 1"),
    ],
)
def test_each_other_failure_of_sudo_has_its_message(ended: RawResult, words: str) -> None:
    error = sudo_failed("infra1", "admin", ended)
    assert words in error.message
    assert error.hint


def test_the_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(BySudoWithPassword(b"secret\n"))
