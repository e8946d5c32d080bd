"""How commands run as root: by login, by sudo, or by sudo with a password, which is only sent to stdin."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from etcdup.core.spec.visible import one_line
from etcdup.errors import SudoFailed
from etcdup.remote import scripts
from etcdup.remote.secrets import SUDO_PASSWORD_VARIABLE, SshSecrets, sudo_password_variable

NOT_FOUND_STATUS = 127


@dataclass(frozen=True)
class RawResult:
    """The result of a process, as bytes."""

    status: int
    stdout: bytes
    stderr: bytes

    def error_text(self) -> str:
        return self.stderr.decode(errors="replace").strip()

    def after(self, marker: bytes) -> "RawResult":
        """Return the result without what the login shell, or sudo, printed before the marker of the command."""

        def cut(output: bytes) -> bytes:
            before, found, after = output.partition(marker)
            return after if found else before

        return RawResult(self.status, cut(self.stdout), cut(self.stderr))


Execute = Callable[[Sequence[str], bytes], Awaitable[RawResult]]


@dataclass(frozen=True)
class AsLogin:
    """Commands run as the user of the login."""

    preface: bytes = b""

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        return scripts.plain(argv)


@dataclass(frozen=True)
class BySudo:
    """Commands run as root; sudo requires no password."""

    preface: bytes = b""

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        return scripts.by_sudo(argv)


@dataclass(frozen=True)
class BySudoWithPassword:
    """Commands run as root; sudo reads `preface` from stdin before the command reads the rest."""

    preface: bytes = field(repr=False)

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        return scripts.by_sudo_with_password(argv)


Become = AsLogin | BySudo | BySudoWithPassword


async def become_root(host: str, user: str, execute: Execute, secrets: SshSecrets) -> Become:
    """Try how this user becomes root, and return it. Raises SudoFailed if no way works."""
    ended = await execute(scripts.by_sudo(("true",)), b"")
    if ended.status == 0:
        return BySudo()
    if _is_final(ended):
        raise sudo_failed(host, user, ended)
    # sudo and sudo-rs have different words for this, and may change them.
    password = await secrets.sudo_password(host)
    if password is None and any(text in ended.error_text() for text in _NEEDS_PASSWORD):
        raise _password_needed(host, user, ended)
    if password is None:
        raise sudo_failed(host, user, ended)
    by_password = BySudoWithPassword(f"{password}\n{scripts.GUARD_WORD}\n".encode())
    ended = await execute(by_password.wrap(("true",)), by_password.preface)
    if ended.status != 0:
        raise sudo_failed(host, user, ended)
    return by_password


def _is_final(ended: RawResult) -> bool:
    """Return whether a password does not help: sudo is not installed, cannot work, or refuses the user."""
    texts = (*_NOT_PERMITTED, *_NEEDS_TERMINAL, *_BROKEN)
    is_refused = any(text in ended.error_text() for text in texts)
    return ended.status == NOT_FOUND_STATUS or _has_run_sh(ended) or is_refused


def _has_run_sh(ended: RawResult) -> bool:
    """Return whether sudo ran sh as root, so that only the program that sh starts has failed."""
    return scripts.AS_ROOT in ended.stdout


def _password_needed(host: str, user: str, ended: RawResult) -> SudoFailed:
    return SudoFailed(
        host,
        f"sudo on {host} requires the password of {user}, and none was given: {_last_words(ended)}",
        hint=f"run etcdup in a terminal to type it, set {SUDO_PASSWORD_VARIABLE}, "
        f"or allow `{user} ALL=(ALL) NOPASSWD: ALL` with visudo",
    )


def sudo_failed(host: str, user: str, ended: RawResult) -> SudoFailed:
    """Return the error for the message of sudo, which is in English, with a hint."""
    text = ended.error_text()
    if _has_run_sh(ended):
        return SudoFailed(
            host,
            f"sudo on {host} runs sh for {user}, but none of the programs that sh starts: {_last_words(ended)}",
            detail=text,
            hint=f"on {host}, run `sudo -l -U {user}`, and remove NOEXEC from the rule, or `noexec` from the "
            "`Defaults`, with visudo",
        )
    if ended.status == NOT_FOUND_STATUS:
        return SudoFailed(
            host,
            f"sudo is not installed on {host}",
            hint=f"install sudo on {host}, or log in as root (`ssh.user: root`)",
        )
    facts = {"user": user, "host": host, "variable": sudo_password_variable(host)}
    for texts, why, hint in _REASONS:
        if any(each in text for each in texts):
            return SudoFailed(host, why.format(**facts), detail=text, hint=hint.format(**facts))
    return SudoFailed(
        host,
        f"{user} cannot become root on {host}: sudo exited with status {ended.status}: {_last_words(ended)}",
        detail=text,
        hint=f"log in to {host} as {user} and try `sudo true`",
    )


def _last_words(ended: RawResult) -> str:
    """Return the last line that sudo printed."""
    return one_line(ended.error_text().rpartition("\n")[2], _WORDS_LIMIT) or "it printed nothing"


_WORDS_LIMIT = 200
# Texts of sudo and of sudo-rs.
_NOT_PERMITTED = ("not in the sudoers file", "is not allowed to", "may not run", "I'm afraid I can't do that")
_NEEDS_TERMINAL = ("must have a tty",)
_NEEDS_PASSWORD = ("password is required", "terminal is required", "interactive authentication is required")
_BROKEN = ("setuid bit", "no new privileges", "unable to initialize", "invalid configuration", "syntax error")

_REASONS = (
    (
        (
            "incorrect password",
            "Sorry, try again",
            "no password was provided",
            "incorrect authentication attempt",
            "Authentication failed",
        ),
        "sudo did not accept the password of {user} on {host}",
        f"check {SUDO_PASSWORD_VARIABLE} or the password that you typed. If {{host}} has another password than other "
        "hosts, set {variable}, or leave the prompt for all hosts empty",
    ),
    (
        _NOT_PERMITTED,
        "{user} may not use sudo on {host}",
        "on {host}, as root: add {user} to the sudo group, or add `{user} ALL=(ALL) NOPASSWD: ALL` with visudo",
    ),
    (
        _NEEDS_TERMINAL,
        "sudo on {host} requires a terminal",
        "run `visudo` on {host} and add `Defaults:{user} !requiretty`",
    ),
    (
        _NEEDS_PASSWORD,
        "sudo on {host} requires the password of {user}",
        f"run etcdup in a terminal to type it, or set {SUDO_PASSWORD_VARIABLE}",
    ),
)
