"""The base classes of all steps. A step is frozen data: an intent with a reason.

It has no callables, no secrets and no clock. A step says which state is required. `core/planner/commands.py` derives
the commands from the step and a new observation. The plan from the next observation shows whether the state was
reached.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class FileChange:
    """A file to create, or to update to the required content. `diff` is empty for keys and certificates."""

    path: str
    action: Literal["create", "update"]
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The fields of all steps.

    `rules` are the numbers of the rules that the step follows. `quorum` says how the step changes the voters, the
    quorum and the number of failures that the cluster tolerates.
    """

    reason: str
    rules: tuple[int, ...] = ()
    quorum: str = ""
    # A disruptive step changes the member list, or stops, removes or restarts a member. It is a phase of its own, and
    # its guard is evaluated right before it.
    disruptive: ClassVar[bool] = False
    glyph: ClassVar[str] = "~"
    # The state if etcdup is killed during this step, and which run resumes.
    if_cut: ClassVar[str] = "no running member is changed; the same command, run again, does the rest"

    @property
    def kind(self) -> str:
        """Return the name of the step in a saved plan."""
        return type(self).__name__

    @property
    def is_alone(self) -> bool:
        """Return whether the step is a phase of its own, although it is not disruptive."""
        return False

    @property
    def identity(self) -> tuple[str, ...]:
        """Return a value that is equal for the same step in two plans, even if the reasons differ."""
        return (self.kind,)


@dataclass(frozen=True, kw_only=True)
class HostStep(Step):
    """A step on one host."""

    host: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host)
