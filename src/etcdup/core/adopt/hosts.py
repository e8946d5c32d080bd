"""The keys that each host has in a draft: names and addresses, and the directories and ports that members differ in."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count

from etcdup.core.adopt.member import Member, Url
from etcdup.core.adopt.text import HostKeys
from etcdup.core.adopt.values import Key
from etcdup.core.spec.address import is_loopback, parse_ip
from etcdup.core.spec.model import is_host_name

# Characters that the name of a host cannot have.
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.-]+", re.ASCII)


def common_keys(members: Sequence[Member]) -> tuple[Key, ...]:
    """Return the directories and ports for `etcd`: of each, the one that most members have.

    A host can have another `wal_dir`, but not none. So `etcd` has it only if each member has one.
    """
    found: dict[str, list[Key]] = {}
    for key in chain.from_iterable(map(_places, members)):
        found.setdefault(key.name, []).append(key)
    return tuple(
        _most_common(keys) for name, keys in found.items() if name != "wal_dir" or len(keys) == len(members)
    )


def _most_common(keys: Sequence[Key]) -> Key:
    chosen, _ = Counter(key.value for key in keys).most_common(1)[0]
    return next(key for key in keys if key.value == chosen)


def _places(member: Member) -> Iterator[Key]:
    """Yield the directories and ports of a member that cluster.yaml has for all members, or for one host."""
    yield Key("data_dir", member.data_dir, member.origin("data-dir"))
    if wal_dir := member.wal_dir:
        yield Key("wal_dir", wal_dir, member.origin("wal-dir"))
    if member.client:
        yield Key("client_port", member.client.port, "member list")
    yield Key("peer_port", member.peer.port, "member list")
    for url in sorted(member.urls("listen-metrics-urls"), key=_is_public)[:1]:
        yield Key("metrics_port", url.port, member.origin("listen-metrics-urls"))


def _is_public(url: Url) -> bool:
    """Whether etcdup would not listen there for metrics: it serves them with http on a loopback address."""
    return url.scheme != "http" or not is_loopback(url.host)


def host_keys(members: Sequence[Member], common: Iterable[Key]) -> Iterator[HostKeys]:
    """Yield the keys of each host. Directories and ports are among them if `common` has others."""
    shared = {key.name: key.value for key in common}
    for name, member in zip(_host_names(members), members, strict=True):
        places = [key for key in _places(member) if key.value != shared.get(key.name)]
        yield HostKeys((*_names(name, member), *_addresses(member), *places))


def _host_names(members: Sequence[Member]) -> Iterator[str]:
    """Yield a name for each host: that of its member, if a host can have it. No name is that of another member."""
    taken = {each.name for each in members}
    for number, member in enumerate(members, 1):
        plain = _NOT_IN_NAMES.sub("-", member.name.lower())[:63].strip("-.")
        made = chain([plain], (f"host{each}" for each in count(number)))
        usable = (each for each in made if is_host_name(each) and each not in taken)
        name = member.name if is_host_name(member.name) else next(usable)
        taken.add(name)
        yield name


def _names(name: str, member: Member) -> Iterator[Key]:
    """Yield `name`, and `member` if the member has another name in etcd: it keeps that one (rule 5)."""
    if name == member.name:
        yield Key("name", name, member.origin("name"))
        return
    yield Key("name", name, "made by etcdup: a host cannot have the name of this member")
    yield Key("member", member.name, member.origin("name"))


def _addresses(member: Member) -> Iterator[Key]:
    address = member.peer.host
    yield Key("address", address, f"peer URL {member.peer.text} in the member list")
    if member.inspected.host != address:
        yield Key("ssh_address", member.inspected.host, "the command line")
    # Peers connect to another address than the one that etcd listens on.
    listens = [url.host for url in member.urls("listen-peer-urls") if parse_ip(url.host)]
    if listens and address not in listens:
        yield Key("listen_address", listens[0], member.origin("listen-peer-urls"))
