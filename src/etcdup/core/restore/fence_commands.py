"""The commands that switch the startup fence off for one start, and on again."""

from collections.abc import Iterator

from etcdup.core.host.actions import FileToWrite, HostAction, RunCommand, WriteFiles
from etcdup.core.host.content import TextContent
from etcdup.core.spec.layout import Layout


def disable_fence_commands(layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that switch the startup fence off for one start.

    Restored members start together, so none of them has to check whether its cluster was superseded
    (core/host/startup_fence.py).
    """
    doing = "disabling the startup fence for this start"
    yield RunCommand(("mkdir", "-p", layout.run), doing)
    yield WriteFiles((FileToWrite(layout.fence_disabled, TextContent(""), 0o644, "root:root"),), doing)


def enable_fence_commands(layout: Layout) -> Iterator[HostAction]:
    """Yield the command that switches the startup fence on again."""
    yield RunCommand(("rm", "-f", layout.fence_disabled), "enabling the startup fence")
