"""Ctrl-C and SIGTERM: all connections are closed in order, and the operator reads what was done."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from etcdup.cli.run.failure import Interrupted, is_debugging
from etcdup.cli.run.terminal import Terminal
from etcdup.errors import EXIT_INTERRUPTED

T = TypeVar("T")


def run_interruptibly(
    terminal: Terminal, work: Coroutine[Any, Any, T], describe: Callable[[], str] = lambda: "interrupted"
) -> T:
    """Run to the end. The first Ctrl-C or SIGTERM cancels the work: Interrupted is raised with the text of `describe`.

    A second signal, or a signal during a question, ends the process at once. Hosts then release its locks themselves,
    because a lock ends with its connection.
    """
    interrupted = False

    async def interruptible() -> T:
        task = asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            nonlocal interrupted
            if interrupted or terminal.asking:
                terminal.restore()
                os._exit(EXIT_INTERRUPTED)
            interrupted = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        if not is_debugging():
            _silence_asyncio(loop)
        return await work

    try:
        return asyncio.run(interruptible())
    except BaseException as error:
        if interrupted:
            raise Interrupted(describe()) from error
        raise


def _silence_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    """Suppress what asyncio and asyncssh print themselves: tracebacks of cancelled tasks."""
    loop.set_exception_handler(lambda _loop, _context: None)
    logging.getLogger().addHandler(logging.NullHandler())
