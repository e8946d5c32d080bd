"""Rules between the keys of one section: version, etcd, tls, install, ssh, backup.

The rules have the same form as those in `host_rules.py`.
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from etcdup.core.spec import extra_flags
from etcdup.core.spec.address import parse_ip
from etcdup.core.spec.age_key import is_private_key, is_public_key
from etcdup.core.spec.environment import variable_refusal
from etcdup.core.spec.host_rules import Mistake, is_within
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.server_flags import unknown_flag_hint
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.yaml_document import Loc

MIB = 1024**2
# With a smaller quota, etcd raises the NOSPACE alarm almost at once (rule 70).
_SMALLEST_QUOTA = 16 * MIB
# Directories of the system. A member's data may be below one of them, but may not be the directory itself, because
# etcdup archives data by a rename of its directory.
_SHARED = frozenset(
    ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib")  # noqa: S108
)
# Directories that may not contain a member's data: system directories, and those that a reboot empties.
_FORBIDDEN = (
    *(
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib64",
        "/proc",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var/run",
    ),
    "/opt/etcd",  # the binaries of etcd
)
# Directories that the unit of etcd hides from it: ProtectHome= and PrivateTmp= of core/host/unit.py.
_HIDDEN = ("/home", "/root", "/tmp", "/var/tmp")  # noqa: S108
_TRIPLES = (("ca", "cert", "key"), ("peer_ca", "peer_cert", "peer_key"), ("client_cert", "client_key"))
_CRL_KEYS = ("crl_file", "peer_crl_file")
_SCHEMES = ("s3", "gs", "az")
_DESTINATION_HINT = "write a directory, or s3://bucket/prefix"
# The architectures of Linux for which etcd has tarballs.
_RELEASED_ARCHES = ("amd64", "arm64", "ppc64le", "s390x")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_LONGEST_USER = 128
_BRACES = re.compile(r"\{[^}]*\}?|\}")


def section_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake inside the sections."""
    yield from _version(spec)
    yield from _timing(spec)
    yield from _quota(spec)
    yield from _folders(spec)
    yield from _extra(spec)
    yield from _environment(spec)
    yield from _access(spec)
    yield from _provided(spec) if spec.tls.mode == "provided" else _managed(spec)
    yield from _install(spec)
    yield from _ssh(spec)
    yield from _destinations(spec)
    yield from _encryption(spec)
    yield from _retention(spec)


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


def _folders(spec: Spec) -> Iterator[Mistake]:
    """etcdup archives data by a rename of its directory. So the directory contains nothing else and is not shared."""
    for key in ("data_dir", "wal_dir"):
        yield from _folder(("etcd", key), getattr(spec.etcd, key), hidden=_has_unit(spec.hosts))
    yield from _two_folders(("etcd", "wal_dir"), ("etcd", "data_dir"), spec.etcd.wal_dir, spec.etcd.data_dir)
    for index, host in enumerate(spec.hosts):
        at = {
            key: ("hosts", index, key) if getattr(host, key) else ("etcd", key)
            for key in ("data_dir", "wal_dir")
        }
        for key in ("data_dir", "wal_dir"):
            yield from _folder(("hosts", index, key), getattr(host, key), hidden=_has_unit([host]))
        if host.data_dir or host.wal_dir:
            own, other = ("wal_dir", "data_dir") if host.wal_dir else ("data_dir", "wal_dir")
            yield from _two_folders(at[own], at[other], spec.wal_dir(host), spec.data_dir(host))


def _folder(at: Loc, folder: str | None, *, hidden: bool) -> Iterator[Mistake]:
    key = at[-1]
    if folder is not None and is_system_folder(folder):
        hint = f"set `{key}` to a directory that is only for etcd, for example /var/lib/etcd"
        yield Mistake((at,), f"`{key}` cannot be {folder}: the system uses this directory", hint)
    elif folder is not None and hidden and any(is_within(folder, each) for each in _HIDDEN):
        message = (
            f"`{key}` cannot be {folder}: the unit of etcd has no access to home and temporary directories"
        )
        yield Mistake((at,), message, f"set `{key}` to another directory, for example /var/lib/etcd")


def _two_folders(at: Loc, other: Loc, wal_dir: str | None, data_dir: str) -> Iterator[Mistake]:
    """`at` is the key whose position is reported."""
    if wal_dir is None:
        return
    if wal_dir == data_dir:
        message = f"`wal_dir` and `data_dir` are both {data_dir}"
        yield Mistake((at, other), message, "remove `wal_dir`, or set it to another directory")
    elif is_within(wal_dir, data_dir) or is_within(data_dir, wal_dir):
        message = f"`wal_dir` ({wal_dir}) and `data_dir` ({data_dir}): one is inside the other"
        yield Mistake((at, other), message, "use separate directories, or remove `wal_dir`")
    elif is_system_folder(parent := str(PurePosixPath(wal_dir).parent)) and not is_system_folder(wal_dir):
        if at[-1] != "wal_dir" and at[0] == "hosts":
            return  # It is reported at the key that has this value.
        message = f"`wal_dir` cannot be {wal_dir}: etcd must rename it within {parent}, which the system uses"
        hint = f"set `wal_dir` to {wal_dir}/wal; if the log has a disk of its own, mount it on {wal_dir}"
        yield Mistake((at,), message, hint)


def is_system_folder(folder: str) -> bool:
    """Return whether the system uses this directory, so that it cannot contain only the data of a member."""
    return folder in _SHARED or any(is_within(folder, system) for system in _FORBIDDEN)


def _has_unit(hosts: Iterable[HostSpec]) -> bool:
    """Return whether one of these members has a unit, which hides directories from it. A local member has none."""
    return any(not host.root for host in hosts)


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


def _managed(spec: Spec) -> Iterator[Mistake]:
    mode: Loc = ("tls", "mode")
    for key in (*(key for triple in _TRIPLES for key in triple), *_CRL_KEYS):
        if getattr(spec.tls, key) is not None:
            hint = f"add `mode: provided` to use your own certificates, or remove `{key}`"
            yield Mistake((("tls", key), mode), f"`{key}` is only allowed with `mode: provided`", hint)
    if spec.tls.ca_days < spec.tls.days:
        message = f"`ca_days` ({spec.tls.ca_days}) is less than `days` ({spec.tls.days})"
        hint = "set `ca_days` to at least `days`: a CA must be valid as long as its certificates"
        at = "ca_days" if "ca_days" in spec.tls.model_fields_set else "days"
        yield Mistake((("tls", at), ("tls", "ca_days"), ("tls", "days")), message, hint)


def _provided(spec: Spec) -> Iterator[Mistake]:
    """`ca`, `cert` and `key` are required. The files of peers, and those of clients, are all set or all absent."""
    mode: Loc = ("tls", "mode")
    for key in ("dir", "days", "ca_days", "passphrase_command"):
        if key in spec.tls.model_fields_set:
            message = f"`{key}` is only allowed with `mode: managed`"
            yield Mistake((("tls", key), mode), message, f"remove `{key}`")
    for triple in _TRIPLES:
        given = [key for key in triple if getattr(spec.tls, key) is not None]
        for key in triple:
            if getattr(spec.tls, key) is None and (given or triple[0] == "ca"):
                why = "`mode: provided`" if triple[0] == "ca" else f"`{given[0]}`"
                yield Mistake((("tls", key), mode), f"{why} also needs `{key}`", f"add `{key}:` with a path")
        for key in given:
            for found in _BRACES.findall(getattr(spec.tls, key)):
                if found != "{name}":
                    message = f"`{key}` contains `{found}`; only `{{name}}` is replaced, by the member's name"
                    yield Mistake((("tls", key),), message, "write `{name}`, or a path without braces")
    if spec.tls.peer_crl_file is not None and spec.tls.peer_ca is None:
        message = "`peer_crl_file` is only allowed with `peer_ca`"
        yield Mistake((("tls", "peer_crl_file"), mode), message, "use `crl_file`, which is for peers too")


def _install(spec: Spec) -> Iterator[Mistake]:
    install, source = spec.install, ("install", "from")
    if install.source == "path" and install.path is None:
        hint = "add `path:` with the directory that contains etcd and etcdctl"
        yield Mistake((source, ("install", "path")), "`from: path` also needs `path`", hint)
    if install.source != "path" and install.path is not None:
        message = f"`path` is only allowed with `from: path`, not with `from: {install.source}`"
        yield Mistake((("install", "path"), source), message, "write `from: path`, or remove `path`")
    yield from _checksums(spec)
    if install.mirror is None:
        return
    if install.source not in ("auto", "release"):
        message = (
            f"`mirror` is only allowed with `from: auto` or `release`, not with `from: {install.source}`"
        )
        yield Mistake((("install", "mirror"), source), message, "write `from: release`, or remove `mirror`")
    elif not _is_web_url(install.mirror):
        message = f"`mirror` must be a URL, not `{install.mirror}`"
        hint = "write a URL, for example https://mirror.example.com/etcd"
        yield Mistake((("install", "mirror"),), message, hint)


def _checksums(spec: Spec) -> Iterator[Mistake]:
    install, at = spec.install, ("install", "sha256")
    if install.sha256 and install.source in ("package", "go"):
        message = f"`sha256` is the checksum of a tarball, and `from: {install.source}` uses none"
        yield Mistake((at, ("install", "from")), message, "write `from: release`, or remove `sha256`")
    for arch, checksum in install.sha256.items():
        if arch not in _RELEASED_ARCHES:
            message = f"`{arch}` is no architecture of a release of etcd"
            yield Mistake(((*at, arch),), message, f"use one of {', '.join(_RELEASED_ARCHES)}")
        if not _SHA256.fullmatch(checksum):
            message = f"a SHA-256 has 64 hexadecimal digits, not `{checksum}`"
            hint = "copy it from the line of the tarball in SHA256SUMS, without the name of the file"
            yield Mistake(((*at, arch),), message, hint)


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


def _destinations(spec: Spec) -> Iterator[Mistake]:
    destinations, at = spec.backup.to, ("backup", "to")
    if not destinations:
        yield Mistake((at,), "`to` is empty", _DESTINATION_HINT)
    for index, destination in enumerate(destinations):
        yield from _destination(destination, (*at, index))
    for first, second in combinations(range(len(destinations)), 2):
        if _is_same_destination(destinations[first], destinations[second]):
            message = f"`to` has the same destination twice, `{destinations[second]}`"
            yield Mistake(((*at, second),), message, "remove one of them")
    in_buckets = any(destination.startswith("s3://") for destination in destinations)
    for key in ("endpoint", "region", "path_style", "sse"):
        if not in_buckets and key in spec.backup.model_fields_set and getattr(spec.backup, key) is not None:
            message = f"`{key}` is only allowed with an s3:// destination in `to`"
            yield Mistake((("backup", key), at), message, f"remove `{key}`")
    if spec.backup.endpoint is not None and not _is_web_url(spec.backup.endpoint):
        message = f"`endpoint` must be a URL, not `{spec.backup.endpoint}`"
        hint = "write a URL, for example https://s3.example.com"
        yield Mistake((("backup", "endpoint"),), message, hint)
    elif (
        spec.backup.endpoint is not None
        and not spec.backup.path_style
        and parse_ip(urlsplit(spec.backup.endpoint).hostname or "")
    ):
        message = (
            "`path_style: false` puts the bucket before the host name of `endpoint`, which is an IP address"
        )
        hint = "remove `path_style`, or write the host name of the store in `endpoint`"
        yield Mistake((("backup", "path_style"), at), message, hint)


def _destination(destination: str, at: Loc) -> Iterator[Mistake]:
    scheme, separator, rest = destination.partition("://")
    if "@" in rest.split("/")[0]:
        # The message does not show the value, because the value may contain a secret key.
        hint = "remove them; use the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or an IAM role"
        yield Mistake((at,), "`to` contains credentials, which are not allowed in cluster.yaml", hint)
    elif separator and scheme not in _SCHEMES:
        yield Mistake((at,), f"`{scheme}://` is not supported for backups", _DESTINATION_HINT)
    elif separator and not rest.split("/")[0]:
        message = f"`{destination}` has no bucket name"
        yield Mistake((at,), message, f"write {scheme}://bucket/prefix")
    elif not destination.strip():
        yield Mistake((at,), "`to` is empty", _DESTINATION_HINT)


def _is_same_destination(one: str, other: str) -> bool:
    return "@" not in one and PurePosixPath(one) == PurePosixPath(other)


def _encryption(spec: Spec) -> Iterator[Mistake]:
    key, at = spec.backup.encrypt_to, ("backup", "encrypt_to")
    if key is None or is_public_key(key):
        return
    if is_private_key(key):  # The message does not show the key.
        hint = "write the public key (age1...): a private key here would defeat the encryption"
        yield Mistake((at,), "`encrypt_to` contains a private key", hint)
        return
    hint = "run `age-keygen` to create a key; its public key is age1 and 58 more characters"
    yield Mistake((at,), f"`encrypt_to` must be a public key of age, not `{key}`", hint)


def _retention(spec: Spec) -> Iterator[Mistake]:
    if spec.backup.every < 1:
        yield Mistake(
            (("backup", "every"),), "`every` must be at least 1s", "write a duration, for example 1h"
        )
    keep = spec.backup.keep
    if not (keep.hourly or keep.daily or keep.weekly or keep.monthly):
        at: Loc = ("backup", "keep")
        message = "`keep` is 0 for all ages, so each backup would be deleted"
        hint = "keep some backups, for example {hourly: 24, daily: 7}"
        yield Mistake((at, *((*at, key) for key in type(keep).model_fields)), message, hint)


def _is_web_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in text
    except ValueError:
        return False
