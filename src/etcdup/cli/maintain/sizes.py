"""The sizes of the databases before and after a change, for `maintain defrag` and `maintain fix-space`."""

from collections.abc import Iterable
from typing import Any

from etcdup.cli.run.change import ChangeRun
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.steps import DefragmentMember
from etcdup.core.spec.units import show_size


def report_sizes(run: ChangeRun, plan: Plan, before: Observed, after: Observed) -> None:
    """Print the size of each database that was defragmented, or add it to the document of `--json`."""
    rows = list(
        _rows((step.host for step in plan.steps if isinstance(step, DefragmentMember)), before, after)
    )
    if run.report is not None:
        run.report.more["databases"] = rows
        return
    for row in rows:
        size = "unknown" if row["size_after"] is None else show_size(row["size_after"])
        run.terminal.print_data(f"{row['member']}: {show_size(row['size_before'])} -> {size}\n")


def _rows(names: Iterable[str], before: Observed, after: Observed) -> Iterable[dict[str, Any]]:
    for name in names:
        yield {
            "member": name,
            "size_before": before.answering()[name].db_size,
            "size_after": after.answering()[name].db_size if name in after.answering() else None,
        }
