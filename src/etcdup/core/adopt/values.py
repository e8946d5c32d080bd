"""The settings that cluster.yaml has once for all members: what the members have, and where they differ."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from etcdup.core.adopt.member import Member
from etcdup.core.adopt.model import Unreadable
from etcdup.core.adopt.notes import Notes
from etcdup.core.adopt.settings import BOOLEAN, FALSE, TRUE, number_of, value_of
from etcdup.core.spec.environment import variable_refusal
from etcdup.core.spec.extra_flags import flag_refusal
from etcdup.core.spec.model import GIB
from etcdup.core.spec.server_flags import unknown_flag_hint
from etcdup.core.spec.version import Version
from etcdup.core.spec.visible import one_line

Value = TypeVar("Value", bound=Hashable)

_GO_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|s|us|ns))+", re.ASCII)
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(h|ms|m|s|us|ns)", re.ASCII)
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

# Flags that are not copied to `extra`: keys of cluster.yaml or the member list have them, or they only count at the
# first start of a member.
_ELSEWHERE_TEXT = """
    name data-dir wal-dir listen-client-urls listen-peer-urls advertise-client-urls initial-advertise-peer-urls
    listen-metrics-urls initial-cluster initial-cluster-state initial-cluster-token cert-file key-file trusted-ca-file
    client-cert-file client-key-file peer-cert-file peer-key-file peer-trusted-ca-file peer-client-cert-file
    peer-client-key-file client-crl-file peer-crl-file quota-backend-bytes heartbeat-interval election-timeout
    auto-compaction-mode auto-compaction-retention client-cert-auth peer-client-cert-auth auto-tls peer-auto-tls
    config-file peer-cert-allowed-cn
"""
_ELSEWHERE = frozenset(_ELSEWHERE_TEXT.split())
# Variables of Go and of etcd that are no flags.
GO_VARIABLES = ("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "ETCD_UNSUPPORTED_ARCH")
_INACTIVE = ("", "false", "off", "0")


@dataclass(frozen=True)
class Key:
    """A key of the draft: its value as YAML, and where it is from."""

    name: str
    value: str | int | bool
    origin: str


def common_value(
    members: Sequence[Member], what: str, read: Callable[[Member], Value], notes: Notes
) -> tuple[Value, Member]:
    """Return the value that most members have, and a member that has it. Note where the others differ."""
    values = [read(each) for each in members]
    chosen, number = Counter(values).most_common(1)[0]
    if number < len(members):
        shown = ", ".join(
            f"{each.name} has {one_line(str(value), 100)}"
            for each, value in zip(members, values, strict=True)
        )
        notes.decide.append(
            ("", f"{what} differs: {shown}. The draft has {one_line(str(chosen), 100)} for all members")
        )
    return chosen, members[values.index(chosen)]


def install_keys(members: Sequence[Member], pinned: Collection[Version] | None) -> Iterator[Key]:
    """Yield the source of the binaries, if a package or a vendor built those that run.

    `pinned` are the releases whose checksum etcdup has. A container has its own programs, which etcdup does not copy.
    """
    on_host = [each for each in members if not each.process.container]
    packages = sorted({each for member in on_host for each in member.process.packages})
    unknown = pinned is not None and members[0].version not in pinned
    if packages:
        yield Key("from", "host", f"package {one_line(', '.join(packages), 100)} owns files of etcd")
    elif unknown and on_host:
        yield Key("from", "host", "etcdup has no checksum of this release")


def tuning_keys(members: Sequence[Member], notes: Notes) -> Iterator[Key]:
    """Yield quota, timing and compaction."""
    quota, of = common_value(members, "quota-backend-bytes", _quota, notes)
    if quota < 0:
        notes.decide.append(("", "the quota is disabled, which cluster.yaml cannot say. The draft has 8GiB"))
    yield Key("quota", _size_text(quota) if quota > 0 else "8GiB", of.origin("quota-backend-bytes"))
    for key, flag, default in (
        ("heartbeat_ms", "heartbeat-interval", 100),
        ("election_ms", "election-timeout", 1000),
    ):
        number, of = common_value(members, flag, partial(_number, flag=flag, default=default), notes)
        yield Key(key, number, of.origin(flag))
    yield from _compaction(members, notes)


def _number(member: Member, flag: str, default: int) -> int:
    return number_of(member.settings, flag, default)


def _value(member: Member, flag: str) -> str:
    return value_of(member.settings, flag, "not set")


def _quota(member: Member) -> int:
    """Return the quota in bytes, negative if there is none. 0 is the default of etcd."""
    return number_of(member.settings, "quota-backend-bytes", 0) or 2 * GIB


def _size_text(size: int) -> str | int:
    return f"{size // GIB}GiB" if size % GIB == 0 else size


def _compaction(members: Sequence[Member], notes: Notes) -> Iterator[Key]:
    flag = "auto-compaction-retention"
    (mode, retention), of = common_value(members, "auto-compaction", _mode_and_retention, notes)
    if mode == "revision" and _WHOLE.fullmatch(retention) and retention != "0":
        yield Key("auto_compaction", f"{{revisions: {retention}}}", of.origin(flag))
        return
    seconds = retention_seconds(retention)
    if seconds != int(seconds):
        notes.decide.append(("", f"auto-compaction-retention is {retention}; cluster.yaml has whole seconds"))
    yield Key("auto_compaction", _duration_text(int(seconds)), of.origin(flag))


def _mode_and_retention(member: Member) -> tuple[str, str]:
    mode = value_of(member.settings, "auto-compaction-mode", "periodic")
    return mode, value_of(member.settings, "auto-compaction-retention", "0")


def retention_seconds(text: str) -> float:
    """Return the time of a periodic retention: a number of hours, or a duration of Go. Raise Unreadable."""
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return int(text) * 3600.0
    if not _GO_DURATION.fullmatch(text):
        raise Unreadable(f"auto-compaction-retention of etcd is `{one_line(text, 100)}`")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), 9)


def _duration_text(seconds: int) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def extra_keys(members: Sequence[Member], notes: Notes) -> Iterator[Key]:
    """Yield the flags that `etcd.extra` accepts. Note those that etcdup does not set in a member."""
    series = members[0].version.series
    flags = sorted(
        {flag for each in members for flag, got in each.settings.items() if got.value} - _ELSEWHERE
    )
    for flag in flags:
        value, of = common_value(members, flag, partial(_value, flag=flag), notes)
        if value == "not set":
            continue
        if refused := flag_refusal(flag, value):
            if value.lower() not in _INACTIVE:
                notes.lost.append(("", f"{flag}={one_line(value, 200)}: {refused[0].rpartition(': ')[2]}"))
        elif unknown_flag_hint(flag, series) is None:
            yield Key(flag, _typed(flag, value), of.origin(flag))
        else:
            notes.lost.append(
                ("", f"{flag}={one_line(value, 200)}: etcd {series[0]}.{series[1]} has no such flag")
            )


def environment_keys(members: Sequence[Member], notes: Notes) -> Iterator[Key]:
    """Yield the variables that `etcd.environment` accepts. Note the others."""
    for name in sorted(
        {each for member in members for each in member.process.variables if each in GO_VARIABLES}
    ):
        value, _ = common_value(members, name, partial(_variable, name=name), notes)
        if value and variable_refusal(name, value) is None:
            yield Key(name, value, "environment of the process")
        else:
            notes.lost.append(("", f"the variable {name}={one_line(value, 200)}"))


def _variable(member: Member, name: str) -> str:
    return member.process.variables.get(name, "")


def _typed(flag: str, value: str) -> str | int | bool:
    """Return the value as YAML has it: true or false, or a number."""
    if flag in BOOLEAN and value in TRUE + FALSE:
        return value in TRUE
    return int(value) if _WHOLE.fullmatch(value) else value
