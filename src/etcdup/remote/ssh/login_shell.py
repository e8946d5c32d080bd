"""The login shell of a host: how it gets a command unchanged, and where the output of the command begins.

sshd gives each command line to the login shell of the user. That shell can print a greeting, quote in another way than
sh, or run no command at all. So etcdup sends one line that all shells read in the same way, and sh prints a marker
before the command starts. Everything before the marker is from the login, not from the command.
"""

import re
import shlex
from collections.abc import Sequence

from etcdup.core.spec.visible import one_line
from etcdup.errors import LoginUnusable
from etcdup.remote.sudo import RawResult

# A control character begins the marker, so that no shell prints it when it shows a line that it cannot read.
STARTED = b"\x1eetcdup-start\n"
_PRINT_STARTED = r"printf '\036etcdup-start\n'; printf '\036etcdup-start\n' >&2; exec "

# In single quotes, csh and fish give these characters a meaning of their own, or end the line at them. `printf %b`
# makes them again from octal numbers.
_OCTAL = str.maketrans({each: f"\\0{ord(each):03o}" for each in "\n'\\!"})
_LINE = """exec sh -c 'eval "$(printf %b "$1")"' sh '{}'"""

_WORDS_LIMIT = 300
_OTHER_USER = re.compile(r"log ?in as (?:the user )?[\"']?([a-z_][a-z0-9_-]{0,31})\b", re.IGNORECASE)
_CURES = (
    (
        re.compile("expired|password change", re.IGNORECASE),
        "on {host}, as root: set a new password with `passwd {user}`, or remove the date with `chage -d -1 {user}`",
    ),
    (
        re.compile("not available|nologin", re.IGNORECASE),
        "on {host}, as root: give the user a shell with `chsh -s /bin/sh {user}`, or set `ssh.user`",
    ),
)
_CURE = (
    "check the login shell of {user} on {host}, ForceCommand in sshd_config, and `command=` in authorized_keys. "
    "The login must run `exec sh`"
)


def as_line(argv: Sequence[str]) -> str:
    """Return the command line for the login shell. `exec` saves the process of that shell."""
    return _LINE.format((_PRINT_STARTED + shlex.join(argv)).translate(_OCTAL))


def has_started(stdout: bytes) -> bool:
    """Return whether the command was started: its marker is in the output."""
    return STARTED in stdout


def without_greeting(host: str, user: str, ended: RawResult) -> RawResult:
    """Return the result without the output of the login. Raises LoginUnusable if the command was not started."""
    if not has_started(ended.stdout):
        raise login_unusable(host, user, ended)
    return ended.after(STARTED)


def login_unusable(host: str, user: str, ended: RawResult) -> LoginUnusable:
    """Return the error for a login that runs no command. It has the words that the host printed instead."""
    words = _shown(ended.stdout + b"\n" + ended.stderr)
    what = f"{host}: the login of {user} runs no commands"
    state = f"exit status {ended.status}" if ended.status >= 0 else "no answer"
    return LoginUnusable(
        host, f"{what} ({state}): {words or 'it printed nothing'}", hint=_cure(host, user, words)
    )


def _shown(output: bytes) -> str:
    """Return what a host printed as one line."""
    lines = (line.strip() for line in output.decode(errors="replace").splitlines())
    return one_line("; ".join(filter(None, lines)), _WORDS_LIMIT)


def _cure(host: str, user: str, words: str) -> str:
    other = _OTHER_USER.search(words)
    if other is not None and other[1] != user:
        return f"the host names another user: set `ssh.user: {other[1]}` and `ssh.sudo: true` in cluster.yaml"
    cure = next((cure for pattern, cure in _CURES if pattern.search(words)), _CURE)
    return cure.format(host=host, user=user)
