"""Causes on this machine: another PKI directory, or an edit of cluster.yaml that a cluster cannot follow."""

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.trust import refuse_changed_ca, refuse_other_ca
from etcdup.core.members.fixed_values import refuse_foreign_marker, refuse_moved_data
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.cause import Cause, causes_of


def file_causes(spec: Spec, observed: Observed) -> list[Cause]:
    """Return what does not fit to the hosts: the PKI directory, the name of the cluster or of a host, a directory."""
    reached = observed.reachable()
    seen = [(host, reached[host.name]) for host in spec.hosts if host.name in reached]
    changed = [each for _, at in seen for each in refuse_changed_ca(spec, at, observed)]
    other_ca = [each for _, at in seen for each in refuse_other_ca(spec, at, observed) if each not in changed]
    foreign = (each for host, at in seen for each in refuse_foreign_marker(spec, host, at))
    moved = (each for host, at in seen for each in refuse_moved_data(spec, host, at))
    pki = causes_of(other_ca, "pki-of-other-cluster")
    return [
        *causes_of(changed, "ca-changed-on-host"),
        *(pki or causes_of(refuse_stale_pki(spec, observed), "pki-outdated")),
        *causes_of(foreign, "host-of-other-member"),
        *causes_of(moved, "data-elsewhere"),
    ]
