"""The progress of a plan: one line for each host on a terminal, plain lines otherwise."""

import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from etcdup.cli.run.terminal import CLEAR_BELOW, CLEAR_LINE, Terminal
from etcdup.cli.views.step_texts import hosts_of, step_text
from etcdup.cli.views.text import shorten, to_terminal
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.step import Step
from etcdup.core.spec.units import show_duration

OPERATOR = "operator"
_LABELS = {OPERATOR: "this machine"}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_REDRAW_S = 0.1
_SAY_AGAIN_S = 5.0
# Work that takes longer has a clock of its own.
_CLOCK_AFTER_S = 2.0
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Progress(Protocol):
    """A Reporter that counts."""

    total: int

    @property
    def done(self) -> int: ...

    def step(self, step: Step, state: str) -> None: ...

    def doing(self, host: str, what: str) -> None: ...


class PlainProgress:
    """Prints a line for each kind of work that a host begins, and for a transfer a line every 5 s.

    The text before a colon is the kind of work. The text after the colon is its progress.
    """

    def __init__(self, terminal: Terminal, plan: Plan) -> None:
        self.done = 0
        self.total = len(plan.steps)
        self._terminal = terminal
        self._said: dict[tuple[str, str], float] = {}

    def step(self, step: Step, state: str) -> None:
        if state == "doing":
            self._said.clear()
        if state == "done":
            self.done += 1
        if state == "doing" and step.disruptive and len(hosts_of(step)) == 1:
            self._terminal.say(f"  {hosts_of(step)[0]}: {step_text(step)}")

    def doing(self, host: str, what: str) -> None:
        now, work = time.monotonic(), (host, what.partition(": ")[0])
        said = self._said.get(work)
        if what and (said is None or (": " in what and now - said >= _SAY_AGAIN_S)):
            self._said[work] = now
            self._terminal.say(f"  {_LABELS.get(host, host)}: {what}")


class LiveProgress:
    """A line for each host below all other text, drawn again several times per second, and erased at the end.

    A thread draws, because the event loop is busy at times. Questions hide the lines, from a thread of their own.
    """

    def __init__(self, terminal: Terminal, plan: Plan, hosts: Iterable[str]) -> None:
        self.done = 0
        self.total = len(plan.steps)
        self._terminal = terminal
        self._began = time.monotonic()
        self._rows = dict.fromkeys((OPERATOR, *hosts), "")
        self._works: dict[str, tuple[str, float]] = {}
        self._failed: set[str] = set()
        self._lock = threading.Lock()
        self._is_shown = False
        self._height = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)
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

    def start(self) -> None:
        self.show()
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self.hide()

    def show(self) -> None:
        with self._lock:
            self._is_shown = True
            self._draw()

    def hide(self) -> None:
        with self._lock:
            self._is_shown = False
            self._write(f"{self._to_first_line()}{CLEAR_BELOW}{_SHOW_CURSOR}")
            self._height = 0

    def lines(self, width: int) -> list[str]:
        """Return what is drawn, each line at most this wide."""
        rows = {host: what for host, what in dict(self._rows).items() if what or host != OPERATOR}
        names = {host: _LABELS.get(host, host) for host in rows}
        longest, paint = max(map(len, names.values()), default=0), self._terminal.err
        lines = [
            f"  {self._state_symbol(host, what)} {paint('bold', f'{names[host]:{longest}}')}  "
            f"{self._with_clock(host, what, max(width - longest - 7, 8))}".rstrip()
            for host, what in rows.items()
        ]
        passed = show_duration(time.monotonic() - self._began)
        return [*lines, paint("dim", f"  {self.done} of {self.total} steps · {passed}")]

    def _with_clock(self, host: str, what: str, width: int) -> str:
        """Return the text, with the time since this kind of work began."""
        work, now = what.partition(": ")[0], time.monotonic()
        known, began = self._works.get(host, ("", now))
        if known != work:
            began = now
            self._works[host] = (work, began)
        if not what or now - began < _CLOCK_AFTER_S:
            return shorten(what, width)
        clock = f"  {now - began:.0f} s"
        return shorten(what, max(width - len(clock), 4)) + clock

    def _redraw(self) -> None:
        while not self._ended.wait(_REDRAW_S):
            with self._lock, suppress(OSError):
                if self._is_shown:
                    self._draw()

    def _draw(self) -> None:
        columns, rows = shutil.get_terminal_size()
        lines = self.lines(columns)[-(rows - 1) :]
        text = "".join(f"{to_terminal(line)}{CLEAR_LINE}\n" for line in lines)
        self._write(f"{_HIDE_CURSOR}{self._to_first_line()}{text}{CLEAR_BELOW}")
        self._height = len(lines)

    def _to_first_line(self) -> str:
        return f"\r\x1b[{self._height}A" if self._height else "\r"

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    def _state_symbol(self, host: str, what: str) -> str:
        paint = self._terminal.err
        if host in self._failed:
            return paint("red", "✗")
        spinner = _SPINNER[int((time.monotonic() - self._began) / _REDRAW_S) % len(_SPINNER)]
        return paint("cyan", spinner) if what else paint("dim", "·")


@contextmanager
def progress_of(terminal: Terminal, plan: Plan, hosts: Iterable[str]) -> Iterator[Progress]:
    """Show the progress of this plan until the block ends."""
    if not terminal.is_live:
        yield PlainProgress(terminal, plan)
        return
    live = LiveProgress(terminal, plan, hosts)
    live.start()
    try:
        yield live
    finally:
        terminal.display = None
        with suppress(BrokenPipeError):
            live.end()
