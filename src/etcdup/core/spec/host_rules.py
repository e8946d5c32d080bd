"""What can be wrong between hosts whose every single value is well-formed: size, names, addresses, ports.

Each rule is a function `Spec -> Mistake...`; all of them run, so that all mistakes are reported at once.
A rule names every part of the file that it looked at: where one of those could not be read, its mistake
is dropped, because it would speak of a default that the operator never meant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from etcdup.core.spec.address import is_loopback
from etcdup.core.spec.model import HostSpec, Spec, is_ip
from etcdup.core.spec.yaml_document import Loc

_PORT_KEYS = ("client_port", "peer_port", "metrics_port")


@dataclass(frozen=True)
class Mistake:
    """Something wrong between several keys. It stands at the first of those that it is about."""

    about: tuple[Loc, ...]
    message: str
    hint: str = ""


def host_mistakes(spec: Spec) -> Iterator[Mistake]:
    """Everything that is wrong between the hosts."""
    yield from _size(spec)
    yield from _ports(spec)
    for index, host in enumerate(spec.hosts):
        yield from _reach(spec, index, host)
        yield from _local(index, host)
    for first, second in combinations(range(spec.size), 2):
        yield from _same_name(spec, first, second)
        yield from _same_machine(spec, first, second)
        yield from _same_root(spec, first, second)


def _size(spec: Spec) -> Iterator[Mistake]:
    """1, 3, 5 or 7 (rule 8)."""
    size = spec.size
    if size == 0:
        yield Mistake((("hosts",),), "there are no hosts", "list 3 of them (or 1, 5, 7)")
    elif size > 7:
        hint = "use 5, or 7 at most: every write waits for more than half of the members"
        yield Mistake((("hosts",),), f"{size} members are too many", hint)
    elif size == 2:
        hint = "use 3, which survive one failure, or 1"
        yield Mistake((("hosts",),), "2 members are worse than 1: when either fails, both stop", hint)
    elif size % 2 == 0:
        message = f"{size} members survive no more failures than {size - 1} do, and one more can fail"
        yield Mistake((("hosts",),), message, f"use {size - 1} or {size + 1}")


def _ports(spec: Spec) -> Iterator[Mistake]:
    """The three ports of a member differ. Of a clash between defaults each host would say the same."""
    for one, other in combinations(_PORT_KEYS, 2):
        port = getattr(spec.etcd, other)
        if getattr(spec.etcd, one) == port:
            about: tuple[Loc, ...] = (_written(spec, other, one), ("etcd", one), ("etcd", other))
            yield Mistake(about, f"`{one}` and `{other}` are both {port}")
    for index, host in enumerate(spec.hosts):
        for one, other in combinations(_PORT_KEYS, 2):
            own = [key for key in (other, one) if getattr(host, key) is not None]
            port = getattr(spec, other)(host)
            if own and getattr(spec, one)(host) == port:
                about = tuple([("hosts", index, key) for key in own] + [("etcd", one), ("etcd", other)])
                yield Mistake(about, f"`{one}` and `{other}` of `{host.name}` are both {port}")


def _written(spec: Spec, *keys: str) -> Loc:
    """The first of these keys of `etcd` that is in the file, so that a mistake stands at something seen."""
    return ("etcd", next((key for key in keys if key in spec.etcd.model_fields_set), keys[0]))


def _reach(spec: Spec, index: int, host: HostSpec) -> Iterator[Mistake]:
    """Members must be able to dial one another, and etcd binds IP addresses only."""
    at: Loc = ("hosts", index, "address")
    hint = "write the address that the other members reach"
    if is_loopback(host.address):
        if spec.size > 1 and not all(each.local for each in spec.hosts):
            yield Mistake((at, ("hosts",)), f"`{host.address}` means this very machine to every member", hint)
    elif not is_ip(host.address) and host.listen_address is None:
        message = f"`{host.address}` is a name, and etcd listens on IP addresses only"
        yield Mistake(
            (at, ("hosts", index, "listen_address")), message, "add `listen_address:` with the host's own IP"
        )


def _local(index: int, host: HostSpec) -> Iterator[Mistake]:
    local: Loc = ("hosts", index, "local")
    if host.root and not host.local:
        at: Loc = ("hosts", index, "root")
        yield Mistake(
            (at, local), "`root` is for members on this machine", "add `local: true`, or leave `root` out"
        )
    if host.local and host.ssh_address:
        at = ("hosts", index, "ssh_address")
        yield Mistake((at, local), "a `local: true` host is not reached by SSH", "leave `ssh_address` out")


def _same_name(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    name = spec.hosts[second].name
    if name == spec.hosts[first].name:
        about: tuple[Loc, ...] = (("hosts", second, "name"), ("hosts", first, "name"))
        yield Mistake(about, f"hosts {first + 1} and {second + 1} have the same name, `{name}`")


def _same_machine(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """One member a machine: two on one would fail together. Local members are for trying things out."""
    one, other = spec.hosts[first], spec.hosts[second]
    if one.local and other.local:
        yield from _same_port(spec, first, second)
        return
    for key in ("address", "ssh_address", "listen_address"):
        value = getattr(other, key)
        if value is not None and value == getattr(one, key):
            about: tuple[Loc, ...] = (("hosts", second, key), ("hosts", first, key))
            yield Mistake(about, f"hosts {first + 1} and {second + 1} have the same {key}, `{value}`")


def _same_port(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """Local members may share an address, but no port of it."""
    one, other = spec.hosts[first], spec.hosts[second]
    if one.address != other.address:
        return
    taken = {getattr(spec, key)(one): key for key in _PORT_KEYS}
    for key in _PORT_KEYS:
        port = getattr(spec, key)(other)
        if port in taken:
            at: Loc = ("hosts", second, "address" if getattr(other, key) is None else key)
            message = f"`{one.name}` and `{other.name}` would both listen on port {port} of {one.address}"
            about = (at, ("hosts", first, "address"), ("hosts", first, taken[port]), ("etcd", key))
            yield Mistake(about, message, f"give `{other.name}` another `{key}:`")


def _same_root(spec: Spec, first: int, second: int) -> Iterator[Mistake]:
    """Two members on this machine would write over each other's files."""
    one, other = spec.hosts[first], spec.hosts[second]
    if not (one.local and other.local):
        return
    about: tuple[Loc, ...] = (("hosts", second, "root"), ("hosts", first, "root"))
    message = f"`{one.name}` and `{other.name}` are both on this machine"
    if one.root is None or other.root is None:
        yield Mistake(about, message, "give each a folder of its own with `root:`")
    elif is_within(one.root, other.root) or is_within(other.root, one.root):
        yield Mistake(about, f"{message}, and the `root` of one lies in the other's", "use separate folders")


def is_within(path: str, folder: str) -> bool:
    """Whether the path is the folder or lies below it; both absolute and without `..`."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
