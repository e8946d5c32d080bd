"""The observation of hosts, members and PKI at one time. Frozen; "unreachable" and "silent" are values too.

ops/world/observe.py builds it from the output of the probe (probe.py, parse_probe.py), from etcd's API
(remote/etcd/grpc_client.py) and from the operator's PKI (ops/pki/pki.py). It contains only observed facts, no required
state. For example, the running version comes from the running process, not from cluster.yaml.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from urllib.parse import urlsplit

from etcdup.core.observed.activity import Activity
from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.connections import Client
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.member import ListedMember, MemberSeen, MemberSilent
from etcdup.core.observed.peer_ports import BlockedPort
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.model import HostSpec
from etcdup.core.spec.version import Version


@dataclass(frozen=True)
class SnapshotSeen:
    """A verified snapshot on the operator's machine, taken before the cluster changed its minor.

    `hop` is the change, for example `3.5-to-3.6`. `size` is in bytes.
    """

    path: str
    cluster: str
    hop: str
    taken_at: datetime
    size: int


@dataclass(frozen=True)
class Observed:
    """Everything that etcdup read from hosts, members and the PKI, at one time.

    Each host and member of the Spec has an entry, and so has each further member of the cluster. `leaving` has the
    hosts of those further members. `auth` says whether etcd's user authentication is enabled; None means not known.
    `denied` is the error with which etcd refuses etcdup a request of an administrator; empty if etcd accepts it.
    `rejected_clients` maps a member to the addresses of clients that it rejected recently, because the old CA signed
    their certificates. `clients` are the clients that are connected to each member, and `proved_clients` those that
    this run saw on a member without the old CA. All three are read only while a rotation drops the old CA; `clients`
    also while cluster.yaml replaces all endpoints.
    `superseded` are the tokens of clusters that a restore or a recovery from this machine replaced.
    `lock_holder` is the other run that holds the lock of a host; empty if there is none, or if it was not read.
    `other_leaves` maps a host to the server certificate on its disk, if a CA of the PKI signed it and it is not the
    certificate in the PKI.
    `blocked_ports` are tried only if a host of cluster.yaml has no marker, if its member moves or is replaced, and when
    a member that restarts gets no connection. `firewalls` has the firewall of a host then: `firewalld` or `ufw`.
    """

    at: datetime
    hosts: Mapping[str, HostSeen | Unreachable]
    members: Mapping[str, MemberSeen | MemberSilent]
    pki: PkiSeen
    binaries: tuple[Binaries, ...] = ()
    leaving: Mapping[str, HostSpec] = field(default_factory=dict)
    snapshots: tuple[SnapshotSeen, ...] = ()
    auth: bool | None = None
    denied: str = ""
    rejected_clients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clients: Mapping[str, tuple[Client, ...]] = field(default_factory=dict)
    proved_clients: frozenset[Client] = frozenset()
    other_leaves: Mapping[str, CertSeen] = field(default_factory=dict)
    superseded: frozenset[str] = frozenset()
    blocked_ports: tuple[BlockedPort, ...] = ()
    firewalls: Mapping[str, str] = field(default_factory=dict)
    lock_holder: str = ""
    # What members do with their databases. It is read only before a backup or a defragmentation.
    activity: Mapping[str, Activity] = field(default_factory=dict)
    # The member that `maintain repair` handles. Its run has compared the data of all members, so that a CORRUPT alarm
    # forbids no step on this member.
    repaired: str = ""

    @cached_property
    def member_list(self) -> tuple[ListedMember, ...]:
        """The member list of most members that answer; empty if no voter answered. A learner returns no list.

        Without a majority it is the newest list. A member reports its own term, so it alone does not decide.

        A member that never started has no name, and others can have a name in etcd that is not that of the host. If the
        peer URL has the address of a former host, the member is of that host: one machine is one host.
        """
        answers = [seen for seen in self.answering().values() if seen.members]
        if not answers:
            return ()
        newest = max(answers, key=lambda seen: (seen.raft_term, seen.applied_index)).members
        members = self._majority_list or newest
        return tuple(map(self._with_former_host, members))

    @cached_property
    def dissenting(self) -> tuple[str, ...]:
        """The members whose member list has other members or addresses than that of most members."""
        common = self._majority_list
        return tuple(
            name
            for name, seen in sorted(self.answering().items())
            if common and seen.members and seen.members != common
        )

    @cached_property
    def _majority_list(self) -> tuple[ListedMember, ...]:
        """The member list that most answers have; empty if no list has a majority."""
        lists = Counter(seen.members for seen in self.answering().values() if seen.members)
        return next((members for members, count in lists.items() if 2 * count > lists.total()), ())

    def _with_former_host(self, member: ListedMember) -> ListedMember:
        in_file = self.hosts.keys() - self.leaving.keys()
        if member.name in in_file or f"server/{member.name}" in self.pki.certs:
            return member
        names = [
            name
            for role, cert in self.pki.certs.items()
            if (name := role.removeprefix("server/")) != role
            and name not in in_file
            and any(_address_in(url) == cert.first_address for url in member.peer_urls)
        ]
        if len(names) != 1:
            return member
        if not member.name:
            return replace(member, former_host=names[0])
        return replace(member, name=names[0], etcd_name=member.listed_name)

    @property
    def adopted(self) -> tuple[str, ...]:
        """The hosts of an adopted cluster whose take-over is not finished."""
        return tuple(name for name, seen in sorted(self.reachable().items()) if seen.is_adopted)

    def with_pki(self, pki: PkiSeen) -> "Observed":
        """Return this observation with a new one of the PKI. `with_peer_names` depends on the hosts, so it stays."""
        return replace(self, pki=replace(pki, with_peer_names=self.pki.with_peer_names))

    def binaries_of(self, version: Version) -> Binaries | None:
        """Return the source of this version, or None if all hosts have it already."""
        return next((each for each in self.binaries if each.version == version), None)

    def reachable(self) -> dict[str, HostSeen]:
        """Return the hosts that were observed."""
        return {name: seen for name, seen in self.hosts.items() if isinstance(seen, HostSeen)}

    def running(self) -> dict[str, HostSeen]:
        """Return the observed hosts whose unit runs etcd."""
        return {name: seen for name, seen in self.reachable().items() if seen.unit.is_running}

    def unreachable(self) -> dict[str, Unreachable]:
        """Return the hosts that could not be observed."""
        return {name: seen for name, seen in self.hosts.items() if isinstance(seen, Unreachable)}

    def answering(self) -> dict[str, MemberSeen]:
        """Return the members that answered over their API. Only they prove that the cluster exists and runs."""
        return {name: seen for name, seen in self.members.items() if isinstance(seen, MemberSeen)}


def _address_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
