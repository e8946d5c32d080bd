"""Rules between hosts: size of the cluster, names, addresses, ports. Each single value is already valid.

Each rule is a function that yields `Mistake`s from a Spec. All rules run, so all mistakes are reported at once.
A mistake lists all parts of the file that the rule evaluated. If one of those parts could not be read, `load`
drops the mistake, because the rule evaluated a default that the operator did not choose.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from etcdup.core.spec.address import is_any_address, is_loopback
from etcdup.core.spec.model import HostSpec, Spec, is_ip
from etcdup.core.spec.yaml_document import Loc

_PORT_KEYS = ("client_port", "peer_port", "metrics_port")


@dataclass(frozen=True)
class Mistake:
    """A contradiction between keys. It is reported at the position of the first key in `about`."""

    about: tuple[Loc, ...]
    message: str
    hint: str = ""


def host_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake between the hosts."""
    yield from _size(spec)
    yield from _ports(spec)
    for index, host in enumerate(spec.hosts):
        yield from _reach(spec, index, host)
        yield from _local(index, host)
    for first, second in combinations(range(spec.size), 2):
        yield from _same_name(spec, first, second)
        yield from _same_member(spec, first, second)
        yield from _same_machine(spec, first, second)
        yield from _same_root(spec, first, second)


def _size(spec: Spec) -> Iterator[Mistake]:
    """A cluster has 1, 3, 5 or 7 members (rule 8). https://etcd.io/docs/v3.6/faq/"""
    size = spec.size
    if size == 0:
        yield Mistake((("hosts",),), "`hosts` is empty", "list 1, 3, 5 or 7 hosts; 3 are recommended")
    elif size > 7:
        hint = "use 5 hosts, or 7 at most: each write waits for a majority of the members"
        yield Mistake((("hosts",),), f"`hosts` has {size} hosts; at most 7 are allowed", hint)
    elif size == 2:
        message = "`hosts` has 2 hosts: if either member fails, the cluster loses its quorum"
        yield Mistake((("hosts",),), message, "use 3 hosts, which tolerate 1 failure, or 1 host")
    elif size % 2 == 0:
        message = f"`hosts` has {size} hosts: {size} members tolerate no more failures than {size - 1}"
        yield Mistake((("hosts",),), message, f"use {size - 1} or {size + 1} hosts")


def _ports(spec: Spec) -> Iterator[Mistake]:
    """The three ports of a member differ. A conflict between the defaults is reported once, not for each host."""
    for one, other in combinations(_PORT_KEYS, 2):
        port = getattr(spec.etcd, other)
        if getattr(spec.etcd, one) == port:
            about: tuple[Loc, ...] = (_written(spec, other, one), ("etcd", one), ("etcd", other))
            yield Mistake(about, f"`{one}` and `{other}` are both {port}", "use a different port for each")
    for index, host in enumerate(spec.hosts):
        for one, other in combinations(_PORT_KEYS, 2):
            own = [key for key in (other, one) if getattr(host, key) is not None]
            port = getattr(spec, other)(host)
            if own and getattr(spec, one)(host) == port:
                about = tuple([("hosts", index, key) for key in own] + [("etcd", one), ("etcd", other)])
                message = f"`{one}` and `{other}` of host `{host.name}` are both {port}"
                yield Mistake(about, message, "use a different port for each")


def _written(spec: Spec, *keys: str) -> Loc:
    """Return the first of these keys of `etcd` that is in the file, so that the mistake has a position there."""
    return ("etcd", next((key for key in keys if key in spec.etcd.model_fields_set), keys[0]))


def _reach(spec: Spec, index: int, host: HostSpec) -> Iterator[Mistake]:
    """Members must be able to connect to each other, and etcd can only listen on IP addresses."""
    at: Loc = ("hosts", index, "address")
    if is_loopback(host.address):
        if spec.size > 1 and not all(each.local for each in spec.hosts):
            message = f"`{host.address}` is a loopback address; other hosts cannot connect to it"
            yield Mistake((at, ("hosts",)), message, "write the address that the other members connect to")
    elif not is_ip(host.address) and host.listen_address is None:
        message = f"`{host.address}` is a DNS name, and etcd can only listen on IP addresses"
        hint = "add `listen_address:` with the IP address of this host"
        yield Mistake((at, ("hosts", index, "listen_address")), message, hint)


def _local(index: int, host: HostSpec) -> Iterator[Mistake]:
    local: Loc = ("hosts", index, "local")
    if host.root and not host.local:
        at: Loc = ("hosts", index, "root")
        message = "`root` is only allowed for a host with `local: true`"
        yield Mistake((at, local), message, "add `local: true`, or remove `root`")
    if host.local and host.ssh_address:
        at = ("hosts", index, "ssh_address")
        message = "`ssh_address` is not allowed for a host with `local: true`: etcdup does not use SSH for it"
        yield Mistake((at, local), message, "remove `ssh_address`")


def _same_name(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    name = spec.hosts[second].name
    if name == spec.hosts[first].name:
        about: tuple[Loc, ...] = (("hosts", second, "name"), ("hosts", first, "name"))
        message = f"hosts {first + 1} and {second + 1} have the same `name`, `{name}`"
        yield Mistake(about, message, "use a different name for each host")


def _same_member(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """etcd reads two members of one name in `initial-cluster` as one member with two URLs."""
    for index, at in ((second, first), (first, second)):
        host, other = spec.hosts[index], spec.hosts[at]
        if host.member is None or host.member not in (other.name, other.member_name):
            continue
        if host.member == other.member and index == first:
            continue  # The pair is reported once.
        key = "member" if host.member == other.member else "name"
        about: tuple[Loc, ...] = (("hosts", index, "member"), ("hosts", at, key))
        message = f"`member` of `{host.name}` is `{host.member}`, the `{key}` of host {at + 1} too"
        yield Mistake(about, message, "use a different name for each member")


def _same_machine(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """Each machine has one member: two on one machine would fail together. Local members are for tests."""
    one, other = spec.hosts[first], spec.hosts[second]
    if one.local and other.local:
        yield from _same_port(spec, first, second)
        return
    for key in ("address", "ssh_address", "listen_address"):
        value = getattr(other, key)
        if value is not None and value == getattr(one, key) and not is_any_address(value):
            about: tuple[Loc, ...] = (("hosts", second, key), ("hosts", first, key))
            message = f"hosts {first + 1} and {second + 1} have the same `{key}`, `{value}`"
            yield Mistake(about, message, "use one machine for each host")


def _same_port(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """Local members may share an address, but not a port of it. A member can listen on all addresses."""
    one, other = spec.hosts[first], spec.hosts[second]
    is_any = any(is_any_address(host.listen_address or "") for host in (one, other))
    if one.address != other.address and not is_any:
        return
    taken = {getattr(spec, key)(one): key for key in _PORT_KEYS}
    for key in _PORT_KEYS:
        port = getattr(spec, key)(other)
        if port in taken:
            at: Loc = ("hosts", second, "address" if getattr(other, key) is None else key)
            message = f"`{one.name}` and `{other.name}` would both listen on port {port} of {one.address}"
            about = (at, ("hosts", first, "address"), ("hosts", first, taken[port]), ("etcd", key))
            yield Mistake(about, message, f"set another `{key}` for `{other.name}`")


def _same_root(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """Each local member has a directory of its own. Otherwise two members would overwrite each other's files."""
    one, other = spec.hosts[first], spec.hosts[second]
    if not (one.local and other.local):
        return
    about: tuple[Loc, ...] = (("hosts", second, "root"), ("hosts", first, "root"))
    names = f"`{one.name}` and `{other.name}`"
    if one.root is None or other.root is None:
        message = f"{names} are both local, so each needs a `root` directory"
        yield Mistake(about, message, "set `root:` to a separate directory for each of them")
    elif is_within(one.root, other.root) or is_within(other.root, one.root):
        message = f"{names} are both local, and `root` of one is inside `root` of the other"
        yield Mistake(about, message, "set `root:` to a separate directory for each of them")


def is_within(path: str, folder: str) -> bool:
    """Return True if the path is the folder or is below it. Both are absolute and have no `..`."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
