"""A person at a terminal, who waits for a question and types, or presses Ctrl-C."""

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

TIMEOUT_S = 240.0
CTRL_C = signal.SIGINT
# What is waited for, and what is typed then, or the signal that is sent.
Turn = tuple[str, str | signal.Signals]
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_interactively(
    start: Callable[[int], subprocess.Popen[str]], turns: Sequence[Turn]
) -> tuple[int, str]:
    """The exit code, and all that the screen showed, without colour. `start` takes the terminal for the process's
    stdin, stdout and stderr."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    try:
        process = start(theirs)
        ends, screen, left = time.monotonic() + TIMEOUT_S, "", list(turns)
        at = 0
        while process.poll() is None:
            screen += _read_screen(ours)
            if left and (found := screen.find(left[0][0], at)) >= 0:
                at = found + len(left[0][0])
                _answer(process, ours, left.pop(0)[1])
            if time.monotonic() > ends:
                process.kill()
                raise AssertionError(f"it waits for something else than {left}:\n{screen}")
            time.sleep(0.01)
        screen += _read_screen(ours)
        assert not left, f"it ended with {process.wait()} and did not ask {left[0][0]!r}:\n{screen}"
        return process.wait(), _COLOUR.sub("", screen)
    finally:
        os.close(ours)
        os.close(theirs)


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
