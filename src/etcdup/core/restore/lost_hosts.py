"""Hosts that lose their restored data before the restore is complete.

The other members may have started with theirs. A host that is restored again with the same token then has the ID of a
member whose log it does not have, and etcd panics (rule 32). If clients may have written to the other members, the
restore is completed without that host, and `member replace` adds a new member there. Otherwise all hosts are prepared
again, with a new token.
"""

from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.model import HostSeen, Observed
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


def must_prepare_again(spec: Spec, observed: Observed, token: str) -> bool:
    """Return whether all hosts must be prepared again with a new token."""
    return bool(lost_hosts(spec, observed, token)) and not serves_clients(spec, observed, token)


def serves_clients(spec: Spec, observed: Observed, token: str) -> bool:
    """Return whether the members with data of this restore are a quorum, and all of them are open for clients.

    etcdup starts members for clients only when all of them are open.
    """
    stages = _stages(spec, observed, token)
    alive = [
        stage
        for name, stage in stages.items()
        if stage in IN_PLACE and not _is_without_data(name, stage, observed)
    ]
    return len(alive) >= quorum_of(spec.size) and set(alive) <= set(SERVED)


def _stages(spec: Spec, observed: Observed, token: str) -> dict[str, str]:
    hosts = observed.reachable()
    return {host.name: stage_of(hosts[host.name], token) for host in spec.hosts if host.name in hosts}


def _is_without_data(name: str, stage: str, observed: Observed) -> bool:
    return stage in IN_PLACE and not observed.reachable()[name].has_member
