"""How etcdup becomes root, and each way in which it fails, with a real sudo."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from etcdup.errors import NotLocked, SudoFailed
from etcdup.remote.host import HostCommand, HostLock
from etcdup.remote.lock_scripts import lock_argv
from etcdup.remote.scripts import AS_ROOT
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.ssh import connect
from etcdup.remote.sudo import BySudoWithPassword, RawResult, become_root, sudo_failed
from tests.support.sshd import Sshd, run_sshd
from tests.support.sudo_users import PASSWORD, SUDOERS, Users
from tests.support.texts import Texts

NOBODY_TO_ASK = Secrets(environ={})


def password_secrets(password: str) -> Secrets:
    return Secrets(environ={"ETCDUP_SUDO_PASSWORD": password})


# sudo-rs has no option -p, and other words: src/common/error.rs and src/cli/help.rs of its source.
SUDO_RS = """\
#!/bin/sh
case " $* " in *' -p '*) echo 'sudo: invalid option' >&2; exit 1 ;; esac
exec 3>&1
{ FOLDER/sudo "$@" 2>&1 >&3 3>&-; echo "$?" >"FOLDER/status.$$"; } | sed -u \\
  -e 's/^sudo: a password is required/sudo: interactive authentication is required/' \\
  -e 's/Sorry, try again\\./sudo: Authentication failed, try again./' \\
  -e 's/^sudo: [0-9]* incorrect password attempts*/sudo: Maximum 3 incorrect authentication attempts/' \\
  -e "s/^\\(.*\\) is not in the sudoers file.*/sudo: I'm sorry \\1. I'm afraid I can't do that/" >&2
exit "$(cat "FOLDER/status.$$")"
"""
# etcdup uses no other sudo than that of the system, so the program is mounted on it, for this sshd only.
IN_PLACE_OF_SUDO = """\
mount --bind /usr/bin/sudo "$0/sudo" && mount --bind "$0/sudo-rs" /usr/bin/sudo && exec "$@"
"""


@pytest.fixture(scope="module")
def sudo_rs() -> Iterator[Sshd]:
    """An sshd whose users find a program in place of sudo that behaves as sudo-rs does. It needs root."""
    if os.geteuid() != 0 or shutil.which("sudo") != "/usr/bin/sudo":
        pytest.skip("it needs root and /usr/bin/sudo")
    folder = Path(tempfile.mkdtemp(prefix="etcdup-sudo-rs-"))  # other users cannot enter pytest's directories
    folder.chmod(0o777)
    program = folder / "sudo-rs"
    program.write_text(SUDO_RS.replace("FOLDER", str(folder)))
    program.chmod(0o755)
    (folder / "sudo").touch()
    try:
        wrapper = ("unshare", "--mount", "sh", "-c", IN_PLACE_OF_SUDO, str(folder))
        with run_sshd(folder / "sshd", wrapper=wrapper) as running:
            yield running
    finally:
        shutil.rmtree(folder)


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


async def test_what_sudo_prints_is_no_output_of_a_command(sshd: Sshd, users: Users, tmp_path: Path) -> None:
    """sudo prints its prompt and its lecture, and its PAM modules print warnings, for example about the password."""
    rules = SUDOERS / f"{users.with_password}-lecture"
    rules.write_text(f"Defaults:{users.with_password} lecture=always\n")
    rules.chmod(0o440)
    secrets = password_secrets(PASSWORD)
    reached = await connect(sshd.host(), sshd.ssh(user=users.with_password, sudo=True), secrets=secrets)
    lock = HostLock(str(tmp_path / "lock"), "this run")
    try:
        result = await reached.run(["sh", "-c", "echo out; echo err >&2"])
        assert (result.stdout, result.stderr) == ("out\n", "err\n")
        async with reached.hold(lock_argv(lock)) as held:
            assert await anext(held.lines()) == "locked"
        with pytest.raises(NotLocked):
            await reached.run_all([HostCommand(("true",))], lock=lock)
    finally:
        rules.unlink()
        await reached.close()


async def test_sudo_rs_with_and_without_a_password(texts: Texts, sudo_rs: Sshd, users: Users) -> None:
    assert await whoami(sudo_rs, users.passwordless, NOBODY_TO_ASK) == "root"
    assert await whoami(sudo_rs, users.with_password, password_secrets(PASSWORD)) == "root"
    error = await expect_refusal(sudo_rs, users.with_password, NOBODY_TO_ASK)
    texts([error.message, error.hint], USER=users.with_password)
    error = await expect_refusal(sudo_rs, users.with_password, password_secrets("wrong"))
    texts([error.message, error.hint], USER=users.with_password)
    error = await expect_refusal(sudo_rs, users.without_sudo, password_secrets(PASSWORD))
    texts([error.message, error.hint], USER=users.without_sudo)


async def test_root_needs_no_sudo(sshd: Sshd, users: Users) -> None:
    assert await whoami(sshd, "root", NOBODY_TO_ASK) == "root"


async def test_a_required_password_that_is_not_given(texts: Texts, sshd: Sshd, users: Users) -> None:
    error = await expect_refusal(sshd, users.with_password, NOBODY_TO_ASK)
    texts([error.message, error.hint], USER=users.with_password)


@pytest.mark.parametrize("password", ["wrong", "", "etcdup-sudo-took-the-password"])
async def test_a_wrong_password(texts: Texts, sshd: Sshd, users: Users, password: str) -> None:
    error = await expect_refusal(sshd, users.with_password, password_secrets(password))
    texts([error.message, error.hint], USER=users.with_password)


async def test_a_user_without_permission(texts: Texts, sshd: Sshd, users: Users) -> None:
    error = await expect_refusal(sshd, users.without_sudo, password_secrets(PASSWORD))
    texts([error.message, error.hint], USER=users.without_sudo)


async def test_a_rule_that_forbids_other_programs(texts: Texts, sshd: Sshd, users: Users) -> None:
    """With NOEXEC, sudo runs sh, and sh cannot start a program. A password does not change that."""
    rules = SUDOERS / f"{users.without_sudo}-noexec"
    rules.write_text(f"{users.without_sudo} ALL=(ALL) NOEXEC: NOPASSWD: ALL\n")
    rules.chmod(0o440)
    try:
        error = await expect_refusal(sshd, users.without_sudo, NOBODY_TO_ASK)
    finally:
        rules.unlink()
    texts([error.message.partition(": sh:")[0], error.hint], USER=users.without_sudo)


async def test_an_account_that_sudo_rejects_needs_no_password(texts: Texts, sshd: Sshd, users: Users) -> None:
    """The words of sudo are shown. etcdup does not say that a password is missing."""
    words = "sudo: account validation failure, is your account locked?"

    async def execute(argv: Sequence[str], stdin: bytes) -> RawResult:
        return RawResult(1, b"", words.encode())

    with pytest.raises(SudoFailed) as caught:
        await become_root("infra1", "admin", execute, NOBODY_TO_ASK)
    texts(caught.value)


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
    texts: Texts, sshd: Sshd, users: Users, tmp_path: Path
) -> None:
    """With a NOPASSWD rule for single commands, the line with the password would be the first input of the command."""
    reached = await connect(
        sshd.host(), sshd.ssh(user=users.with_password, sudo=True), secrets=password_secrets(PASSWORD)
    )
    rules = SUDOERS / f"{users.with_password}-some"
    rules.write_text(f"{users.with_password} ALL=(ALL) NOPASSWD: {shutil.which('sh')}\n")
    rules.chmod(0o440)
    try:
        with pytest.raises(SudoFailed) as caught:
            await reached.write(str(tmp_path / "file"), b"content", mode=0o644, owner="root:root")
        texts(caught.value, USER=users.with_password)
        assert not (tmp_path / "file").exists()
    finally:
        rules.unlink()
        await reached.close()


@pytest.mark.parametrize(
    ("status", "output", "error"),
    [
        (127, b"", b"env: 'sudo': No such file or directory"),
        (1, b"", b"sudo: sorry, you must have a tty to run sudo"),
        (1, b"", b"sudo: unable to resolve plugin"),
        (1, b"", b"sudo: Sorry, user admin may not run 'true' on infra1."),
        (1, b"", b"sudo: interactive authentication is required"),
        (126, AS_ROOT, b"sh: 1: exec: true: Permission denied"),
    ],
)
def test_each_other_failure_of_sudo_has_its_message(
    texts: Texts, status: int, output: bytes, error: bytes
) -> None:
    texts(sudo_failed("infra1", "admin", RawResult(status, output, error)))


def test_the_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(BySudoWithPassword(b"secret\n"))
