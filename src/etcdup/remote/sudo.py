"""Becoming root: by login, by sudo, or by sudo with a password, which only ever goes to stdin."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from etcdup.errors import SudoFailed
from etcdup.remote import scripts
from etcdup.remote.secrets import SUDO_PASSWORD_VARIABLE, SshSecrets

NOT_FOUND_STATUS = 127


@dataclass(frozen=True)
class RawResult:
    """How a process ended, as bytes."""

    status: int
    stdout: bytes
    stderr: bytes

    def error_text(self) -> str:
        return self.stderr.decode(errors="replace").strip()


Execute = Callable[[Sequence[str], bytes], Awaitable[RawResult]]


@dataclass(frozen=True)
class AsLogin:
    """Commands run as the user who logged in."""

    preface: bytes = b""

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        return scripts.plain(argv)


@dataclass(frozen=True)
class BySudo:
    """Commands run as root; sudo asks for nothing."""

    preface: bytes = b""

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        return scripts.by_sudo(argv)


@dataclass(frozen=True)
class BySudoWithPassword:
    """Commands run as root; `preface` is what sudo reads from stdin before the command does."""

    preface: bytes = field(repr=False)

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        return scripts.by_sudo_with_password(argv)


Become = AsLogin | BySudo | BySudoWithPassword


async def become_root(host: str, user: str, execute: Execute, secrets: SshSecrets) -> Become:
    """Finds how this user becomes root, by trying; SudoFailed if it cannot."""
    ended = await execute(scripts.by_sudo(("true",)), b"")
    if ended.status == 0:
        return BySudo()
    if "a password is required" not in ended.error_text():
        raise sudo_failed(host, user, ended)
    password = await secrets.sudo_password()
    if password is None:
        raise _password_needed(host, user)
    by_password = BySudoWithPassword(f"{password}\n{scripts.GUARD_WORD}\n".encode())
    ended = await execute(by_password.wrap(("true",)), by_password.preface)
    if ended.status != 0:
        raise sudo_failed(host, user, ended)
    return by_password


def _password_needed(host: str, user: str) -> SudoFailed:
    return SudoFailed(
        host,
        f"sudo asks for {user}'s password on {host}, and none was given",
        hint=f"run in a terminal to be asked, set {SUDO_PASSWORD_VARIABLE}, "
        f"or allow `{user} ALL=(ALL) NOPASSWD: ALL` with visudo",
    )


def sudo_failed(host: str, user: str, ended: RawResult) -> SudoFailed:
    """The reason that sudo gave (in its own English words), and what to do about it."""
    said = ended.error_text()
    if ended.status == NOT_FOUND_STATUS:
        return SudoFailed(
            host,
            f"sudo is not installed on {host}",
            hint="install sudo there, or log in as root (`ssh.user: root`)",
        )
    for words, why, hint in _REASONS:
        if any(word in said for word in words):
            return SudoFailed(
                host, why.format(user=user, host=host), detail=said, hint=hint.format(user=user, host=host)
            )
    return SudoFailed(
        host,
        f"{user} could not become root on {host}: sudo ended with status {ended.status}",
        detail=said,
        hint=f"log in as {user} and try `sudo true`",
    )


_REASONS = (
    (
        ("incorrect password", "Sorry, try again", "no password was provided"),
        "sudo did not accept the password of {user} on {host}",
        f"check {SUDO_PASSWORD_VARIABLE} or what you typed; every host must have the same password",
    ),
    (
        ("not in the sudoers file", "is not allowed to", "may not run sudo"),
        "{user} may not use sudo on {host}",
        "on {host}, as root: add {user} to the sudo group, or `{user} ALL=(ALL) NOPASSWD: ALL` with visudo",
    ),
    (
        ("must have a tty",),
        "sudo on {host} insists on a terminal",
        "on {host}, with visudo: `Defaults:{user} !requiretty`",
    ),
    (
        ("password is required", "terminal is required"),
        "sudo asks for {user}'s password on {host}",
        f"run in a terminal to be asked, or set {SUDO_PASSWORD_VARIABLE}",
    ),
)
