"""The sizes of the databases before and after a change, for `maintain defrag` and `maintain fix-space`."""

from collections.abc import Iterable
from typing import Any, TypeGuard

from etcdup.cli.run.change import ChangeRun
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DefragmentMember, DefragmentOffline
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.step import Step
from etcdup.core.spec.units import show_size


def is_defrag(step: Step) -> TypeGuard[DefragmentMember | DefragmentOffline]:
    """Return whether the step defragments a member."""
    return isinstance(step, DefragmentMember | DefragmentOffline)


def report_sizes(run: ChangeRun, plan: Plan, before: Observed, after: Observed) -> None:
    """Print the size of each database that was defragmented, or add it to the document of `--json`."""
    rows = list(_rows((step.host for step in plan.steps if is_defrag(step)), before, after))
    if run.report is not None:
        run.report.more["databases"] = rows
        return
    for row in rows:
        run.terminal.print_data(
            f"{row['member']}: {_shown(row['size_before'])} -> {_shown(row['size_after'])}\n"
        )


def _rows(names: Iterable[str], before: Observed, after: Observed) -> Iterable[dict[str, Any]]:
    for name in names:
        yield {
            "member": name,
            "size_before": _size(before, name),
            "size_after": _size(after, name),
        }


def _size(observed: Observed, name: str) -> int | None:
    """Return the size of a database; None if its member does not answer."""
    seen = observed.answering().get(name)
    return seen.db_size if seen else None


def _shown(size: int | None) -> str:
    return "unknown" if size is None else show_size(size)
