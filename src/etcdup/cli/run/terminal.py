"""The terminal: data goes to stdout, messages and questions go to stderr."""

import asyncio
import getpass
import shutil
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol

import click

from etcdup.cli.run.output import Output, command_text
from etcdup.cli.views.text import Paint, name_file, shorten, to_terminal
from etcdup.core.spec.visible import MESSAGE_LIMIT, visible

# A shorter wait needs no notice.
WAIT_NOTICE_AFTER_S = 0.7
_REDRAW_S = 0.2
_REPORT_INTERVAL_S = 5.0
_COMMAND_WIDTH = 120
# Go to the first line and overwrite all lines. To clear the screen first would flicker.
_HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class Display(Protocol):
    """Something that is drawn on the terminal, and that must be hidden during a question."""

    def hide(self) -> None: ...

    def show(self) -> None: ...

    def report(self, text: str) -> None: ...


class Terminal:
    """stdout, stderr and the keyboard of this run."""

    def __init__(self) -> None:
        self.output = _current_output()
        self.out = Paint.for_stream(sys.stdout)
        self.err = Paint.for_stream(sys.stderr)
        self.is_live = sys.stderr.isatty() and self.err.colour and not self.output.quiet
        self.can_ask = sys.stdin.isatty() and sys.stderr.isatty()
        # A question needs the lines above it, which --quiet omits. A prompt for a passphrase does not.
        self.can_confirm = self.can_ask and not self.output.quiet
        self.why_no_question = "--quiet asks no question" if self.output.quiet else "stdin is not a terminal"
        self.asking = False
        self.display: Display | None = None
        self._attributes = _read_tty_attributes()
        self._reported: dict[str, float] = {}

    @property
    def width(self) -> int:
        return shutil.get_terminal_size((100, 24)).columns

    def print_data(self, text: str) -> None:
        """Write data to stdout. The text has its own line ends."""
        sys.stdout.write(to_terminal(text))
        sys.stdout.flush()

    def with_file(self, text: str) -> str:
        """Return the text with `-f FILE` in its commands, if the operator typed it."""
        return name_file(text, self.output.file_option)

    def draw_screen(self, text: str) -> None:
        """Write the text over the previous one, from the first line of the screen."""
        lines = to_terminal(text).replace("\n", f"{CLEAR_LINE}\n")
        sys.stdout.write(f"{_HOME}{lines}{CLEAR_BELOW}")
        sys.stdout.flush()

    def say(self, text: str = "") -> None:
        if self.output.quiet:
            return
        with self._hidden():
            print(to_terminal(self.with_file(text)), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        self.output.log("warning", "warning", message=text)
        self.say(f"{self.err('bold yellow', 'warning:')} {text}")

    @property
    def wants_commands(self) -> bool:
        """Whether `record_command` has an effect."""
        return self.output.verbose or self.output.has_log

    def record_command(
        self, host: str, argv: Sequence[str], status: int | None, duration_s: float, error: str = ""
    ) -> None:
        """Print a command of a host with `--verbose`, and append it to the log file."""
        command, level = command_text(argv), "error" if error else "info"
        facts = {"host": host, "command": command, "exit_status": status, "duration_s": round(duration_s, 4)}
        self.output.log(level, "command", **facts, **({"error": error} if error else {}))
        if self.output.verbose:
            ended = "no exit status" if status is None else f"exit status {status}"
            shown = shorten(command, _COMMAND_WIDTH)
            self.say(self.err("dim", f"  {host}: {shown} ({ended}, {duration_s:.2f} s)"))

    def report(self, text: str) -> None:
        """Show the progress of long work such as a download: in place on a terminal, otherwise as a line every 5 s."""
        if self.display is not None:
            self.display.report(visible(text, MESSAGE_LIMIT))
            return
        kind = text.partition(":")[0]
        if time.monotonic() - self._reported.get(kind, -_REPORT_INTERVAL_S) >= _REPORT_INTERVAL_S:
            self._reported[kind] = time.monotonic()
            self.say(self.err("dim", f"  {text}"))

    async def confirm(self, question: str) -> bool:
        return (await self.ask(f"{question} [y/N] ")).lower() in ("y", "yes")

    async def ask(self, question: str) -> str:
        """Return what the operator types, empty at the end of input."""
        return await asyncio.to_thread(self._read_keyboard, question, _read_line)

    def read_secret(self, prompt: str) -> str:
        """Return what the operator types, without echo."""
        return self._read_keyboard(prompt, lambda prompt: getpass.getpass(prompt, stream=sys.stderr))

    def read_new_passphrase(self, key: str) -> str:
        """Return the passphrase of a key that is made now, typed twice. Empty: the key is not encrypted."""
        while passphrase := self.read_secret(f"Passphrase of {key} (empty: no encryption): "):
            if passphrase == self.read_secret("The same passphrase again: "):
                break
            self.say("the two passphrases differ")
        return passphrase

    async def ask_secret(self, prompt: str) -> str | None:
        """Return a passphrase or password for ssh or sudo."""
        return await asyncio.to_thread(self.read_secret, prompt)

    def _read_keyboard(self, prompt: str, ask: Callable[[str], str]) -> str:
        """Read an answer. The thread that reads cannot be cancelled, so the signal handler checks `asking`."""
        with self._hidden():
            self._drop_typed_ahead()
            self.asking = True
            try:
                return ask(to_terminal(self.with_file(prompt)))
            finally:
                self.asking = False

    def _drop_typed_ahead(self) -> None:
        """Drop what was typed before the question, because it cannot be an answer to it."""
        if self._attributes is not None:
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    def restore(self) -> None:
        """Restore echo and cursor before the process exits without unwinding."""
        if self._attributes is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._attributes)
        if self.is_live:
            sys.stderr.write("\x1b[?25h\n")

    @asynccontextmanager
    async def wait_notice(self, what: str) -> AsyncIterator[None]:
        """Say what the block waits for, if it takes longer than WAIT_NOTICE_AFTER_S."""
        line = WaitingLine(self, what)
        waiting = asyncio.create_task(line.run())
        try:
            yield
        finally:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            line.hide()
            if self.display is line:
                self.display = None

    @contextmanager
    def _hidden(self) -> Iterator[None]:
        if self.display is not None:
            self.display.hide()
        try:
            yield
        finally:
            if self.display is not None:
                self.display.show()


class WaitingLine:
    """One line that is redrawn on a terminal, or printed once if there is no terminal."""

    def __init__(self, terminal: Terminal, what: str) -> None:
        self._terminal = terminal
        self._what = what
        self._hidden = False

    async def run(self) -> None:
        began = time.monotonic()
        await asyncio.sleep(WAIT_NOTICE_AFTER_S)
        if not self._terminal.is_live:
            self._terminal.say(f"  {self._what}")
            return
        self._terminal.display = self
        while True:
            if not self._hidden:
                line = to_terminal(self.line(time.monotonic() - began, self._terminal.width))
                sys.stderr.write(f"\r\x1b[K{line}")
                sys.stderr.flush()
            await asyncio.sleep(_REDRAW_S)

    def line(self, passed_s: float, width: int) -> str:
        """Return what is drawn. A line as wide as the terminal would begin a second one, which stays on the screen."""
        passed = f"{passed_s:.0f} s"
        what = shorten(self._what, max(width - len(passed) - 4, 8))
        return f"  {what} {self._terminal.err('dim', passed)}"

    def hide(self) -> None:
        self._hidden = True
        if self._terminal.is_live and self._terminal.display is self:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self) -> None:
        self._hidden = False

    def report(self, text: str) -> None:
        self._what = text


def _current_output() -> Output:
    """Return the options of the verb that runs; the default ones outside of a verb."""
    context = click.get_current_context(silent=True)
    return (context and context.find_object(Output)) or Output()


def _read_line(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _read_tty_attributes() -> list[Any] | None:
    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, OSError, ValueError):  # stdin is no terminal, or there is no stdin
        return None
