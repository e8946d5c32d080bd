"""What the operator wrote, after defaults: the frozen form of cluster.yaml.

A Spec knows nothing of any host's condition. `load.py` reads it from YAML and reports every problem with
its place; the names here are the file's keys, so they are a contract with every user's file.
"""

import ipaddress
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from etcdup.core.spec.address import parse_address, parse_listen_address, parse_ssh_address
from etcdup.core.spec.units import WrongValue, parse_duration, parse_size
from etcdup.core.spec.version import Version, parse_version

GIB = 1024**3

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_PATH = re.compile(r"/[^\x00-\x20\x7f\"'\\$%]*")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        allowed = "lower-case letters, digits, `-` and `.`; a letter or digit first and last; 63 at most"
        raise WrongValue(f"`{value}` cannot be a name", f"a name holds {allowed}")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise WrongValue(f"`{value}` is not an absolute path", "write the whole path, from / on")
    if not _PATH.fullmatch(value):
        raise WrongValue(f"`{value}` holds a space, a quote, `\\`, `$` or `%`, which systemd would change")
    if ".." in value.split("/"):
        raise WrongValue(f"`{value}` goes up with `..`", "write the path that is meant")
    return str(PurePosixPath("/" + value.lstrip("/")))


def _destinations(value: Any) -> Any:
    """One place, or a list of them."""
    found = [value] if isinstance(value, str) else value
    if isinstance(found, list | tuple) and all(isinstance(each, str) for each in found):
        return tuple(found)
    raise WrongValue("it must be text, or a list of texts", "write a folder, s3://bucket/prefix, or [both]")


# etcd takes any string as a member name, but it becomes a file name, a certificate's CN and a word in
# `initial-cluster` (where `,` and `=` separate), so it is held to what a hostname may be.
Name = Annotated[str, AfterValidator(_name)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Size = Annotated[int, BeforeValidator(parse_size)]
Seconds = Annotated[int, BeforeValidator(parse_duration)]
EtcdVersion = Annotated[Version, BeforeValidator(parse_version)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, data: Any) -> Any:
        """A key without a value (`ssh:` with all below it commented out) is as good as not there."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


class HostSpec(_Section):
    """One machine and the member on it. `address` is what members and clients dial."""

    name: Name
    address: Annotated[str, BeforeValidator(parse_address)]
    ssh_address: Annotated[str, BeforeValidator(parse_ssh_address)] | None = None
    listen_address: Annotated[str, BeforeValidator(parse_listen_address)] | None = None
    client_port: Port | None = None
    peer_port: Port | None = None
    metrics_port: Port | None = None
    zone: str | None = None
    local: bool = False
    # Below this folder a local member keeps all of its files and runs as a plain process of this user,
    # without systemd or root: what `etcdup demo` makes. Needs `local: true`.
    root: AbsolutePath | None = None


class SshSpec(_Section):
    """How hosts are reached. What is left out is taken from ssh_config, then from SSH's own defaults."""

    user: str | None = None
    port: Port | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    config_file: str | None = None
    jump: str | None = None
    sudo: bool = False
    connect_timeout: Seconds = 10


class InstallSpec(_Section):
    """Where etcd's binaries come from."""

    # `from` is a Python keyword, hence the alias.
    source: Literal["auto", "release", "package", "go", "path"] = Field("auto", alias="from")
    path: str | None = None
    mirror: str | None = None


class EtcdSpec(_Section):
    """Settings of etcd itself, the same on every member (rule 87)."""

    data_dir: AbsolutePath = "/var/lib/etcd"
    wal_dir: AbsolutePath | None = None
    client_port: Port = 2379
    peer_port: Port = 2380
    metrics_port: Port = 2381
    quota: Size = 2 * GIB
    heartbeat_ms: Annotated[int, Field(ge=10, le=5000, strict=True)] = 100
    election_ms: Annotated[int, Field(ge=50, le=50_000, strict=True)] = 1000
    auto_compaction: Seconds = 8 * 3600
    extra: dict[str, str | int | float | bool] = Field(default_factory=dict)


class TlsSpec(_Section):
    """`managed`: etcdup keeps a CA below `dir`. `provided`: the files are the operator's.

    With `ca`, `cert` and `key` alone the three files serve clients and peers of every member. In paths,
    `{name}` stands for the member's name.
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


class KeepSpec(_Section):
    """How many backups to keep of each age."""

    hourly: Annotated[int, Field(ge=0, strict=True)] = 24
    daily: Annotated[int, Field(ge=0, strict=True)] = 7
    weekly: Annotated[int, Field(ge=0, strict=True)] = 0
    monthly: Annotated[int, Field(ge=0, strict=True)] = 0


class BackupSpec(_Section):
    """Where backups go, how often, and how long they stay."""

    # Each backup goes to all of them at once; what is read is read from the first that has it whole.
    to: Annotated[tuple[str, ...], BeforeValidator(_destinations)] = ("./backups",)
    endpoint: str | None = None
    region: str | None = None
    # The bucket in the URL's path rather than in the host's name: what most stores beside Amazon's want.
    path_style: bool = True
    # What the store is asked to encrypt with, by itself.
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    # A public key of age: the store then never sees what is in a backup.
    encrypt_to: str | None = None
    every: Seconds = 3600
    keep: KeepSpec = KeepSpec()


class Spec(_Section):
    """A whole cluster.yaml."""

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
        """How many voting members the cluster is to have."""
        return len(self.hosts)

    def host(self, name: str) -> HostSpec:
        """The host of that name; KeyError if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def at(self, version: Version) -> "Spec":
        """The same cluster with another version of etcd."""
        return self.model_copy(update={"version": version})

    def client_port(self, host: HostSpec) -> int:
        return host.client_port or self.etcd.client_port

    def peer_port(self, host: HostSpec) -> int:
        return host.peer_port or self.etcd.peer_port

    def metrics_port(self, host: HostSpec) -> int:
        return host.metrics_port or self.etcd.metrics_port

    def client_url(self, host: HostSpec) -> str:
        """Where clients reach the member on this host."""
        return f"https://{bracketed(host.address)}:{self.client_port(host)}"

    def peer_url(self, host: HostSpec) -> str:
        """Where other members reach the member on this host; part of its identity (rule 5)."""
        return f"https://{bracketed(host.address)}:{self.peer_port(host)}"

    def initial_cluster(self) -> str:
        """Every member as etcd's `initial-cluster` wants it, byte for byte as advertised (rule 5)."""
        return ",".join(f"{host.name}={self.peer_url(host)}" for host in self.hosts)

    def endpoints(self) -> str:
        """Every member's client URL, comma-separated, as etcdctl takes them."""
        return ",".join(self.client_url(host) for host in self.hosts)


def is_ip(address: str) -> bool:
    """Whether the address is an IPv4 or IPv6 literal rather than a DNS name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def bracketed(address: str) -> str:
    """The address as a URL holds it: IPv6 literals in brackets."""
    return f"[{address}]" if ":" in address else address


def resolve_from_folder(path: str, folder: str) -> str:
    """A path of cluster.yaml, taken from the file's own folder when it is relative. `~` is left alone."""
    if path.startswith(("/", "~")):
        return path
    return str(PurePosixPath(folder) / path)
