"""A cluster as a value: what each host holds and runs, what the members agree on, and what happens by itself.

It is for exploring whole trees of histories: every state is frozen and small, elections and copies take no time, and
of the clients' writes only one thing is kept: who holds all that was acknowledged, and who is how far behind.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Series = tuple[int, int]
NEVER = -99


class Conf(NamedTuple):
    """What etcd.conf and the unit were written for: which cluster.yaml (`base` or `target`), and which version."""

    spec: str
    version: str


class Process(NamedTuple):
    """A running etcd: whose data it opened, and with which settings. `ready` once it has met a leader (rule 1)."""

    generation: int
    conf: Conf
    version: str
    ready: bool = False


@dataclass(frozen=True)
class Slot:
    """One machine, the member on it, and that member's entry in the member list.

    `generation` tells entries of one machine apart: each has an ID of its own. `log` is how much of what was
    acknowledged the data holds: 0 all of it, -1 and less are behind, NEVER nothing. `certs`: -1 none, 0 expired,
    1 good. `hidden`: the old machine of a member whose name another machine has by now.
    """

    name: str
    listed: Literal["", "learner", "voter"] = ""
    generation: int = 0
    named: bool = False
    url: str = ""
    on: bool = True
    reachable: bool = True
    linked: bool = True
    hidden: bool = False
    marker: Literal["", "unformed", "formed", "replacing"] = ""
    data: int | None = None
    log: int = NEVER
    conf: Conf | None = None
    certs: int = -1
    versions: tuple[str, ...] = ()
    current: str = ""
    enabled: bool = False
    joining: bool = False
    process: Process | None = None
    ours_down: bool = False

    @property
    def is_seen(self) -> bool:
        return self.on and self.reachable


@dataclass(frozen=True)
class Cluster:
    """The whole world. `urls` maps nothing: a slot's `url` is the peer URL that its entry has. `pki` is what the
    operator holds for each slot, as in Slot.certs. `leader` is a slot's number, None where there is no quorum."""

    slots: tuple[Slot, ...]
    leader: int | None
    version: Series
    pki: tuple[int, ...]
    downgrade_to: Series | None = None
    snapshots: tuple[str, ...] = ()
    lost: bool = False

    def number(self, name: str) -> int:
        """The machine that bears this name now."""
        return next(n for n, slot in enumerate(self.slots) if slot.name == name and not slot.hidden)

    def slot(self, name: str) -> Slot:
        return self.slots[self.number(name)]

    def with_slot(self, number: int, **changes: object) -> "Cluster":
        """The same with one slot changed."""
        slots = list(self.slots)
        slots[number] = replace(slots[number], **changes)  # type: ignore[arg-type]
        return replace(self, slots=tuple(slots))

    def voters(self) -> list[int]:
        return [n for n, slot in enumerate(self.slots) if slot.listed == "voter"]

    @property
    def quorum(self) -> int:
        return len(self.voters()) // 2 + 1

    def live_voters(self) -> list[int]:
        """Voters whose etcd runs on its own data and can be talked to by its peers."""
        return [n for n in self.voters() if serves(self.slots[n])]

    def holders(self) -> int:
        """How many voters hold everything that was acknowledged, running or not."""
        return sum(
            self.slots[n].data == self.slots[n].generation and self.slots[n].log == 0 for n in self.voters()
        )

    @property
    def margin(self) -> int:
        """Below 0 a quorum could be made of voters that lack an acknowledged write."""
        return self.holders() - (len(self.voters()) - self.quorum + 1)


def member_id(number: int, slot: Slot) -> int:
    """The ID of the entry that this machine's member has."""
    return (number + 1) * 256 + slot.generation


def series_of(version: str) -> Series:
    major, minor, _ = version.split(".")
    return int(major), int(minor)


def serves(slot: Slot) -> bool:
    """Whether its etcd runs as the member that is listed, on a network that reaches the others."""
    return (
        slot.on
        and slot.linked
        and slot.certs == 1
        and slot.process is not None
        and slot.listed != ""
        and slot.process.generation == slot.generation
    )


def is_where_listed(slot: Slot) -> bool:
    return slot.process is not None and slot.process.conf.spec in slot.url.split()


def connected(one: Slot, other: Slot) -> bool:
    """Two members talk where one of them finds the other at its listed URL (rule 36)."""
    return one is other or is_where_listed(one) or is_where_listed(other)


def converge(cluster: Cluster) -> Cluster:
    """What comes by itself: a leader where there is a quorum, copies, names in the list, the end of removed members,
    the version that all agree on. Clients write all the while, so whoever is not with the leader falls behind."""
    leader = _elected(cluster)
    if leader is None:
        return replace(cluster, leader=None)
    head = cluster.slots[leader]
    lost = cluster.lost or head.log != 0
    slots = tuple(_with_leader(cluster, slot, head) for slot in cluster.slots)
    return _versioned(replace(cluster, slots=_ranked(slots), leader=leader, lost=lost))


def _elected(cluster: Cluster) -> int | None:
    """The leader that there is, as long as it has a quorum; else the one that is furthest behind of those who can
    win a vote: whatever raft allows to happen."""
    able = [n for n in cluster.live_voters() if len(_votes(cluster, n)) >= cluster.quorum]
    if cluster.leader in able:
        return cluster.leader
    return min(able, key=lambda n: (cluster.slots[n].log, n), default=None)


def _votes(cluster: Cluster, candidate: int) -> list[int]:
    own = cluster.slots[candidate]
    return [
        n
        for n in cluster.live_voters()
        if connected(own, cluster.slots[n])
        and (cluster.leader == candidate or cluster.slots[n].log <= own.log)
    ]


def _with_leader(cluster: Cluster, slot: Slot, head: Slot) -> Slot:
    process = slot.process
    if process is None or not (slot.on and slot.linked and slot.certs == 1):
        return replace(slot, log=slot.log - 1) if slot.log > NEVER else slot
    if slot.listed == "" or process.generation != slot.generation:
        return replace(slot, process=None)  # rule 33
    if not connected(slot, head):
        return replace(slot, log=slot.log - 1) if slot.log > NEVER else slot
    return replace(slot, log=0, named=True, process=process._replace(ready=True))


def _ranked(slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Logs as ranks, so that equal situations are equal values."""
    ranks = {
        log: -n for n, log in enumerate(sorted({0, *(each.log for each in slots)} - {NEVER}, reverse=True))
    }
    return tuple(
        replace(each, log=ranks[each.log]) if each.log in ranks and ranks[each.log] != each.log else each
        for each in slots
    )


def _versioned(cluster: Cluster) -> Cluster:
    """The cluster's version rises once all members run a newer minor, and falls only to a downgrade's target
    (rules 46, 47)."""
    listed = [slot for slot in cluster.slots if slot.listed]
    if not all(serves(slot) for slot in listed):
        return cluster
    running = {series_of(slot.process.version) for slot in listed if slot.process}
    if cluster.downgrade_to is not None:
        done = running == {cluster.downgrade_to}
        return replace(
            cluster, version=cluster.downgrade_to, downgrade_to=None if done else cluster.downgrade_to
        )
    return replace(cluster, version=max(min(running), cluster.version))


def start(cluster: Cluster, number: int) -> Cluster:
    """`systemctl start`, or a boot: etcd opens what data there is, or begins where it may, or ends at once."""
    slot = cluster.slots[number]
    if slot.conf is None or not slot.current or slot.process is not None:
        return cluster
    if not cluster.version <= series_of(slot.current) or series_of(slot.current)[1] > cluster.version[1] + 1:
        return cluster
    data = slot.data
    if data is None:
        if not slot.joining or slot.listed == "":
            return cluster
        if slot.named:
            return replace(cluster, lost=True)  # empty under its old ID (rule 32)
        data = slot.generation
    process = Process(data, slot.conf, slot.current)
    return converge(cluster.with_slot(number, data=data, process=process, ours_down=False))


def stop(cluster: Cluster, number: int) -> Cluster:
    """`systemctl stop` by us."""
    listed = cluster.slots[number].listed == "voter"
    return converge(cluster.with_slot(number, process=None, ours_down=listed))


def crash(cluster: Cluster, number: int) -> Cluster:
    """The host loses its power, and tmpfs what it held."""
    return converge(cluster.with_slot(number, on=False, process=None, joining=False, ours_down=False))


def power_on(cluster: Cluster, number: int) -> Cluster:
    """It comes back, and systemd starts what is enabled."""
    slot = cluster.slots[number]
    cluster = converge(cluster.with_slot(number, on=True))
    return start(cluster, number) if slot.enabled else cluster


def canonical_form(cluster: Cluster, alike: tuple[tuple[int, ...], ...]) -> tuple[Cluster, tuple[int, ...]]:
    """The one of all clusters that differ only in which of the machines that are `alike` is which, and for each of
    its slots the number that it had."""
    order = list(range(len(cluster.slots)))
    for group in alike:
        by_look = sorted(group, key=lambda number: _comparison_key(cluster, number))
        for place, number in zip(group, by_look, strict=True):
            order[place] = number
    if order == sorted(order):
        return cluster, tuple(order)
    slots = tuple(
        replace(cluster.slots[number], name=cluster.slots[place].name) if place != number else slot
        for place, (number, slot) in enumerate(zip(order, cluster.slots, strict=True))
    )
    leader = None if cluster.leader is None else order.index(cluster.leader)
    pki = tuple(cluster.pki[number] for number in order)
    return replace(cluster, slots=slots, leader=leader, pki=pki), tuple(order)


def _comparison_key(cluster: Cluster, number: int) -> tuple[object, ...]:
    """All that there is to see of a slot but its name, in an order of no meaning."""
    slot = cluster.slots[number]
    return (
        slot.listed, slot.generation, slot.marker, slot.log, -1 if slot.data is None else slot.data, slot.on,
        slot.reachable, slot.linked, slot.conf or (), slot.certs, slot.current, slot.process or (), slot.enabled,
        slot.joining, slot.named, slot.url, slot.versions, slot.ours_down, cluster.leader == number,
        cluster.pki[number], number,
    )  # fmt: skip
