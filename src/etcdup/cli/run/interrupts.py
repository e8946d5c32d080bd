"""Ctrl-C and SIGTERM: everything is closed in order, and the operator is told how far it went."""

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
    terminal: Terminal, work: Coroutine[Any, Any, T], how_far: Callable[[], str] = lambda: "interrupted"
) -> T:
    """Runs to the end. The first Ctrl-C or SIGTERM cancels it: raises Interrupted, with what `how_far` says.

    A second one, or one at a prompt, ends the process at once; what hosts hold for it frees itself.
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
            raise Interrupted(how_far()) from error
        raise


def _silence_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    """What asyncio and asyncssh would say by themselves: tracebacks of things that are being cancelled."""
    loop.set_exception_handler(lambda _loop, _context: None)
    logging.getLogger().addHandler(logging.NullHandler())
