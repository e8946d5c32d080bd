"""Every first state of a cluster with a number of members, and every change of its cluster.yaml."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, product

from etcdup.core.spec.model import Spec
from tests.support.cluster_model import NEVER, Cluster, Conf, Process, Slot, converge, series_of
from tests.support.fake_world import spec_of
from tests.support.simulator import DesiredSpec

BASE = "3.6.14"
OLD_PATCH = "3.6.13"
OLD_MINOR = "3.5.33"
NEW_MINOR = "3.7.1"
STATES = {
    "healthy": "H", "down": "D", "unreachable": "U", "unseen": "X", "learner": "L", "unstarted": "N",
    "wiped": "W", "fresh": "F", "old patch": "P", "old minor": "M", "expired": "E", "failed upgrade": "V",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A new cluster.yaml.

    `slots` are the members that the change concerns. `replaced` is a member to replace: on its own host, or on a new
    machine with `moved`.
    """

    name: str
    spec: Spec
    slots: tuple[int, ...] = ()
    replaced: int | None = None
    moved: bool = False


def member_kinds(size: int, states: str) -> Iterator[tuple[str, ...]]:
    """Yield every multiset of states with at most one learner, as in etcd. Only fresh machines are no cluster."""
    for found in combinations_with_replacement(states, size):
        if sum(kind in "LN" for kind in found) <= 1 and any(kind not in "LNF" for kind in found):
            yield found


def first_states(found: tuple[str, ...], old: str = OLD_PATCH) -> Iterator[Cluster]:
    """Yield the clusters of these members: one for each kind of member that may be the leader."""
    slots = tuple(_slot(number, kind) for number, kind in enumerate(found, 1))
    running = [series_of(slot.process.version) for slot in slots if slot.process]
    cluster = Cluster(
        slots, None, min(running, default=series_of(BASE)), tuple(0 if kind == "E" else 1 for kind in found)
    )
    live = cluster.live_voters()
    able = {found[n]: n for n in reversed(live)} if len(live) >= cluster.quorum else {}
    for leader in able.values():
        yield converge(replace(cluster, leader=leader))
    if not able:
        yield cluster


def _slot(number: int, kind: str) -> Slot:
    version = {"P": OLD_PATCH, "M": OLD_MINOR}.get(kind, BASE)
    conf = Conf("base", version)
    slot = Slot(
        f"infra{number}", "learner" if kind in "LN" else "voter", named=kind != "N", url="base target",
        marker="unformed" if kind in "LN" else "formed", data=0, log=0, conf=conf, certs=1, versions=(version,),
        current=version, enabled=True, joining=kind == "L", process=Process(0, conf, version, ready=True),
    )  # fmt: skip
    match kind:
        case "D":
            return replace(slot, process=None)
        case "U":
            return replace(slot, reachable=False, linked=False)
        case "X":
            return replace(slot, reachable=False)
        case "N":
            return replace(slot, data=None, log=NEVER, process=None)
        case "W":
            return replace(slot, data=None, log=NEVER, process=None)
        case "F":
            return replace(
                slot, data=None, log=NEVER, process=None, marker="", conf=None, certs=-1, versions=(), current="",
                enabled=False,
            )  # fmt: skip
        case "E":
            return replace(slot, certs=0)
        case "V":
            newer = Conf("base", NEW_MINOR)
            return replace(slot, process=None, conf=newer, versions=(version, NEW_MINOR), current=NEW_MINOR)
        case _:
            return slot


def bare_slot(name: str) -> Slot:
    """Return a machine with nothing on it."""
    return Slot(name)


def targets(size: int) -> Iterator[Target]:
    """Yield every change of a cluster of that size, for each choice of members that it concerns."""
    every = list(range(1, size + 1))
    yield Target("same", spec_of(every, version=BASE))
    yield Target("another patch", spec_of(every, version="3.6.12"))
    yield Target("a minor up", spec_of(every, version="3.7.1"))
    yield Target("a minor down", spec_of(every, version="3.5.33"))
    yield Target("a setting", spec_of(every, "etcd: {heartbeat_ms: 200}\n", version=BASE))
    yield Target("two more", spec_of([*every, size + 1, size + 2], version=BASE))
    yield Target("all others", spec_of([size + each for each in every], version=BASE))
    for number in every:
        rest = [each for each in every if each != number]
        yield Target("one other", spec_of([*rest, size + 1], version=BASE), (number - 1,))
        yield Target("an address", _moved(spec_of(every, version=BASE), number), (number - 1,))
        yield Target("one replaced", spec_of(every, version=BASE), (number - 1,), number - 1)
        yield Target(
            "one replaced and a minor down", spec_of(every, version=OLD_MINOR), (number - 1,), number - 1
        )
        yield Target("one replaced elsewhere", _elsewhere(spec_of(every, version=BASE), number), (number - 1,),
                     number - 1, moved=True)  # fmt: skip
    for one, other in product(every, every):
        if one < other and size > 2:
            rest = [each for each in every if each not in (one, other)]
            yield Target("two less", spec_of(rest, version=BASE), (one - 1, other - 1))


def _moved(spec: Spec, number: int) -> Spec:
    hosts = tuple(
        host.model_copy(update={"peer_port": 2390}) if n == number else host
        for n, host in enumerate(spec.hosts, 1)
    )
    return spec.model_copy(update={"hosts": hosts})


def _elsewhere(spec: Spec, number: int) -> Spec:
    hosts = tuple(
        host.model_copy(update={"address": f"192.168.9.{number}"}) if n == number else host
        for n, host in enumerate(spec.hosts, 1)
    )
    return spec.model_copy(update={"hosts": hosts})


def concerns(target: Target, found: tuple[str, ...]) -> bool:
    """Return whether the target concerns the first of all members of the same kind, to skip equal cases."""
    wanted = sorted(found[slot] for slot in target.slots)
    used: list[int] = []
    for kind in wanted:
        used.append(next(n for n, each in enumerate(found) if each == kind and n not in used))
    return sorted(used) == sorted(target.slots)


def prepared(target: Target, base: Spec, cluster: Cluster) -> Cluster:
    """Return the cluster with the target's bare machines and URLs, which are then only old URLs or new URLs."""
    urls = urls_of(base, target.spec)
    slots = [replace(slot, url=_entry_url(urls[slot.name])) for slot in cluster.slots]
    if target.moved:
        assert target.replaced is not None
        slots[target.replaced] = replace(slots[target.replaced], hidden=True)
    known = {slot.name for slot in slots if not slot.hidden}
    slots += [bare_slot(host.name) for host in target.spec.hosts if host.name not in known]
    pki = (*cluster.pki, *(-1 for _ in slots[len(cluster.pki) :]))
    return replace(cluster, slots=tuple(slots), pki=pki)


def _entry_url(url: str) -> str:
    """Return the URL that the member list has at first: the old one, which may equal the new one."""
    return url if "base" in url.split() else "base"


def urls_of(base: Spec, target: Spec) -> dict[str, str]:
    """Return, by host name, which cluster.yaml has the URL that the host must get, in the form of Slot.url."""
    old = {host.name: base.peer_url(host) for host in base.hosts}
    new = {host.name: target.peer_url(host) for host in target.hosts}
    return {
        name: "base target" if old.get(name) == new.get(name) else ("target" if name in new else "base")
        for name in {**old, **new}
    }


def desired_spec_of(base: Spec, target: Spec) -> DesiredSpec:
    label = "base" if base.at(target.version) == target else "target"
    return DesiredSpec(label, urls_of(base, target))


def interchangeable_slots(target: Target, cluster: Cluster) -> tuple[tuple[int, ...], ...]:
    """Return groups of slots that the target treats in the same way, so that they may be exchanged."""
    names = {host.name for host in target.spec.hosts}
    rest = [n for n, slot in enumerate(cluster.slots) if n not in target.slots and not slot.hidden]
    old = [n for n in rest if cluster.slots[n].marker or cluster.slots[n].listed]
    new = [n for n in rest if n not in old and not target.moved]
    return tuple(
        tuple(n for n in group if (cluster.slots[n].name in names) == stays)
        for group in (old, new)
        for stays in (True, False)
    )
