"""Everything that a verb works with: the Spec, the hosts that answered, the members' API, the PKI, the clock.

`open_world` (open.py) makes a World from real hosts. `tests/support/fake_world.py` makes one in memory.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.core.certs.inventory import LinkPort
from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.connections import Client
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.observed.unit_log import LOG_ARGV, lines_of_starts
from etcdup.core.restore.restore_keys import KeyJob
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.errors import RemoteError
from etcdup.ops.pki.pki import Pki
from etcdup.ops.polling import Clock
from etcdup.ops.world.lock import ClusterLock
from etcdup.remote.etcd.grpc_client import Credentials, EtcdClient
from etcdup.remote.host import Host


@dataclass
class World:
    """One cluster, as one run of etcdup reaches it.

    etcd               Return a client of the member of this name, through the SSH connection to its host.
    connect_directly   Return a client that does not use SSH if the member is reachable without it. For large data.
    connect_temporary  Return a client of an etcd that listens on this address and port of a host, with these
                       credentials. The caller closes it.
    obtain_archive     Return the path of etcd's archive for this architecture.
    served_cert        Return the fingerprint of the certificate that a port of a member serves to a new
                       handshake. Raises HandshakeFailed.
    why_no_answer      Return why a port of a member does not answer a new connection with this certificate and
                       key, or an empty text if it does.
    read_metrics       Return the metrics of a member whose process has these settings. Raises NoMetrics.
    check_route        Raise ForwardForbidden if neither sshd nor the network leads to the client port of a host.
    connect_host       Connect to a host that cluster.yaml does not name, and add it to `hosts` or `unreachable`.
    snapshots          The operator's folder for the snapshots that are taken before a change of the minor version.
    superseded_file    The operator's record of the clusters that restores and recoveries replaced.
    binaries           Where the versions come from that hosts do not have yet. Empty until that is resolved.
    """

    spec: Spec
    hosts: Mapping[str, Host]
    unreachable: Mapping[str, Unreachable]
    pki: Pki
    clock: Clock
    etcd: Callable[[str], Awaitable[EtcdClient]]
    connect_directly: Callable[[str], Awaitable[EtcdClient]]
    connect_temporary: Callable[[str, str, int, Credentials], Awaitable[EtcdClient]]
    obtain_archive: Callable[[Binaries, str], Awaitable[Path]]
    served_cert: Callable[[HostSpec, LinkPort], Awaitable[str]]
    why_no_answer: Callable[[HostSpec, LinkPort, Path, Path], Awaitable[str]]
    read_metrics: Callable[[str, Mapping[str, str]], Awaitable[str]]
    connect_host: Callable[[HostSpec], Awaitable[None]]
    snapshots: Path
    check_route: Callable[[HostSpec], Awaitable[None]]
    superseded_file: Path
    binaries: tuple[Binaries, ...] = ()
    # Hosts that cluster.yaml does not name and that this run has observed. After its member is removed, no member
    # list names such a host any more.
    extra_hosts: dict[str, HostSpec] = field(default_factory=dict)
    # Hosts that cluster.yaml does not name, whose machines this run has observed under other names.
    other_names: set[str] = field(default_factory=set)
    # Unreachable hosts that are powered off, as the operator has confirmed. etcdup does not observe them (rule 65).
    fenced: frozenset[str] = frozenset()
    # Clients that this run saw on a member that trusts only the new CA, and addresses of clients that the operator
    # accepts (rule 15).
    proved_clients: set[Client] = field(default_factory=set)
    accepted_clients: frozenset[str] = frozenset()
    # When this run first read the clients that members reject, in seconds since the epoch.
    began: float = 0.0
    # The lock of the cluster, while this run holds it. Each change needs it.
    lock: ClusterLock | None = None
    # The ports of other hosts that this run has reached: source, address and port.
    reached_ports: set[tuple[str, str, int]] = field(default_factory=set)
    # Observations include what members do with their databases. Only the verbs of maintenance need it.
    reads_activity: bool = False
    # Observations include members that another unit than etcd.service runs, or a container. Only an adoption needs it.
    observes_foreign: bool = False
    # The member that `maintain repair` handles (Observed.repaired).
    repaired: str = ""
    # The host that `member replace` names. Its ports are tried before the old member is removed.
    replaced: str = ""
    # The keys that `restore-keys` writes. A plan has only their number.
    key_job: KeyJob | None = None
    # An election or a start did not end within the wait. etcdup does not wait for it a second time.
    is_unsteady: bool = False

    @property
    def held_lock(self) -> ClusterLock:
        """Return the lock, for a change."""
        assert self.lock is not None, "a change needs the lock of the cluster"
        return self.lock

    def host_spec(self, name: str) -> HostSpec:
        """Return the host of this name, also if cluster.yaml does not name it. Raises KeyError for any other name."""
        return self.extra_hosts.get(name) or self.spec.host(name)

    def binaries_of(self, version: str) -> Binaries:
        """Return where this version comes from. It is resolved before planning, so a KeyError is a bug of etcdup."""
        for each in self.binaries:
            if str(each.version) == version:
                return each
        raise KeyError(version)


async def read_starts(world: World, name: str, unit: UnitSeen, count: int) -> list[list[str]]:
    """Return the log lines of the last `count` starts of a member, the newest last. None of an unreadable log."""
    if layout_of(world.spec, world.host_spec(name)).supervisor == "process":
        return [await read_log_tail(world, name)]
    try:
        return lines_of_starts((await world.hosts[name].run(LOG_ARGV)).stdout, unit, count)
    except RemoteError:
        return []


async def read_log_tail(world: World, name: str) -> list[str]:
    """Return the last lines of a member's log, or no lines if the log is not readable."""
    layout = layout_of(world.spec, world.host_spec(name))
    if layout.supervisor == "process":
        argv = ["tail", "-n", "1000", layout.log]
    else:
        # etcd logs some lines a hundred times a second, and they hide the lines before them. So many lines are read.
        recent = ("--since=-5min", "--lines=1000")
        argv = ["journalctl", "--unit=etcd.service", *recent, "--output=cat", "--no-pager"]
    try:
        return (await world.hosts[name].run(argv)).stdout.splitlines()
    except RemoteError:
        return []
