"""A cause: one thing that is wrong or not finished, with what follows from it and the command that helps. Frozen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from etcdup.core.plan.plan import Refused, fold_hosts

# `wrong` must be fixed. `unfinished` is work that a verb began, or work that waits. `different` is a difference from
# cluster.yaml.
Level = Literal["wrong", "unfinished", "different"]


@dataclass(frozen=True)
class Cause:
    """One cause. `hosts` are the hosts that it is about: it explains why their members do not answer.

    `what` and `hint` have the form of an error and of its hint. `effects` follow from the cause. `by_apply` says that
    `etcdup apply` fixes it. `code` names the kind of cause, as `etcdup explain CODE` describes it.
    """

    what: str
    hint: str
    hosts: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    level: Level = "wrong"
    rules: tuple[int, ...] = ()
    by_apply: bool = False
    code: str = field(kw_only=True)

    @property
    def note(self) -> str:
        """Return the cause as the note of a plan: what is wrong, a line for each effect, and a line with the hint."""
        return "\n".join((self.what, *self.effects, f"hint: {self.hint}"))


def causes_of(reasons: Iterable[Refused], code: str, hosts: Sequence[str] = ()) -> list[Cause]:
    """Return a cause for each reason of a guard. Reasons that differ only in the host are one cause."""
    every = tuple(reasons)
    return [
        Cause(
            each.message,
            each.hint,
            tuple(hosts) or _hosts_of(each, every),
            rules=each.rules,
            code=code,
        )
        for each in fold_hosts(every)
    ]


def _hosts_of(folded: Refused, reasons: Sequence[Refused]) -> tuple[str, ...]:
    if folded.host:
        return (folded.host,)
    return tuple(dict.fromkeys(each.host for each in reasons if each.host and each.hint == folded.hint))


def named(names: Iterable[str]) -> str:
    return ", ".join(names)


def all_named(names: Sequence[str]) -> str:
    """Return `infra1, infra2 and infra3`, for a sentence that continues with another name."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
