"""The proofs of files that an earlier run wrote and did not prove (host/unproved.py)."""

from collections.abc import Collection

from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import ProveFiles
from etcdup.core.spec.model import Spec


def prove_steps(
    spec: Spec, observed: Observed, replaced: Collection[str], restarted: Collection[str] = ()
) -> list[ProveFiles]:
    """Return the proofs. They come before other hosts get files.

    `replaced` are hosts whose certificates are written again: that step proves them. `restarted` are hosts whose start
    or restart proves the settings. Without a quorum of healthy members, only handshakes prove anything: the others may
    wait for such files too.
    """
    hosts = observed.reachable()
    has_quorum = len(healthy(observed)) >= quorum_of(voter_count(observed))
    return [
        ProveFiles(
            host=host.name,
            handshake_only=host.name in restarted or not has_quorum,
            reason="an earlier run wrote files and did not prove them",
        )
        for host in spec.hosts
        if host.name in hosts
        and hosts[host.name].is_unproved
        and hosts[host.name].unit.is_running
        and host.name not in replaced
    ]
