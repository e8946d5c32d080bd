"""Predicates for the state of a member's process in an observation."""

from etcdup.core.observed.model import HostSeen, MemberSilent, Observed


def is_stopped(observed: Observed, name: str) -> bool:
    """Return True if the host is reachable, its member does not answer, and etcd neither runs nor starts.

    A failed unit that systemd will restart after its delay counts as stopped, and so does a unit whose start waits in
    systemd's queue. Compare `is_inactive`.
    """
    seen = observed.reachable().get(name)
    silent = isinstance(observed.members[name], MemberSilent)
    if not isinstance(seen, HostSeen) or not silent:
        return False
    return not seen.unit.is_running and not seen.unit.is_starting


def is_inactive(seen: HostSeen) -> bool:
    """Return True if there is no process, and systemd will not start one by itself.

    A failed unit that systemd will restart after its delay is not inactive, and neither is a queued start.
    """
    unit = seen.unit
    return not unit.is_running and unit.active in ("inactive", "failed") and not unit.is_coming_up
