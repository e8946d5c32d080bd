"""What every step of a plan is: frozen intent, with a reason.

No callables, no secrets, no clock. A step says what shall be so; `commands.py` says, on a fresh observation,
which commands make it so, and the plan made from the next observation says whether it is so.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class FileChange:
    """A file to be created or brought back to what cluster.yaml wants. `diff` is empty for keys and certificates."""

    path: str
    action: Literal["create", "update"]
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What every step has. `rules` are numbers of the operating rules it follows; `quorum` is what the step does
    to voters, quorum and tolerance, before and after."""

    reason: str
    rules: tuple[int, ...] = ()
    quorum: str = ""
    # A disruptive step changes what the cluster is made of, or takes a member away for a while: it stands alone,
    # behind its guard.
    disruptive: ClassVar[bool] = False
    glyph: ClassVar[str] = "~"
    # What is there should etcdup die in the middle of this step, and what the next apply then does.
    if_cut: ClassVar[str] = "nothing that runs is touched; the next apply does the rest"

    @property
    def kind(self) -> str:
        return type(self).__name__

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal in two plans exactly where they mean the same step, whatever reasons they give."""
        return (self.kind,)


@dataclass(frozen=True, kw_only=True)
class HostStep(Step):
    """A step on one host."""

    host: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host)
