"""The end of a member's log, wherever it is kept."""

from etcdup.core.spec.layout import layout_of
from etcdup.errors import RemoteError
from etcdup.ops.world.world import World


async def read_log_tail(world: World, name: str) -> list[str]:
    """The end of a member's log; empty where it cannot be had."""
    layout = layout_of(world.spec, world.spec.host(name))
    if layout.supervisor == "process":
        argv = ["tail", "-n", "1000", layout.log]
    else:
        # As many, since some lines come a hundred times a second and hide what is behind them.
        recent = ("--since=-5min", "--lines=1000")
        argv = ["journalctl", "--unit=etcd.service", *recent, "--output=cat", "--no-pager"]
    try:
        return (await world.hosts[name].run(argv)).stdout.splitlines()
    except RemoteError:
        return []
