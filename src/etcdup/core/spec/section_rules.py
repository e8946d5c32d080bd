"""What can be wrong between the keys of one section: version, etcd, tls, install, ssh, backup.

The rules have the form that `mistakes.py` tells of.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from etcdup.core.spec import extra_flags
from etcdup.core.spec.address import parse_ip
from etcdup.core.spec.age_key import is_private_key, is_public_key
from etcdup.core.spec.host_rules import Mistake, is_within
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.yaml_document import Loc

MIB = 1024**2
# Below this etcd has hardly written its own buckets when it raises NOSPACE (rule 70).
_SMALLEST_QUOTA = 16 * MIB
# Folders of the system, which a member's data may lie below but never be: data is moved aside as a whole.
_SHARED = frozenset(
    ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib")  # noqa: S108
)
# Folders where data may not even lie below: the system's own, and those that a reboot empties.
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
    "/opt/etcd",  # the binaries
)
_TRIPLES = (("ca", "cert", "key"), ("peer_ca", "peer_cert", "peer_key"), ("client_cert", "client_key"))
_SCHEMES = ("s3", "gs", "az")
_A_DESTINATION = "write a folder, or s3://bucket/prefix"
_BRACES = re.compile(r"\{[^}]*\}?|\}")


def section_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Everything that is wrong inside the sections."""
    yield from _version(spec)
    yield from _timing(spec)
    yield from _quota(spec)
    yield from _folders(spec)
    yield from _extra(spec)
    yield from _provided(spec) if spec.tls.mode == "provided" else _managed(spec)
    yield from _install(spec)
    yield from _ssh(spec)
    yield from _destinations(spec)
    yield from _encryption(spec)
    yield from _retention(spec)


def _version(spec: Spec) -> Iterator[Mistake]:
    """Flags change by series (rule 51), so only known ones are written for."""
    if spec.version.series not in NEWEST:
        first, last = (f"{major}.{minor}" for major, minor in (min(NEWEST), max(NEWEST)))
        message = f"etcdup runs etcd {first} to {last}, not {spec.version}"
        yield Mistake(
            (("version",),), message, f"write {NEWEST[max(NEWEST)]}, or an older one of these series"
        )


def _timing(spec: Spec) -> Iterator[Mistake]:
    """etcd refuses to start with less than 5 heartbeats to an election."""
    heartbeat, election = spec.etcd.heartbeat_ms, spec.etcd.election_ms
    if election < 5 * heartbeat:
        message = (
            f"`election_ms` ({election}) is less than 5 x `heartbeat_ms` ({heartbeat}); etcd refuses that"
        )
        written = spec.etcd.model_fields_set
        keys = (
            ("election_ms", "heartbeat_ms") if "election_ms" in written else ("heartbeat_ms", "election_ms")
        )
        yield Mistake(tuple(("etcd", key) for key in keys), message, f"use {10 * heartbeat} or more")


def _quota(spec: Spec) -> Iterator[Mistake]:
    if spec.etcd.quota < _SMALLEST_QUOTA:
        message = f"`quota` is {show_size(spec.etcd.quota)}; etcd needs {show_size(_SMALLEST_QUOTA)} at least"
        yield Mistake((("etcd", "quota"),), message, "write it with its unit, like 2GiB")


def _folders(spec: Spec) -> Iterator[Mistake]:
    """Data is moved aside as a whole, so its folders belong to nobody else and not to each other."""
    data_dir, wal_dir = spec.etcd.data_dir, spec.etcd.wal_dir
    for key, folder in (("data_dir", data_dir), ("wal_dir", wal_dir)):
        if folder is not None and _is_system_folder(folder):
            hint = "use a folder of its own, like /var/lib/etcd"
            yield Mistake((("etcd", key),), f"`{key}` cannot be {folder}: that is the system's", hint)
    both: tuple[Loc, ...] = (("etcd", "wal_dir"), ("etcd", "data_dir"))
    if wal_dir is None:
        return
    if wal_dir == data_dir:
        yield Mistake(both, f"`wal_dir` and `data_dir` are both {data_dir}", "leave `wal_dir` out")
    elif is_within(wal_dir, data_dir) or is_within(data_dir, wal_dir):
        message = f"of `wal_dir` ({wal_dir}) and `data_dir` ({data_dir}) one lies in the other"
        yield Mistake(both, message, "use separate folders, or leave `wal_dir` out")
    elif _is_system_folder(around := str(PurePosixPath(wal_dir).parent)) and not _is_system_folder(wal_dir):
        message = f"`wal_dir` cannot be {wal_dir}: etcd must be able to rename it in {around}, which is the system's"
        hint = f"name a folder in one of its own, like {wal_dir}/wal; its disk is mounted on {wal_dir} then"
        yield Mistake((("etcd", "wal_dir"),), message, hint)


def _is_system_folder(folder: str) -> bool:
    return folder in _SHARED or any(is_within(folder, system) for system in _FORBIDDEN)


def _extra(spec: Spec) -> Iterator[Mistake]:
    for flag, value in spec.etcd.extra.items():
        if flag == "peer-cert-allowed-cn" and spec.tls.mode == "managed":
            message = f"`{flag}` is set by etcdup itself, to the name that its peers' certificates bear"
            yield Mistake((("etcd", "extra", flag), ("tls", "mode")), message)
        elif refused := extra_flags.why_refused(flag, value):
            yield Mistake((("etcd", "extra", flag),), *refused)


def _managed(spec: Spec) -> Iterator[Mistake]:
    mode: Loc = ("tls", "mode")
    for key in (key for triple in _TRIPLES for key in triple):
        if getattr(spec.tls, key) is not None:
            hint = "add `mode: provided` to use certificates of your own, or leave this out"
            yield Mistake((("tls", key), mode), f"`{key}` is for `mode: provided`", hint)
    if spec.tls.ca_days < spec.tls.days:
        message = f"the CA would end ({spec.tls.ca_days} days) before its certificates ({spec.tls.days} days)"
        at = "ca_days" if "ca_days" in spec.tls.model_fields_set else "days"
        yield Mistake((("tls", at), ("tls", "ca_days"), ("tls", "days")), message)


def _provided(spec: Spec) -> Iterator[Mistake]:
    """The three files must be there; the peers' and the clients' own are all or nothing."""
    mode: Loc = ("tls", "mode")
    for key in ("dir", "days", "ca_days", "passphrase_command"):
        if key in spec.tls.model_fields_set:
            yield Mistake((("tls", key), mode), f"`{key}` is for `mode: managed`", "leave it out")
    for triple in _TRIPLES:
        given = [key for key in triple if getattr(spec.tls, key) is not None]
        for key in triple:
            if getattr(spec.tls, key) is None and (given or triple[0] == "ca"):
                why = "`mode: provided`" if triple[0] == "ca" else f"`{given[0]}`"
                yield Mistake((("tls", key), mode), f"{why} needs `{key}:` too")
        for key in given:
            for found in _BRACES.findall(getattr(spec.tls, key)):
                if found != "{name}":
                    message = f"`{found}` means nothing here; only `{{name}}` stands for something"
                    yield Mistake((("tls", key),), message)


def _install(spec: Spec) -> Iterator[Mistake]:
    install, source = spec.install, ("install", "from")
    if install.source == "path" and install.path is None:
        hint = "add `path:`, the folder with etcd and etcdctl"
        yield Mistake((source, ("install", "path")), "`from: path` needs a path", hint)
    if install.source != "path" and install.path is not None:
        message = f"`path` is for `from: path`, and this is `from: {install.source}`"
        yield Mistake((("install", "path"), source), message, "write `from: path`, or leave `path` out")
    if install.mirror is None:
        return
    if install.source not in ("auto", "release"):
        message = f"`mirror` is for releases, and this is `from: {install.source}`"
        yield Mistake(
            (("install", "mirror"), source), message, "write `from: release`, or leave `mirror` out"
        )
    elif not _is_web_url(install.mirror):
        message = f"`{install.mirror}` is not a URL"
        yield Mistake((("install", "mirror"),), message, "write it like https://mirror.example.com/etcd")


def _ssh(spec: Spec) -> Iterator[Mistake]:
    if (spec.ssh.identity_file or "").endswith(".pub"):
        message = f"`{spec.ssh.identity_file}` is the public half of a key"
        yield Mistake((("ssh", "identity_file"),), message, "name the private one, without .pub")
    if "://" in (spec.ssh.jump or ""):
        yield Mistake(
            (("ssh", "jump"),), f"`{spec.ssh.jump}` is a URL", "write it like user@host or user@host:port"
        )
    if spec.ssh.connect_timeout < 1:
        yield Mistake((("ssh", "connect_timeout"),), "`connect_timeout` must be 1s at least")


def _destinations(spec: Spec) -> Iterator[Mistake]:
    places, at = spec.backup.to, ("backup", "to")
    if not places:
        yield Mistake((at,), "`to` is empty", _A_DESTINATION)
    for index, place in enumerate(places):
        yield from _destination(place, (*at, index))
    for first, second in combinations(range(len(places)), 2):
        if _is_same_destination(places[first], places[second]):
            yield Mistake(((*at, second),), f"`{places[second]}` is named twice", "leave one of them out")
    in_buckets = any(place.startswith("s3://") for place in places)
    for key in ("endpoint", "region", "path_style", "sse"):
        if not in_buckets and key in spec.backup.model_fields_set and getattr(spec.backup, key) is not None:
            yield Mistake((("backup", key), at), f"`{key}` is for backups to s3://", "leave it out")
    if spec.backup.endpoint is not None and not _is_web_url(spec.backup.endpoint):
        message = f"`{spec.backup.endpoint}` is not a URL"
        yield Mistake((("backup", "endpoint"),), message, "write it like https://s3.example.com")
    elif (
        spec.backup.endpoint is not None
        and not spec.backup.path_style
        and parse_ip(urlsplit(spec.backup.endpoint).hostname or "")
    ):
        message = (
            "`path_style: false` makes the bucket a name before the endpoint's, and that is an IP address"
        )
        hint = "leave `path_style` out, or give `endpoint` the store's name"
        yield Mistake((("backup", "path_style"), at), message, hint)


def _destination(place: str, at: Loc) -> Iterator[Mistake]:
    scheme, separator, rest = place.partition("://")
    if "@" in rest.split("/")[0]:
        # The message does not show the value: it may hold a secret key.
        hint = "leave them to the environment (AWS_ACCESS_KEY_ID, ...) or the host's role"
        yield Mistake((at,), "`to` holds credentials, and this file is no place for them", hint)
    elif separator and scheme not in _SCHEMES:
        yield Mistake((at,), f"`{scheme}://` is no place for backups", _A_DESTINATION)
    elif separator and not rest.split("/")[0]:
        yield Mistake((at,), f"`{place}` names no bucket", f"write it like {scheme}://bucket/prefix")
    elif not place.strip():
        yield Mistake((at,), "`to` is empty", _A_DESTINATION)


def _is_same_destination(one: str, other: str) -> bool:
    return "@" not in one and PurePosixPath(one) == PurePosixPath(other)


def _encryption(spec: Spec) -> Iterator[Mistake]:
    key, at = spec.backup.encrypt_to, ("backup", "encrypt_to")
    if key is None or is_public_key(key):
        return
    if is_private_key(key):  # The message does not show it.
        hint = "write the public one, age1...; who has both could as well not encrypt"
        yield Mistake((at,), "`encrypt_to` holds a private key, and this file is no place for it", hint)
        return
    yield Mistake(
        (at,), f"`{key}` is no public key of age", "`age-keygen` prints one: age1 and 58 more characters"
    )


def _retention(spec: Spec) -> Iterator[Mistake]:
    if spec.backup.every < 1:
        yield Mistake((("backup", "every"),), "`every` must be 1s at least", "write it like 1h")
    keep = spec.backup.keep
    if not (keep.hourly or keep.daily or keep.weekly or keep.monthly):
        at: Loc = ("backup", "keep")
        message = "every backup would be deleted again: `keep` keeps none"
        yield Mistake(
            (at, *((*at, key) for key in type(keep).model_fields)), message, "keep 24 hourly, for one"
        )


def _is_web_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in text
    except ValueError:
        return False
