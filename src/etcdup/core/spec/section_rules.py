"""Rules between the keys of one section: version, etcd, tls, install, ssh, backup.

The rules have the same form as those in `host_rules.py`.
"""

import shlex
from collections.abc import Iterator

from etcdup.core.spec import extra_flags
from etcdup.core.spec.backup_rules import backup_mistakes
from etcdup.core.spec.environment import variable_refusal
from etcdup.core.spec.folder_rules import folder_mistakes
from etcdup.core.spec.host_rules import Mistake
from etcdup.core.spec.install_rules import install_mistakes
from etcdup.core.spec.model import Spec
from etcdup.core.spec.server_flags import unknown_flag_hint
from etcdup.core.spec.tls_rules import tls_mistakes
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.yaml_document import Loc

MIB = 1024**2
# With a smaller quota, etcd raises the NOSPACE alarm almost at once (rule 70).
_SMALLEST_QUOTA = 16 * MIB
_LONGEST_USER = 128


def section_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake inside the sections."""
    yield from _version(spec)
    yield from _timing(spec)
    yield from _quota(spec)
    yield from folder_mistakes(spec)
    yield from _extra(spec)
    yield from _environment(spec)
    yield from _access(spec)
    yield from tls_mistakes(spec)
    yield from install_mistakes(spec)
    yield from _ssh(spec)
    yield from backup_mistakes(spec)


def _version(spec: Spec) -> Iterator[Mistake]:
    """Flags differ between minors (rule 51), so etcdup supports only the minors that it knows."""
    if spec.version.series not in NEWEST:
        first, last = (f"{major}.{minor}" for major, minor in (min(NEWEST), max(NEWEST)))
        message = f"`version` is {spec.version}; etcdup supports etcd {first} to {last}"
        hint = f"write one of {', '.join(map(str, NEWEST.values()))}, or an older patch of these"
        yield Mistake((("version",),), message, hint)


def _timing(spec: Spec) -> Iterator[Mistake]:
    """etcd does not start if the election timeout is less than 5 heartbeats. https://etcd.io/docs/v3.6/tuning/"""
    heartbeat, election = spec.etcd.heartbeat_ms, spec.etcd.election_ms
    if election < 5 * heartbeat:
        message = (
            f"`election_ms` ({election}) is less than 5 x `heartbeat_ms` ({heartbeat}); etcd would not start"
        )
        written = spec.etcd.model_fields_set
        keys = (
            ("election_ms", "heartbeat_ms") if "election_ms" in written else ("heartbeat_ms", "election_ms")
        )
        hint = f"set `election_ms` to {10 * heartbeat} or more"
        yield Mistake(tuple(("etcd", key) for key in keys), message, hint)


def _quota(spec: Spec) -> Iterator[Mistake]:
    if spec.etcd.quota < _SMALLEST_QUOTA:
        message = f"`quota` is {show_size(spec.etcd.quota)}; it must be at least {show_size(_SMALLEST_QUOTA)}"
        yield Mistake((("etcd", "quota"),), message, "write a number with a unit, for example 2GiB")


def _extra(spec: Spec) -> Iterator[Mistake]:
    for flag, value in spec.etcd.extra.items():
        if flag == "peer-cert-allowed-cn" and spec.tls.mode == "managed":
            message = f"`{flag}` is not allowed in `extra`: etcdup sets it to the common name of its peer certificates"
            yield Mistake((("etcd", "extra", flag), ("tls", "mode")), message, f"remove `{flag}`")
        elif refused := extra_flags.flag_refusal(flag, value):
            yield Mistake((("etcd", "extra", flag),), *refused)
        elif hint := unknown_flag_hint(flag, spec.version.series):
            message = f"etcd {spec.version.major}.{spec.version.minor} has no flag `{flag}`"
            yield Mistake((("etcd", "extra", flag), ("version",)), message, hint)


def _environment(spec: Spec) -> Iterator[Mistake]:
    for name, value in spec.etcd.environment.items():
        if refused := variable_refusal(name, value):
            yield Mistake((("etcd", "environment", name),), *refused)


def _access(spec: Spec) -> Iterator[Mistake]:
    if (access := spec.etcd.access) is None:
        return
    at: Loc = ("etcd", "access")
    if not access.user or len(access.user) > _LONGEST_USER or not access.user.isprintable():
        hint = (
            f"write the name of a user of etcd: 1 to {_LONGEST_USER} characters, without control characters"
        )
        yield Mistake(((*at, "user"), at), "`user` is not the name of a user", hint)
    if not _has_words(access.password_command):
        message = "`password_command` has no command, or a quote in it is not closed"
        yield Mistake(((*at, "password_command"), at), message, "write a command that prints the password")


def _has_words(command: str) -> bool:
    try:
        return bool(shlex.split(command))
    except ValueError:
        return False


def _ssh(spec: Spec) -> Iterator[Mistake]:
    if (spec.ssh.identity_file or "").endswith(".pub"):
        message = f"`identity_file` is a public key, `{spec.ssh.identity_file}`"
        yield Mistake((("ssh", "identity_file"),), message, "write the path of the private key, without .pub")
    if "://" in (spec.ssh.jump or ""):
        message = f"`jump` is a URL, `{spec.ssh.jump}`"
        yield Mistake((("ssh", "jump"),), message, "write user@host, or user@host:port")
    if spec.ssh.connect_timeout < 1:
        message = "`connect_timeout` must be at least 1s"
        yield Mistake((("ssh", "connect_timeout"),), message, "write a duration, for example 10s")
