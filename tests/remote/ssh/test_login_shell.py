"""Logins that print something of their own, quote in another way than sh, or run no command."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdup.errors import LoginUnusable, RemoteError
from etcdup.remote.host import HostCommand, HostLock
from etcdup.remote.lock_scripts import lock_argv
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.login_shell import STARTED, as_line
from etcdup.remote.ssh.ssh import SshHost, connect
from tests.support.sshd import Sshd, run_sshd

NOBODY_TO_ASK = Secrets(environ={})
# Greetings that look like the output of the probe, of the lock and of several commands in one round trip.
GREETINGS = ("Authorised use only", "@machine\n@ready", "locked", "no line end", "\x1eetcdup 1.0")
ODD_WORDS = (
    "", " ", "a b", "it's", '"', "new\nline", "$HOME", "`id`", "*", "\\", "\\\\", "\\n", "\\c", "!", "!!", "a!b",
    "^a^b", "%s", "%%", "~", "{a,b}", "(x)", "#x", "tab\t", "\u2603", "end\n\n",
)  # fmt: skip


@contextmanager
def forced(folder: Path, command: str) -> Iterator[Sshd]:
    """Run an sshd in which this command takes the place of the login shell."""
    script = folder / "forced"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o755)
    folder.chmod(0o755)
    with run_sshd(folder / "own", options=f"ForceCommand sh {script}") as running:
        yield running


async def log_in(sshd: Sshd) -> SshHost:
    return await connect(sshd.host(), sshd.ssh(), secrets=NOBODY_TO_ASK)


async def expect_unusable(folder: Path, command: str) -> LoginUnusable:
    with forced(folder, command) as sshd:
        reached = await log_in(sshd)
        try:
            with pytest.raises(LoginUnusable) as caught:
                await reached.run(["true"])
        finally:
            await reached.close()
    return caught.value


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_a_greeting_is_no_output_of_a_command(tmp_path: Path, greeting: str) -> None:
    say = f"printf '%s' '{greeting}'; printf '%s\n' '{greeting}' >&2"
    end = "" if greeting == "no line end" else "echo"
    with forced(tmp_path, f'{say}; {end}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"') as sshd:
        reached = await log_in(sshd)
        try:
            result = await reached.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
            assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")
            several = await reached.run_all([HostCommand(("echo", "a")), HostCommand(("echo", "b"))])
            assert [each.stdout for each in several] == ["a\n", "b\n"]
            assert await reached.read(str(tmp_path / "no-such-file")) is None
            await _take_lock(reached, HostLock(str(tmp_path / "lock"), "this run"))
        finally:
            await reached.close()


async def _take_lock(reached: SshHost, lock: HostLock) -> None:
    async with reached.hold(lock_argv(lock)) as held:
        assert await anext(held.lines()) == "locked"
        (result,) = await reached.run_all([HostCommand(("echo", "inside"))], lock=lock)
        assert result.stdout == "inside\n"


async def test_a_held_command_whose_login_runs_nothing_is_an_error(tmp_path: Path) -> None:
    with forced(tmp_path, "echo This account is currently not available.; exit 1") as sshd:
        reached = await log_in(sshd)
        try:
            with pytest.raises(LoginUnusable, match="currently not available"):
                async with reached.hold(["echo", "locked"]) as held:
                    [line async for line in held.lines()]
        finally:
            await reached.close()


@pytest.mark.parametrize(
    ("command", "words", "cure"),
    [
        ("echo 'Please log in as debian rather than root.'; exit 142", "as debian", "ssh.user: debian"),
        ("echo 'Please login as the user \"ec2-user\".'; exit 1", "ec2-user", "ssh.user: ec2-user"),
        ("echo 'WARNING: Your password has expired.' >&2; exit 1", "has expired", "passwd"),
        ("echo 'This account is currently not available.'; exit 1", "not available", "chsh"),
        ("echo 'exec: restricted' >&2; exit 1", "exec: restricted", "ForceCommand"),
        ("exit 0", "it printed nothing", "ForceCommand"),
        ("printf 'log in as root\\033[2J\\n'; exit 1", r"log in as root\x1b[2J", "ForceCommand"),
    ],
)
async def test_a_login_that_runs_no_command_shows_the_words_of_the_host(
    tmp_path: Path, command: str, words: str, cure: str
) -> None:
    error = await expect_unusable(tmp_path, command)
    assert isinstance(error, RemoteError)
    assert words in error.message
    assert cure in error.hint


async def test_a_login_that_waits_for_an_answer_ends_with_its_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcdup.remote.ssh.command.START_WITHIN_S", 0.5)
    began = time.monotonic()
    error = await expect_unusable(tmp_path, "echo 'New password:'; exec sleep 60")
    assert time.monotonic() - began < 10
    assert "New password:" in error.message


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "mksh", "fish", "tcsh", "busybox"])
def test_each_login_shell_passes_words_unchanged(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    start = [program, "sh"] if shell == "busybox" else [program]
    line = as_line(["printf", "%s\\0", *ODD_WORDS])
    ended = subprocess.run([*start, "-c", line], capture_output=True, check=True)
    assert ended.stdout == STARTED + b"".join(f"{word}\0".encode() for word in ODD_WORDS)


def test_a_line_has_no_character_that_shells_read_in_different_ways() -> None:
    quoted = as_line(ODD_WORDS).partition(" sh '")[2].removesuffix("'")
    assert not set("\n'!") & set(quoted)
    assert all(rest[:1] == "0" for rest in quoted.split("\\")[1:])
