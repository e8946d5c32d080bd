"""A cluster as a value: what each host has and runs, what the members agree on, and what happens without etcdup.

It is made for the exploration of whole trees of histories. Every state is frozen and small, and elections and copies
take no time. Of the clients' writes, the model keeps only which members have all acknowledged writes, and how far the
others are behind.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Series = tuple[int, int]
NEVER = -99
# The state of certificates that the revocation list contains.
REVOKED = 2
# The state of certificates that the PKI does not have.
ABSENT = -1


class Conf(NamedTuple):
    """The cluster.yaml (`base` or `target`) and the version that etcd.conf and the unit were written for."""

    spec: str
    version: str


class Process(NamedTuple):
    """A running etcd: the generation of its data, and its settings. `ready` once it has had a leader (rule 1)."""

    generation: int
    conf: Conf
    version: str
    ready: bool = False


@dataclass(frozen=True)
class Slot:
    """One machine, the member on it, and that member's entry in the member list.

    `generation` distinguishes entries of one machine: each has its own ID. `log` is how much of the acknowledged writes
    the data has: 0 all of them, -1 and less are behind, NEVER none. `certs`: -1 none, 0 expired, 1 good. `hidden`: the
    old machine of a member whose name another machine has now.
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
    """The whole model. A slot's `url` is the peer URL that its entry has. `pki` is what the operator has for each slot,
    as in Slot.certs, or REVOKED. Each host has the newest list. `leader` is the number of a slot, or None without a
    quorum."""

    slots: tuple[Slot, ...]
    leader: int | None
    version: Series
    pki: tuple[int, ...]
    downgrade_to: Series | None = None
    snapshots: tuple[str, ...] = ()
    lost: bool = False

    def number(self, name: str) -> int:
        """Return the number of the machine that has this name now."""
        return next(n for n, slot in enumerate(self.slots) if slot.name == name and not slot.hidden)

    def slot(self, name: str) -> Slot:
        return self.slots[self.number(name)]

    def with_slot(self, number: int, **changes: object) -> "Cluster":
        """Return a copy with one slot changed."""
        slots = list(self.slots)
        slots[number] = replace(slots[number], **changes)  # type: ignore[arg-type]
        return replace(self, slots=tuple(slots))

    def voters(self) -> list[int]:
        return [n for n, slot in enumerate(self.slots) if slot.listed == "voter"]

    @property
    def quorum(self) -> int:
        return len(self.voters()) // 2 + 1

    def live_voters(self) -> list[int]:
        """Return the voters whose etcd runs on its own data and can be reached by its peers."""
        return [n for n in self.voters() if serves(self.slots[n])]

    def holders(self) -> int:
        """Return how many voters have every acknowledged write, running or not."""
        return sum(
            self.slots[n].data == self.slots[n].generation and self.slots[n].log == 0 for n in self.voters()
        )

    @property
    def margin(self) -> int:
        """Return a number that is negative if voters that miss an acknowledged write could be a quorum."""
        return self.holders() - (len(self.voters()) - self.quorum + 1)


def member_id(number: int, slot: Slot) -> int:
    """Return the ID of the entry of this machine's member."""
    return (number + 1) * 256 + slot.generation


def series_of(version: str) -> Series:
    major, minor, _ = version.split(".")
    return int(major), int(minor)


def serves(slot: Slot) -> bool:
    """Return whether its etcd runs as the listed member and reaches the other members."""
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
    """Return whether two members are connected: one of them is at its listed URL (rule 36)."""
    return one is other or is_where_listed(one) or is_where_listed(other)


def converge(cluster: Cluster) -> Cluster:
    """Return the cluster after everything that happens without etcdup.

    A quorum elects a leader, members copy data, get their names in the list, and agree on a version; removed members
    stop. Clients write all the time, so members that are not connected to the leader fall behind.
    """
    leader = _elected(cluster)
    if leader is None:
        return replace(cluster, leader=None)
    head = cluster.slots[leader]
    lost = cluster.lost or head.log != 0
    slots = tuple(_with_leader(cluster, slot, head) for slot in cluster.slots)
    return _versioned(replace(cluster, slots=_ranked(slots), leader=leader, lost=lost))


def _elected(cluster: Cluster) -> int | None:
    """Return the present leader while it has a quorum; otherwise the most outdated member that can win an election.

    Raft allows this result, and it is the worst one.
    """
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
    """Replace logs by their ranks, so that equal situations are equal values."""
    ranks = {
        log: -n for n, log in enumerate(sorted({0, *(each.log for each in slots)} - {NEVER}, reverse=True))
    }
    return tuple(
        replace(each, log=ranks[each.log]) if each.log in ranks and ranks[each.log] != each.log else each
        for each in slots
    )


def _versioned(cluster: Cluster) -> Cluster:
    """Update the cluster version (rules 46, 47).

    It rises once all members run a newer minor, and falls only to the target of a downgrade.
    """
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
    """Start etcd, by `systemctl start` or a boot. It opens its data, starts empty if it may, or exits at once."""
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
    """Stop etcd, as `systemctl stop` by etcdup does."""
    listed = cluster.slots[number].listed == "voter"
    return converge(cluster.with_slot(number, process=None, ours_down=listed))


def crash(cluster: Cluster, number: int) -> Cluster:
    """Cut the power of a host. tmpfs loses its content."""
    return converge(cluster.with_slot(number, on=False, process=None, joining=False, ours_down=False))


def power_on(cluster: Cluster, number: int) -> Cluster:
    """Boot a host. systemd starts enabled units."""
    slot = cluster.slots[number]
    cluster = converge(cluster.with_slot(number, on=True))
    return start(cluster, number) if slot.enabled else cluster


def canonical_form(cluster: Cluster, alike: tuple[tuple[int, ...], ...]) -> tuple[Cluster, tuple[int, ...]]:
    """Return one representative of all clusters that differ only in the order of `alike` machines.

    The second value is the previous number of each slot.
    """
    order = list(range(len(cluster.slots)))
    for group in alike:
        ordered = sorted(group, key=lambda number: _comparison_key(cluster, number))
        for position, number in zip(group, ordered, strict=True):
            order[position] = number
    if order == sorted(order):
        return cluster, tuple(order)
    slots = tuple(
        replace(cluster.slots[number], name=cluster.slots[position].name) if position != number else slot
        for position, (number, slot) in enumerate(zip(order, cluster.slots, strict=True))
    )
    leader = None if cluster.leader is None else order.index(cluster.leader)
    pki = tuple(cluster.pki[number] for number in order)
    return replace(cluster, slots=slots, leader=leader, pki=pki), tuple(order)


def _comparison_key(cluster: Cluster, number: int) -> tuple[object, ...]:
    """Return everything about a slot except its name, in an arbitrary order."""
    slot = cluster.slots[number]
    return (
        slot.listed, slot.generation, slot.marker, slot.log, -1 if slot.data is None else slot.data, slot.on,
        slot.reachable, slot.linked, slot.conf or (), slot.certs, slot.current, slot.process or (), slot.enabled,
        slot.joining, slot.named, slot.url, slot.versions, slot.ours_down, cluster.leader == number,
        cluster.pki[number], number,
    )  # fmt: skip
