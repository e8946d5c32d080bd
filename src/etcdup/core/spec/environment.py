"""Decide which variables are allowed in `etcd.environment`, and say why the others are not.

etcd.conf contains them. systemd and sh read that file, so it has also the values with which they start programs.
"""

from etcdup.core.spec.plain_value import is_plain, is_variable

_VALUE_HINT = "remove quotes, `\\`, `$`, `%`, back-quotes and control characters"
# etcd reads it, and it is no flag: https://etcd.io/docs/v3.5/op-guide/supported-platform/
_ALLOWED = "ETCD_UNSUPPORTED_ARCH"
# The unit removes these too (core/host/unit.py).
_PROXIES = frozenset(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"))
# Variables of sh, of the dynamic linker and of systemd. They would change how etcd and its checks are started.
_OF_SH = frozenset((
    "BASHOPTS", "BASH_ENV", "ENV", "HOME", "IFS", "LOGNAME", "OPTIND", "PATH", "PPID", "PS1", "PS2", "PS4", "PWD",
    "SHELL", "SHELLOPTS", "USER",
))  # fmt: skip
_OF_SYSTEMD = frozenset((
    "CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID",
    "MAINPID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
))  # fmt: skip


def variable_refusal(name: str, value: object) -> tuple[str, str] | None:
    """Return why this variable or value is not allowed, and a hint. Return None if it is allowed."""
    if why := _why_not(name):
        message, hint = why
        return f"`{name}` is not allowed in `environment`: {message}", hint or f"remove `{name}`"
    if not is_variable(name):
        hint = "use upper-case letters, digits and `_`, with a letter first"
        return f"`{name}` is not the name of a variable", hint
    if not is_plain(str(value)):
        return f"the value of `{name}` has a character that is not allowed in etcd.conf", _VALUE_HINT
    return None


def _why_not(name: str) -> tuple[str, str] | None:
    upper = name.upper()
    if upper == _ALLOWED:
        return None
    if upper.startswith("ETCDUP"):
        return "etcdup sets it", ""
    if upper.startswith("ETCD"):
        return "it is a setting of etcd", "use the keys below `etcd:`, or a flag in `extra`"
    if upper in _PROXIES:
        return "etcd would use the proxy for the other members", ""
    if upper in _OF_SH or upper.startswith("LD_"):
        return "it changes the programs that check and start etcd", ""
    return ("systemd sets it", "") if upper in _OF_SYSTEMD else None
