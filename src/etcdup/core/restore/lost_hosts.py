"""Hosts whose restored data cannot be used any more: it is lost, or cluster.yaml has other members since.

The other members may have started with theirs. A host that is restored again with the same token then has the ID of a
member whose log it does not have, and etcd panics (rule 32). If clients may have written to the other members, the
restore is completed without that host, and `member replace` adds a new member there. Otherwise all hosts are prepared
again, with a new token.

Restored data contains the member list that it was prepared for. Members with different lists never form a cluster. So
if cluster.yaml is edited before the restore is complete, all hosts are prepared again too.
"""

from hashlib import sha256

from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec

IN_PLACE = ("placed", "open", "done")
SERVED = ("open", "done")


def stage_of(seen: HostSeen, token: str) -> str:
    """Return the stage of the restore with this token on a host; empty if it has not started there."""
    marker = seen.marker
    return marker.restored.stage if marker is not None and marker.restored and marker.token == token else ""


def lost_hosts(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Return the hosts without restored data, if other hosts have theirs in place. Data in place was staged on all."""
    stages = _stages(spec, observed, token)
    if not any(stage in IN_PLACE for stage in stages.values()):
        return ()
    return tuple(
        name for name, stage in stages.items() if not stage or _is_without_data(name, stage, observed)
    )


def left_out(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Return the lost hosts without which the restore is completed."""
    return lost_hosts(spec, observed, token) if serves_clients(spec, observed, token) else ()


def member_digest(spec: Spec) -> str:
    """Return the digest of the member list in data that is restored for this cluster.yaml."""
    members = sorted(spec.initial_cluster().split(","))
    return sha256(",".join(members).encode()).hexdigest()[:12]


def hosts_with_other_list(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Return the hosts whose restored data has another member list than cluster.yaml."""
    stages = _stages(spec, observed, token)
    markers = {name: observed.reachable()[name].marker for name, stage in stages.items() if stage}
    lists = {name: marker.restored.members for name, marker in markers.items() if marker and marker.restored}
    return tuple(name for name, members in lists.items() if members not in ("", member_digest(spec)))


def must_prepare_again(spec: Spec, observed: Observed, token: str) -> bool:
    """Return whether all hosts must be prepared again with a new token."""
    unusable = lost_hosts(spec, observed, token) or hosts_with_other_list(spec, observed, token)
    return bool(unusable) and not serves_clients(spec, observed, token)


def abandoned_note(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Return a note if an earlier attempt of this restore is abandoned. `token` is that of the present attempt."""
    markers = {
        host.name: seen.marker_of(spec.name)
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name))
    }
    names = [
        name for name, each in markers.items() if each and each.is_being_restored and each.token != token
    ]
    note = (
        f"the data that an interrupted run prepared on {', '.join(names)} cannot be used: cluster.yaml has other "
        "members since, or a host has lost its data. So all hosts are prepared again"
    )
    return (note,) if names else ()


def serves_clients(spec: Spec, observed: Observed, token: str) -> bool:
    """Return whether the members with data of this restore are a quorum, and all of them are open for clients.

    etcdup starts members for clients only when all of them are open. The data may be for more hosts than cluster.yaml
    has now.
    """
    size = max(spec.size, sum(bool(stage_of(seen, token)) for seen in observed.reachable().values()))
    stages = _stages(spec, observed, token)
    alive = [
        stage
        for name, stage in stages.items()
        if stage in IN_PLACE and not _is_without_data(name, stage, observed)
    ]
    return len(alive) >= quorum_of(size) and set(alive) <= set(SERVED)


def _stages(spec: Spec, observed: Observed, token: str) -> dict[str, str]:
    hosts = observed.reachable()
    return {host.name: stage_of(hosts[host.name], token) for host in spec.hosts if host.name in hosts}


def _is_without_data(name: str, stage: str, observed: Observed) -> bool:
    return stage in IN_PLACE and not observed.reachable()[name].has_member
