"""The one writer of values for etcd.conf, unit files and shell scripts.

systemd and sh read these files, and both expand some characters. A value with such a character could add a setting, a
command or a line. So it is refused here, whatever its source is: cluster.yaml, a saved plan, a marker, a member list.
"""

import re
from urllib.parse import urlsplit

from etcdup.errors import EtcdupError

# Everything except control characters and line separators, quotes, backslash, `$`, `%` and back-quotes.
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\"'\\\\$`%]{0,8192}")
# A word of a shell command or a unit file that needs no quotes.
_WORD = re.compile(r"[A-Za-z0-9_.,:/@+=-]{1,1024}", re.ASCII)
# What etcdup generates: the name of the cluster and random digits. An adopted cluster can have another token.
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
# A URL of a member, as etcd takes it: without a path. A Unix socket is named in the same form.
_URL = re.compile(r"(?:https?|unixs?)://[A-Za-z0-9._:\[\]-]{1,262}", re.ASCII)
MEMBER_NAME_LIMIT = 128
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,127}", re.ASCII)


class UnsafeValue(EtcdupError):
    """A value must not be written: a reader of the file would not read it as this value."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the value of {what} has a character that is not allowed there",
            hint="remove quotes, `\\`, `$`, `%`, back-quotes and control characters where the value comes from: "
            "cluster.yaml, the saved plan, or the member list",
        )


def is_token(value: object) -> bool:
    """Return whether the value can be the token of a cluster."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def is_member_name(value: object) -> bool:
    """Return whether the value can be the name of a member in etcd and in its settings."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MEMBER_NAME_LIMIT
        and value.isprintable()
        and is_plain(value)
        and not {",", "="}.intersection(value)
    )


def is_member_url(value: object) -> bool:
    """Return whether the value can be a peer URL or client URL of a member."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and (parts.port is not None or parts.scheme.startswith("unix"))
    except ValueError:  # brackets or a port that are not valid
        return False


def is_plain(value: str) -> bool:
    """Return whether the value can be written between quotes."""
    return _PLAIN.fullmatch(value) is not None


def is_variable(name: str) -> bool:
    """Return whether the text can be the name of a variable in a file that `environment_line` writes."""
    return _VARIABLE.fullmatch(name) is not None


def is_word(value: str) -> bool:
    """Return whether the value can be written without quotes."""
    return _WORD.fullmatch(value) is not None


def environment_line(name: str, value: str) -> str:
    """Return `NAME="VALUE"` with a line end, for an EnvironmentFile of systemd and for sh. Raise UnsafeValue."""
    if not is_variable(name):
        raise UnsafeValue("a variable name")
    if not is_plain(value):
        raise UnsafeValue(name)
    return f'{name}="{value}"\n'


def words(**values: str) -> dict[str, str]:
    """Return the values, each of which is a word of a unit file or a script. Raise UnsafeValue."""
    for name, value in values.items():
        if not is_word(value):
            raise UnsafeValue(name)
    return values
