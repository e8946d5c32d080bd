"""What goes on while a plan is carried out: a line a host on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.step_texts import hosts_of, step_text
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.step import Step
from etcdup.core.spec.units import show_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

OPERATOR = "operator"
_LABELS = {OPERATOR: "this machine"}


class Progress(Protocol):
    """A Reporter that counts."""

    total: int

    @property
    def done(self) -> int: ...

    def step(self, step: Step, state: str) -> None: ...

    def doing(self, host: str, what: str) -> None: ...


class PlainProgress:
    """A line for each thing that is begun, however many hosts do it at once."""

    def __init__(self, terminal: Terminal, plan: Plan) -> None:
        self.done = 0
        self.total = len(plan.steps)
        self._terminal = terminal
        self._said: set[str] = set()

    def step(self, step: Step, state: str) -> None:
        if state == "doing":
            self._said.clear()
        if state == "done":
            self.done += 1
        if state == "doing" and step.disruptive and len(hosts_of(step)) == 1:
            self._terminal.say(f"  {hosts_of(step)[0]}: {step_text(step)}")

    def doing(self, host: str, what: str) -> None:  # noqa: ARG002
        if what and what not in self._said:
            self._said.add(what)
            self._terminal.say(f"  {what}")


class LiveProgress:
    """Drawn by rich below everything that was said; gone when it ends."""

    def __init__(self, terminal: Terminal, plan: Plan, hosts: Iterable[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self.done = 0
        self.total = len(plan.steps)
        self._began = time.monotonic()
        self._rows = dict.fromkeys((OPERATOR, *hosts), "")
        self._failed: set[str] = set()
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=12, transient=True
        )
        terminal.display = self

    def step(self, step: Step, state: str) -> None:
        if state == "done":
            self.done += 1
            self._rows.update(dict.fromkeys(hosts_of(step) or (OPERATOR,), ""))
        if state == "failed":
            self._failed.update(hosts_of(step))

    def doing(self, host: str, what: str) -> None:
        self._rows[host] = what

    def report(self, text: str) -> None:
        self._rows[OPERATOR] = text

    def show(self) -> None:
        self._live.start(refresh=True)

    def hide(self) -> None:
        self._live.stop()

    def _render(self) -> "RenderableType":
        from rich.spinner import Spinner
        from rich.table import Table

        table = Table.grid(padding=(0, 2, 0, 0))
        for host, what in self._rows.items():
            if what or host != OPERATOR:
                mark = self._state_symbol(host, what)
                spinner = Spinner("dots", style="cyan") if mark is None else mark
                table.add_row(" ", spinner, f"[bold]{_LABELS.get(host, host)}[/]", _escaped(what))
        passed = show_duration(time.monotonic() - self._began)
        outer = Table.grid()
        outer.add_row(table)
        outer.add_row(f"  [dim]{self.done} of {self.total} steps · {passed}[/]")
        return outer

    def _state_symbol(self, host: str, what: str) -> str | None:
        if host in self._failed:
            return "[red]✗[/]"
        return None if what else "[dim]·[/]"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


@contextmanager
def progress_of(terminal: Terminal, plan: Plan, hosts: Iterable[str]) -> Iterator[Progress]:
    """The display for this plan, for as long as the block."""
    if not terminal.is_live:
        yield PlainProgress(terminal, plan)
        return
    live = LiveProgress(terminal, plan, hosts)
    live.show()
    try:
        yield live
    finally:
        terminal.display = None
        with suppress(BrokenPipeError):
            live.hide()
