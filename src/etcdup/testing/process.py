"""Running etcd processes: which of them are connected, and what changes without etcdup while time passes."""

from etcdup.testing.cluster import FakeCluster
from etcdup.testing.machine import FakeMachine, Network

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
    machines = (machine for _, machine in sorted(network.machines.items()))
    return [each for each in machines if each.process is not None and each.process.cluster is cluster]


def is_connected(one: FakeMachine, other: FakeMachine) -> bool:
    """Return whether two processes of one cluster are connected.

    One of them must reach the other at its listed URL; that connection serves both directions (rule 19; tested with
    3.6.14).
    """
    if one is other:
        return True
    assert one.process is not None
    assert other.process is not None
    return not (one.isolated or other.isolated) and (
        one.process.is_where_listed or other.process.is_where_listed
    )


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


def converge(network: Network) -> None:
    """Change each cluster as etcd does by itself: with a quorum it elects a leader, started members are published,
    removed members exit, the cluster version is updated, and clients reconnect. Elections take no time here."""
    for cluster in network.etcd.by_id.values():
        _elect(network, cluster)
        if not cluster.leader:
            continue
        for machine in running_in(network, cluster):
            _follow_leader(network, machine)
        led = [each for each in running_in(network, cluster) if leader_of(network, each)]
        running = [each.process.version.series for each in led if each.process is not None]
        cluster.follow_versions(running, network.now())
    for client in network.clients:
        client.keep_connected(network)


def _elect(network: Network, cluster: FakeCluster) -> None:
    candidates = [each for each in running_in(network, cluster) if _can_lead(network, each)]
    ids = [each.process.member_id for each in candidates if each.process is not None]
    if cluster.leader in ids:
        return
    cluster.leader = ids[0] if ids else 0
    if ids:
        cluster.term += 1
        cluster.index += 1


def _can_lead(network: Network, machine: FakeMachine) -> bool:
    assert machine.process is not None
    voters = machine.process.cluster.voters
    votes = [
        each.process.member_id in voters and not each.process.lost_log
        for each in reached_from(network, machine)
        if each.process is not None
    ]
    able = machine.process.member_id in voters and not machine.process.lost_log
    return able and sum(votes) >= machine.process.cluster.quorum


def _follow_leader(network: Network, machine: FakeMachine) -> None:
    """Change a member by what its leader sends, or members that have its removal in their list (rule 33)."""
    process = machine.process
    assert process is not None
    if process.cluster.leader not in reached_ids(network, machine):
        return
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
