"""The environment of child processes. The one of etcdup itself can contain passwords and credentials of clouds."""

import os
from collections.abc import Mapping

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
