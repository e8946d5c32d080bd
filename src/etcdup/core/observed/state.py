"""What an observation says about the state of a member's process."""

from etcdup.core.observed.model import HostSeen, MemberSilent, Observed


def is_stopped(observed: Observed, name: str) -> bool:
    """Whether etcd does not run there, and nobody is about to start it."""
    seen = observed.reachable().get(name)
    silent = isinstance(observed.members[name], MemberSilent)
    if not isinstance(seen, HostSeen) or not silent:
        return False
    return not seen.unit.is_running and not seen.unit.is_starting


def is_inactive(seen: HostSeen) -> bool:
    """No process, and systemd is not about to start one."""
    return not seen.unit.is_running and seen.unit.active in ("inactive", "failed")
