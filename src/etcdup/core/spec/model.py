"""The content of cluster.yaml after defaults, frozen.

A Spec contains nothing about the state of a host. `load.py` reads it from YAML and reports each problem with its
position. The field names are the keys of cluster.yaml, so a renamed field breaks the files of all users.
"""

import ipaddress
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from etcdup.core.spec.address import parse_address, parse_listen_address, parse_ssh_address
from etcdup.core.spec.plain_value import MEMBER_NAME_LIMIT, is_member_name
from etcdup.core.spec.units import Revisions, WrongValue, parse_compaction, parse_duration, parse_size
from etcdup.core.spec.version import Version, parse_version

GIB = 1024**3

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
# sh and systemd read these characters as they are, without quotes.
_PATH = re.compile(r"/[A-Za-z0-9_.,:/@+=-]*", re.ASCII)


def is_host_name(text: str) -> bool:
    """Return whether the text can be the `name` of a host or a cluster."""
    return _NAME.fullmatch(text) is not None


def _name(value: str) -> str:
    if not is_host_name(value):
        allowed = "at most 63 lower-case letters, digits, `-` and `.`"
        hint = f"use {allowed}; the first and the last must be a letter or digit"
        raise WrongValue(f"`{value}` is not a valid name", hint)
    return value


def _member_name(value: str) -> str:
    if not is_member_name(value):
        hint = (
            f"write 1 to {MEMBER_NAME_LIMIT} characters, without `,`, `=`, quotes, `\\`, `$`, `%`, back-quotes and "
            "control characters"
        )
        raise WrongValue(f"`{value}` is not a valid name of a member", hint)
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise WrongValue(f"`{value}` is not an absolute path", "write the full path, beginning with /")
    if not _PATH.fullmatch(value):
        hint = "use letters, digits and `/ . _ - + @ : , =` only: sh and systemd treat other characters specially"
        raise WrongValue(f"`{value}` contains a character that is not allowed in a path", hint)
    if ".." in value.split("/"):
        raise WrongValue(f"`{value}` contains `..`", "write the path without `..`")
    return str(PurePosixPath("/" + value.lstrip("/")))


def _destinations(value: Any) -> Any:
    """Return the destinations as a tuple: one text, or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if isinstance(found, list | tuple) and all(isinstance(each, str) for each in found):
        return tuple(found)
    hint = "write a directory, or s3://bucket/prefix, or a list of these: [./backups, s3://bucket/prefix]"
    raise WrongValue("the value must be a text or a list of texts", hint)


# etcdup uses it as a file name, in a certificate's common name and in commands. So only the characters of a host name
# are allowed.
Name = Annotated[str, AfterValidator(_name)]
# A name of etcd. In `initial-cluster`, `,` and `=` are separators, so etcd cannot start with them either.
MemberName = Annotated[str, AfterValidator(_member_name)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)]
Seconds = Annotated[int, BeforeValidator(parse_duration, json_schema_input_type=int | str)]
Compaction = Annotated[
    int | Revisions, BeforeValidator(parse_compaction, json_schema_input_type=int | str | dict[str, int])
]
Destinations = Annotated[
    tuple[str, ...], BeforeValidator(_destinations, json_schema_input_type=str | tuple[str, ...])
]
EtcdVersion = Annotated[Version, BeforeValidator(parse_version, json_schema_input_type=str)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, data: Any) -> Any:
        """Treat a key without a value as absent, for example `ssh:` when all keys below it are commented out."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


class HostSpec(_Section):
    """One machine and the member on it. Members and clients connect to `address`."""

    name: Name
    member: MemberName | None = None
    address: Annotated[str, BeforeValidator(parse_address)]
    ssh_address: Annotated[str, BeforeValidator(parse_ssh_address)] | None = None
    listen_address: Annotated[str, BeforeValidator(parse_listen_address)] | None = None
    client_port: Port | None = None
    peer_port: Port | None = None
    metrics_port: Port | None = None
    data_dir: AbsolutePath | None = None
    wal_dir: AbsolutePath | None = None
    zone: str | None = None
    local: bool = False
    # A local member with a `root` has all its files below this directory. It runs as a plain process of the current
    # user, without systemd and without root rights. `etcdup demo` uses this. It requires `local: true`.
    root: AbsolutePath | None = None

    @property
    def member_name(self) -> str:
        """Return the name of the member in etcd. Everywhere else, the member has the name of its host."""
        return self.member or self.name


class SshSpec(_Section):
    """How SSH connects to the hosts. An absent key has the value of ssh_config, then the default of SSH."""

    user: str | None = None
    port: Port | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    config_file: str | None = None
    jump: str | None = None
    sudo: bool = False
    connect_timeout: Seconds = 10


class InstallSpec(_Section):
    """Where the binaries of etcd come from."""

    # `from` is a Python keyword, hence the alias.
    source: Literal["auto", "release", "package", "go", "path", "host"] = Field("auto", alias="from")
    path: str | None = None
    mirror: str | None = None
    # The checksums of the tarballs of `version`, by architecture. For `from: host`, those of the programs.
    sha256: dict[str, str] = Field(default_factory=dict)


class AccessSpec(_Section):
    """The user of etcd as which etcdup logs in. The password is never in cluster.yaml."""

    user: str
    password_command: str


class EtcdSpec(_Section):
    """Settings of etcd, the same on each member (rule 87)."""

    data_dir: AbsolutePath = "/var/lib/etcd"
    wal_dir: AbsolutePath | None = None
    client_port: Port = 2379
    peer_port: Port = 2380
    metrics_port: Port = 2381
    quota: Size = 2 * GIB
    heartbeat_ms: Annotated[int, Field(ge=10, le=5000, strict=True)] = 100
    election_ms: Annotated[int, Field(ge=50, le=50_000, strict=True)] = 1000
    auto_compaction: Compaction = 8 * 3600
    extra: dict[str, str | int | float | bool] = Field(default_factory=dict)
    environment: dict[str, str | int | float | bool] = Field(default_factory=dict)
    access: AccessSpec | None = None


class TlsSpec(_Section):
    """Certificates. `managed`: etcdup has a CA in `dir`. `provided`: the operator provides all files.

    If only `ca`, `cert` and `key` are set, these three files are used for clients and for peers of each member. In a
    path, `{name}` is replaced by the name of the member.
    """

    mode: Literal["managed", "provided"] = "managed"
    dir: str = "./pki"
    days: Annotated[int, Field(ge=1, le=3650, strict=True)] = 365
    ca_days: Annotated[int, Field(ge=1, le=7300, strict=True)] = 3650
    passphrase_command: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    peer_ca: str | None = None
    peer_cert: str | None = None
    peer_key: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    client_auth: Literal["required", "optional"] = "required"
    crl_file: str | None = None
    peer_crl_file: str | None = None


class KeepSpec(_Section):
    """How many backups to keep: hourly, daily, weekly and monthly ones."""

    hourly: Annotated[int, Field(ge=0, strict=True)] = 24
    daily: Annotated[int, Field(ge=0, strict=True)] = 7
    weekly: Annotated[int, Field(ge=0, strict=True)] = 0
    monthly: Annotated[int, Field(ge=0, strict=True)] = 0


class BackupSpec(_Section):
    """The destinations of backups, and how many backups are kept. `every` is not used yet."""

    # Each backup is written to all destinations at once. It is read from the first that has the whole backup.
    to: Destinations = ("./backups",)
    endpoint: str | None = None
    region: str | None = None
    # True: the bucket is in the path of the URL, as most S3 stores other than Amazon's require.
    # False: the bucket is part of the host name.
    path_style: bool = True
    # The server-side encryption that etcdup requests from the store.
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    # A public key of age. The backup is encrypted before it is sent, so the store cannot read it.
    encrypt_to: str | None = None
    every: Seconds = 3600
    keep: KeepSpec = KeepSpec()


class Spec(_Section):
    """The content of a whole cluster.yaml."""

    name: Name
    version: EtcdVersion
    hosts: tuple[HostSpec, ...]
    ssh: SshSpec = SshSpec()
    install: InstallSpec = InstallSpec()
    etcd: EtcdSpec = EtcdSpec()
    tls: TlsSpec = TlsSpec()
    backup: BackupSpec = BackupSpec()

    @property
    def size(self) -> int:
        """Return how many voters the cluster must have."""
        return len(self.hosts)

    def host(self, name: str) -> HostSpec:
        """Return the host of that name. Raise KeyError if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def at(self, version: Version) -> "Spec":
        """Return the same cluster with another version of etcd. `install.sha256` is of the version in cluster.yaml."""
        if version == self.version:
            return self
        install = self.install.model_copy(update={"sha256": {}})
        return self.model_copy(update={"version": version, "install": install})

    def data_dir(self, host: HostSpec) -> str:
        return host.data_dir or self.etcd.data_dir

    def wal_dir(self, host: HostSpec) -> str | None:
        return host.wal_dir or self.etcd.wal_dir

    def client_port(self, host: HostSpec) -> int:
        return host.client_port or self.etcd.client_port

    def peer_port(self, host: HostSpec) -> int:
        return host.peer_port or self.etcd.peer_port

    def metrics_port(self, host: HostSpec) -> int:
        return host.metrics_port or self.etcd.metrics_port

    def client_url(self, host: HostSpec) -> str:
        """Return the client URL of the member on this host."""
        return f"https://{bracketed(host.address)}:{self.client_port(host)}"

    def peer_url(self, host: HostSpec) -> str:
        """Return the peer URL of the member on this host. It is part of the member's identity (rule 5)."""
        return f"https://{bracketed(host.address)}:{self.peer_port(host)}"

    def initial_cluster(self) -> str:
        """Return the value of etcd's `initial-cluster`. The peer URLs equal the advertised ones exactly (rule 5)."""
        return ",".join(f"{host.member_name}={self.peer_url(host)}" for host in self.hosts)

    def endpoints(self) -> str:
        """Return the client URLs of all members, comma-separated, as the `--endpoints` of etcdctl."""
        return ",".join(self.client_url(host) for host in self.hosts)


def is_ip(address: str) -> bool:
    """Return True if the address is an IPv4 or IPv6 literal, not a DNS name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def bracketed(address: str) -> str:
    """Return the address in the form that URLs use: IPv6 literals have brackets."""
    return f"[{address}]" if ":" in address else address


def resolve_from_folder(path: str, folder: str) -> str:
    """Return a path of cluster.yaml, where a relative path starts at the file's own directory. `~` is not expanded."""
    if path.startswith(("/", "~")):
        return path
    return str(PurePosixPath(folder) / path)
