"""Running etcd processes: which of them are connected, and what changes without etcdup while time passes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from operator import attrgetter
from urllib.parse import urlsplit

from etcdup.testing.cluster import FakeCluster
from etcdup.testing.crl import why_rejected
from etcdup.testing.machine import FakeMachine, Network

PEER_CERT = "/etc/etcd/pki/peer.pem"
# A membership change needs connections that are this old (rule 25).
HEALTH_INTERVAL_S = 5.0
# The time in which a learner receives the log of the leader.
SYNC_S = 0.5

REMOVED = (
    "server error: the member has been permanently removed from the cluster",
    "the data-dir used by this member must be removed",
)
PANIC = "panic: tocommit(58) is out of range [lastIndex(0)]. Was the raft log corrupted, truncated, or lost?"


def running_in(network: Network, cluster: FakeCluster) -> list[FakeMachine]:
    """Return the machines on which members of this cluster run, by name, with removed members and learners."""
    machines = network.machines.values()
    found = (each for each in machines if each.process is not None and each.process.cluster is cluster)
    return sorted(found, key=attrgetter("name"))


def is_connected(one: FakeMachine, other: FakeMachine) -> bool:
    """Return whether two processes of one cluster are connected.

    One of them must reach the other at its listed URL; that connection serves both directions (rule 19; tested with
    3.6.14).
    """
    if one is other:
        return True
    assert one.process is not None
    assert other.process is not None
    return not (one.isolated or other.isolated) and (_can_connect(one, other) or _can_connect(other, one))


def _can_connect(source: FakeMachine, target: FakeMachine) -> bool:
    """Return whether the target runs at its listed URL and does not reject the peer certificate of the source.

    A firewall on the source blocks new connections only.
    """
    process, cert = target.process, source.file(PEER_CERT)
    if process is None or not process.is_where_listed:
        return False
    if process.member is not None and _hosts_of(process.member.peer_urls) & source.blocked:
        started = [each.process.started_at for each in (source, target) if each.process is not None]
        if max(started) >= source.blocked_at:
            return False
    return not why_rejected(target, "peer-crl", (cert.content or b"") if cert else b"")


def _hosts_of(urls: Iterable[str]) -> set[str]:
    return {urlsplit(url).hostname or "" for url in urls}


def reached_from(network: Network, machine: FakeMachine) -> list[FakeMachine]:
    """Return the machines of its cluster that a running member is connected to, and its own."""
    assert machine.process is not None
    return [each for each in running_in(network, machine.process.cluster) if is_connected(machine, each)]


def reached_ids(network: Network, machine: FakeMachine) -> set[int]:
    """Return the member IDs of `reached_from`."""
    return {each.process.member_id for each in reached_from(network, machine) if each.process is not None}


def leader_of(network: Network, machine: FakeMachine) -> int:
    """Return the leader of this member, or 0 if it has none."""
    assert machine.process is not None
    leader = machine.process.cluster.leader
    return leader if leader in reached_ids(network, machine) and machine.process.member is not None else 0


def steady_voters(network: Network, machine: FakeMachine) -> set[int]:
    """Return the voters that this member has been connected to for five seconds, and itself.

    etcd counts them for a membership change.
    """
    assert machine.process is not None
    long_ago = network.now() - HEALTH_INTERVAL_S
    found = {machine.process.member_id}
    for each in reached_from(network, machine):
        assert each.process is not None
        if max(each.process.started_at, machine.process.started_at) <= long_ago:
            found.add(each.process.member_id)
    return found & set(machine.process.cluster.voters)


def append_entry(network: Network, cluster: FakeCluster) -> None:
    """Append an entry to the log. Members whose snapshot-count is exceeded write a raft snapshot."""
    cluster.index += 1
    for machine in running_in(network, cluster):
        assert machine.process is not None
        count = int(machine.process.environment.get("ETCD_SNAPSHOT_COUNT", "100000"))
        if cluster.index - cluster.raft_snapshots.get(machine.process.member_id, 0) > count:
            cluster.raft_snapshots[machine.process.member_id] = cluster.index


def is_in_sync(network: Network, machine: FakeMachine, member_id: int) -> bool:
    """Return whether the leader of this member has sent all of its log to the other member."""
    started = [
        each.process.started_at
        for each in reached_from(network, machine)
        if each.process is not None and each.process.member_id == member_id and each.process.ready
    ]
    return any(network.now() - each >= SYNC_S for each in started)


def is_blocked(machine: FakeMachine) -> bool:
    """Return whether a defragmentation is in progress."""
    end_defragmentation(machine)
    return machine.process is not None and machine.process.blocked_until > 0


def end_defragmentation(machine: FakeMachine) -> None:
    """Note the new size of a database if its defragmentation has ended."""
    process = machine.process
    if process is not None and 0 < process.blocked_until <= machine.network.now():
        process.cluster.defragmented[process.member_id] = process.cluster.db_in_use
        process.blocked_until = 0.0


def metrics_of(machine: FakeMachine) -> str:
    """Return the metrics of a running member that etcdup reads."""
    assert machine.process is not None
    stream = 'grpc_method="Snapshot",grpc_service="etcdserverpb.Maintenance",grpc_type="server_stream"'
    return (
        f"etcd_disk_defrag_inflight {int(is_blocked(machine))}\n"
        f"grpc_server_started_total{{{stream}}} {3 + (machine.network.now() < machine.process.read_until)}\n"
        f'grpc_server_handled_total{{grpc_code="OK",{stream}}} 3\n'
    )


def converge(network: Network) -> None:
    """Change each cluster as etcd does by itself: with a quorum it elects a leader, started members are published,
    removed members exit, the cluster version is updated, and clients reconnect. Elections take no time here."""
    for cluster in network.etcd.by_id.values():
        running = running_in(network, cluster)
        # Tests spend much of their time here, so each pair of members is compared once.
        reached = _reached_by_each(running)
        _elect(cluster, running, reached)
        if cluster.leader:
            _follow(network, cluster, running, reached)
    for client in network.clients:
        client.keep_connected(network)


def _reached_by_each(running: Sequence[FakeMachine]) -> dict[str, list[FakeMachine]]:
    """Return the machines that each of these members is connected to, and its own, by name."""
    reached = {each.name: [each] for each in running}
    for one, other in combinations(running, 2):
        if is_connected(one, other):
            reached[one.name].append(other)
            reached[other.name].append(one)
    return reached


def _elect(
    cluster: FakeCluster, running: Sequence[FakeMachine], reached: Mapping[str, Sequence[FakeMachine]]
) -> None:
    candidates = [each for each in running if _can_lead(each, reached[each.name])]
    ids = [each.process.member_id for each in candidates if each.process is not None]
    if cluster.leader in ids:
        return
    cluster.leader = ids[0] if ids else 0
    if ids:
        cluster.term += 1
        cluster.index += 1


def _can_lead(machine: FakeMachine, reached: Iterable[FakeMachine]) -> bool:
    assert machine.process is not None
    voters = machine.process.cluster.voters
    votes = [
        each.process.member_id in voters and not each.process.lost_log
        for each in reached
        if each.process is not None
    ]
    able = machine.process.member_id in voters and not machine.process.lost_log
    return able and sum(votes) >= machine.process.cluster.quorum


def _follow(
    network: Network,
    cluster: FakeCluster,
    running: Sequence[FakeMachine],
    reached: Mapping[str, Sequence[FakeMachine]],
) -> None:
    """Change the members that the leader reaches, and the cluster version."""
    for machine in running:
        if _has_leader(cluster, reached[machine.name]):
            _follow_leader(network, machine)
    led = [each.process for each in running if each.process and _has_leader(cluster, reached[each.name])]
    cluster.follow_versions([each.version.series for each in led if each.member], network.now())


def _has_leader(cluster: FakeCluster, reached: Iterable[FakeMachine]) -> bool:
    """Return whether the leader is one of these machines. The process of a machine may have ended since."""
    return any(each.process is not None and each.process.member_id == cluster.leader for each in reached)


def _follow_leader(network: Network, machine: FakeMachine) -> None:
    """Change a member by what its leader sends, or members that have its removal in their list (rule 33)."""
    process = machine.process
    assert process is not None
    if process.member is None:
        machine.end_etcd(0, *REMOVED)
    elif process.lost_log:
        machine.end_etcd(2, PANIC)
    elif process.ready or network.now() >= process.started_at + machine.start_s:
        if not process.ready and process.version < (3, 6, 0):
            process.cluster.last_v2 = process.cluster.index
        process.ready = True
        process.member.name = process.environment["ETCD_NAME"]
        process.member.client_urls = tuple(process.environment["ETCD_ADVERTISE_CLIENT_URLS"].split(","))
