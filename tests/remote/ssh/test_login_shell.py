"""Logins that print something of their own, quote in another way than sh, or run no command."""

import getpass
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdup.errors import LoginUnusable
from etcdup.remote.host import HostCommand, HostLock
from etcdup.remote.lock_scripts import lock_argv
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.login_shell import STARTED, as_line
from etcdup.remote.ssh.ssh import SshHost, connect
from tests.support.sshd import Sshd, run_sshd
from tests.support.texts import Texts

NOBODY_TO_ASK = Secrets(environ={})
USER = getpass.getuser()
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


async def test_a_held_command_whose_login_runs_nothing_is_an_error(texts: Texts, tmp_path: Path) -> None:
    with forced(tmp_path, "echo This account is currently not available.; exit 1") as sshd:
        reached = await log_in(sshd)
        try:
            with pytest.raises(LoginUnusable) as caught:
                async with reached.hold(["echo", "locked"]) as held:
                    [line async for line in held.lines()]
            texts(caught.value, USER=USER)
        finally:
            await reached.close()


async def test_a_login_that_reads_input_gets_nothing_of_a_file(tmp_path: Path) -> None:
    """A `read` with a timeout in .bashrc must not take the first line of a file that etcdup writes."""
    command = 'IFS= read -r line <&0 & sleep 0.3; kill $! 2>/dev/null; exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with forced(tmp_path, command) as sshd:
        reached = await log_in(sshd)
        try:
            file = tmp_path / "file"
            await reached.write(str(file), b"first\nsecond\n", mode=0o600, owner="")
            assert file.read_bytes() == b"first\nsecond\n"
        finally:
            await reached.close()


async def test_a_held_command_whose_login_waits_for_input_is_an_error(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `read` in a file of the login shell waits for ever: etcdup sends nothing before the command has started."""
    monkeypatch.setattr("etcdup.remote.ssh.command.START_WITHIN_S", 1.0)
    with forced(tmp_path, 'echo your ticket?; read ticket; exec sh -c "$SSH_ORIGINAL_COMMAND"') as sshd:
        reached = await log_in(sshd)
        try:
            with pytest.raises(LoginUnusable) as caught:
                async with reached.hold(["echo", "locked"]) as held:
                    [line async for line in held.lines()]
            texts(caught.value, USER=USER)
        finally:
            await reached.close()


@pytest.mark.parametrize(
    "command",
    [
        "echo 'Please log in as debian rather than admin.'; exit 142",
        "echo 'Please login as the user \"ec2-user\".'; exit 1",
        "echo 'WARNING: Your password has expired.' >&2; exit 1",
        "echo 'This account is currently not available.'; exit 1",
        "echo 'exec: restricted' >&2; exit 1",
        "exit 0",
        "printf 'log in as admin\\033[2J\\n'; exit 1",
    ],
)
async def test_a_login_that_runs_no_command_shows_the_words_of_the_host(
    texts: Texts, tmp_path: Path, command: str
) -> None:
    texts(await expect_unusable(tmp_path, command), USER=USER)


async def test_a_login_that_waits_for_an_answer_ends_with_its_question(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcdup.remote.ssh.command.START_WITHIN_S", 0.5)
    began = time.monotonic()
    error = await expect_unusable(tmp_path, "echo 'New password:'; exec sleep 60")
    assert time.monotonic() - began < 10
    texts(error, USER=USER)


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
