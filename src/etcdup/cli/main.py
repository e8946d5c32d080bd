"""The entry point: it runs a verb, and turns its error into text and an exit code.

This module and `verbs` import nothing heavy. Each verb imports its own module when it runs, so that `--help` and
`--version` print at once.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from etcdup import __version__
from etcdup.cli.run.failure import error_text, show_failure
from etcdup.cli.run.output import Output
from etcdup.cli.verbs import (
    access,
    archives,
    backups,
    certs,
    cluster,
    destroy,
    explain,
    help,
    maintain,
    restore,
    restore_keys,
    setup,
    try_out,
)
from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, add_options, file_option, output_options


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
@click.version_option(__version__, message="etcdup %(version)s")
@file_option
def cli(file: Path) -> None:
    """Deploy and operate highly available etcd clusters on Linux hosts over SSH, from one YAML file."""


for module in (
    try_out,
    setup,
    cluster,
    restore,
    destroy,
    maintain,
    certs,
    backups,
    restore_keys,
    archives,
    access,
    explain,
    help,
):
    for verb in module.VERBS:
        cli.add_command(verb)
add_options(cli, output_options())


def run(argv: Sequence[str]) -> int:
    """Run etcdup once and return its exit code. Nothing is raised."""
    # Without this, pydantic searches all installed packages for plugins, which takes 40 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    output = Output()
    try:
        code = cli.main(args=list(argv), prog_name="etcdup", standalone_mode=False, obj=output)
        sys.stdout.flush()
    except SystemExit as stopped:  # click ends this way if stdout is a pipe that is closed
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException as error:
        code = show_failure(error, list(argv), output.file_option)
        output.close(code, error_text(error))
    code = code if isinstance(code, int) else 0
    output.close(code)
    return code


def main() -> None:
    """Run the installed command `etcdup`. Everything is closed when `run` returns."""
    # Imports create many permanent objects. To scan them for garbage again and again takes 100 ms.
    gc.set_threshold(50_000)
    # `run` turns KeyboardInterrupt into a message. `__main__` has another handler for the imports before it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # cluster.yaml, saved plans and cached programs decide what runs as root: no umask lets other users write them.
    os.umask(os.umask(0o022) | 0o022)
    code = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # The reader may have closed the pipe.
        sys.stdout.flush()
        sys.stderr.flush()
    # To unload a thousand modules takes Python 140 ms, a tenth of the time of an apply.
    os._exit(code)
