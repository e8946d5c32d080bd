"""The text of a draft: cluster.yaml with a comment behind each key that says where its value is from."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etcdup.core.adopt.values import Key
from etcdup.core.spec.template import SCHEMA_FILE, scalar
from etcdup.core.spec.visible import one_line

_COMMENT_AT = 34
# Sizes, durations and compaction by revision: they need no quotes.
_WITH_UNIT = re.compile(r"\d{1,12}(?:GiB|h|m|s)|\{revisions: \d{1,18}\}", re.ASCII)
_HEAD = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
_DRAFT = "# A draft by `etcdup adopt --dry-run`. Nothing was changed on any host.\n"
_WRITTEN = "# Written by `etcdup adopt`. The members have these values: another tool installed them.\n"
_ORIGIN = "# The comment behind a key says where its value is from.\n"


@dataclass(frozen=True)
class HostKeys:
    """The keys of one host, in their order."""

    keys: tuple[Key, ...]


def draft_text(
    *,
    name: Key,
    version: Key,
    hosts: Sequence[HostKeys],
    ssh_user: str,
    install: Sequence[Key],
    etcd: Sequence[Key],
    extra: Sequence[Key],
    environment: Sequence[Key],
    tls: Sequence[Key],
    is_dry_run: bool,
) -> str:
    """Return the text. Each value is a word or is in quotes, and no comment has a line break."""
    return "\n".join(
        [
            _HEAD + (_DRAFT if is_dry_run else _WRITTEN) + _ORIGIN + _line("", name),
            _line("", version),
            "",
            "hosts:",
            *(line for each in hosts for line in _host_lines(each)),
            *_ssh_lines(ssh_user),
            *(["", "install:"] if install else []),
            *(_line("  ", key) for key in install),
            "",
            "etcd:",
            *(_line("  ", key) for key in etcd),
            *(["  extra:"] if extra else []),
            *(_line("    ", key) for key in extra),
            *(["  environment:"] if environment else []),
            *(_line("    ", key) for key in environment),
            "",
            "tls:",
            *(_line("  ", key) for key in tls),
            "",
        ]
    )


def _host_lines(host: HostKeys) -> Iterator[str]:
    for number, key in enumerate(host.keys):
        yield _line("    " if number else "  - ", key)


def _ssh_lines(user: str) -> list[str]:
    if not user:
        return []
    sudo = [] if user == "root" else ["  sudo: true"]
    return ["", "ssh:", f"  user: {scalar(user)}", *sudo]


def _line(indent: str, key: Key) -> str:
    plain = not isinstance(key.value, str) or _WITH_UNIT.fullmatch(key.value)
    value = str(key.value).lower() if isinstance(key.value, bool) else str(key.value)
    value = value if plain else scalar(value)
    return f"{f'{indent}{key.name}: {value}':{_COMMENT_AT}}  # {one_line(key.origin, 200)}"
