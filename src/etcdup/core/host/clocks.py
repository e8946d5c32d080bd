"""Compare the clocks of hosts with the clock of this machine, and find out which clock is wrong (rule 94)."""

from collections.abc import Mapping
from datetime import timedelta

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

# A certificate is valid this long before it was issued, because the clock of a host may be behind.
BACKDATED = timedelta(hours=1)

SYNC_HINT = (
    "run `chronyc makestep` if chrony runs there. Otherwise run `timedatectl set-ntp true`, which needs chrony or "
    "systemd-timesyncd. `timedatectl` shows whether the clock is synchronised"
)


def host_clocks(spec: Spec, observed: Observed) -> dict[str, float]:
    """Return by how many seconds the clock of each reachable host of cluster.yaml is ahead of this machine's clock."""
    hosts = observed.reachable()
    return {host.name: hosts[host.name].clock_ahead_s for host in spec.hosts if host.name in hosts}


def refuse_clocks(ahead: Mapping[str, float], limit_s: float) -> tuple[Refused, ...]:
    """Refuse if the clock of a host and the clock of this machine differ by more than `limit_s`.

    `ahead` has the seconds by which the clock of each host is ahead of the clock of this machine. If several hosts
    agree with each other and none agrees with this machine, the clock of this machine is wrong.
    """
    off = {name: by for name, by in ahead.items() if abs(by) > limit_s}
    spread = max(ahead.values(), default=0.0) - min(ahead.values(), default=0.0)
    if 1 < len(off) == len(ahead) and spread <= limit_s:
        return (_refuse_this_machine(off, limit_s),)
    both = f"on both machines, {SYNC_HINT}"
    return tuple(
        Refused(
            f"{name}: the clock is {_difference(by)} the clock of this machine",
            hint=(both if len(ahead) == 1 else f"on {name}, {SYNC_HINT}") + _limit(limit_s),
            host=name,
            rules=(94,),
        )
        for name, by in off.items()
    )


def _refuse_this_machine(off: Mapping[str, float], limit_s: float) -> Refused:
    by = -next(iter(off.values()))
    return Refused(
        f"the clock of this machine is wrong: it is {_difference(by)} the clocks of {', '.join(off)}",
        hint=f"on this machine, {SYNC_HINT}{_limit(limit_s)}",
        rules=(94,),
    )


def _limit(seconds: float) -> str:
    """Return the last sentence of a hint. The message has no limit, because causes with other limits have it too."""
    return f". At most {seconds:.0f} s of difference are permitted"


def _difference(seconds: float) -> str:
    """Return `400 s ahead of`, `3 hours behind`, `250 days ahead of`."""
    size = abs(seconds)
    text = f"{size:.0f} s"
    if size >= 2 * 3600:
        text = f"{size / 3600:.0f} hours"
    if size >= 48 * 3600:
        text = f"{size / 86400:.0f} days"
    return f"{text} {'ahead of' if seconds > 0 else 'behind'}"
