"""`etcdup history`: the runs in the journal next to cluster.yaml."""

import textwrap
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text, past_text
from etcdup.cli.views.text import json_text, shorten, table_lines
from etcdup.core.observed.history import Run, runs_of
from etcdup.core.spec.units import show_duration
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.world.journal import Journal

_HEAD = ("start (UTC)", "operator", "verb", "result", "took")
_ERROR_WIDTH = 100
_INDENT = "      "


def show_history(file: Path, *, lines: int, as_json: bool) -> int:
    """Print the last runs, the newest last. `lines` is their number."""
    session = Session.begin(file)
    path = Journal.in_folder(session.folder, session.spec.name).path
    try:
        with path.open(encoding="utf-8", errors="replace") as journal:
            runs = runs_of(journal)[-lines:]
    except FileNotFoundError:
        runs = []
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if as_json:
        session.terminal.print_data(json_text({"format": 1, "runs": [_run_json(run) for run in runs]}))
    elif runs:
        session.terminal.print_data("\n".join(_run_lines(runs, session.terminal.width)) + "\n")
    else:
        session.terminal.say(f"no run of etcdup has changed {session.spec.name} from this directory")
    return EXIT_DONE


def _run_json(run: Run) -> dict[str, object]:
    steps = [{"step": step, "host": host} for step, host in run.steps]
    return {**asdict(run), "steps": steps}


def _run_lines(runs: list[Run], width: int) -> list[str]:
    heads = table_lines([_HEAD, *((*_cells(run), _took(run)) for run in runs)])
    shown = [heads[0]]
    for run, head in zip(runs, heads[1:], strict=True):
        shown += [head, *textwrap.wrap(_steps(run), width, initial_indent=_INDENT, subsequent_indent=_INDENT)]
        shown += [f"{_INDENT}{shorten(run.error, _ERROR_WIDTH)}"] if run.error else []
    return shown


def _cells(run: Run) -> tuple[str, str, str, str]:
    return run.at[:19].replace("T", " "), run.operator, run.verb, run.result


def _took(run: Run) -> str:
    try:
        seconds = (datetime.fromisoformat(run.ended_at) - datetime.fromisoformat(run.at)).total_seconds()
    except ValueError:
        return "-"
    return show_duration(max(seconds, 0.0))


def _steps(run: Run) -> str:
    """Return the steps that changed the cluster, for example `restart etcd (3)`. The number is that of the hosts."""
    counts = Counter(past_text(step) for step, _ in run.steps)
    return ", ".join(f"{step} ({count})" for step, count in counts.items()) or count_text(0, "step")
