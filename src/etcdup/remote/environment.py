"""The environment of child processes. The one of etcdup itself can contain passwords and credentials of clouds."""

import os
from collections.abc import Mapping, Sequence

_NAMES = frozenset(
    (
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "TZ",
        "TMPDIR",
        "LANG",
        "LANGUAGE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
    )
)
_PREFIXES = ("LC_", "XDG_")


def child_environment(*prefixes: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a program needs to run, and those with one of these prefixes."""
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in _NAMES or name.startswith((*_PREFIXES, *prefixes))
    }


def operator_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for a command that the operator wrote, without the secrets of etcdup."""
    return {name: value for name, value in environ.items() if not name.startswith("ETCDUP_")}


def in_operator_environment(
    command: Sequence[str], environ: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """Return the command so that it runs in the environment for commands of the operator.

    It has names of variables only. Values in the words of a command would be readable for other users.
    """
    secrets = sorted(environ.keys() - operator_environment(environ).keys())
    if not command or not secrets:
        return tuple(command)
    return ("env", *(word for name in secrets for word in ("-u", name)), *command)
