"""A terminal: wait for a text on the screen, then type an answer or press Ctrl-C."""

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

TIMEOUT_S = 240.0
CTRL_C = signal.SIGINT
# The text to wait for, and then the line to type or the signal to send.
Turn = tuple[str, str | signal.Signals]
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_interactively(
    start: Callable[[int], subprocess.Popen[str]], turns: Sequence[Turn]
) -> tuple[int, str]:
    """Run a process on a terminal, and return its exit code and its screen without colours.

    `start` gets the descriptor of the terminal for stdin, stdout and stderr.
    """
    controller, terminal = pty.openpty()
    os.set_blocking(controller, False)
    try:
        process = start(terminal)
        deadline, screen, left = time.monotonic() + TIMEOUT_S, "", list(turns)
        at = 0
        while process.poll() is None:
            screen += _read_screen(controller)
            if left and (found := screen.find(left[0][0], at)) >= 0:
                at = found + len(left[0][0])
                _answer(process, controller, left.pop(0)[1])
            if time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"the screen has none of {left} after {TIMEOUT_S:.0f} s:\n{screen}")
            time.sleep(0.01)
        screen += _read_screen(controller)
        assert not left, (
            f"the process ended with {process.wait()} and never printed {left[0][0]!r}:\n{screen}"
        )
        return process.wait(), _COLOUR.sub("", screen)
    finally:
        os.close(controller)
        os.close(terminal)


def _read_screen(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except BlockingIOError:
        return ""


def _answer(process: subprocess.Popen[str], terminal: int, answer: str | signal.Signals) -> None:
    if isinstance(answer, str):
        os.write(terminal, f"{answer}\n".encode())
    else:
        process.send_signal(answer)
