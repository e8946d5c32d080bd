"""The entry point: the verbs, and what becomes of their errors.

Nothing heavy is imported here or in `verbs`: what a verb does is in a module of its own, imported when it
runs, so that `--help` and `--version` answer at once.
"""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from etcdup import __version__
from etcdup.cli.run.failure import error_text, show_failure
from etcdup.cli.run.output import Output
from etcdup.cli.verbs import access, backups, certs, cluster, explain, try_out
from etcdup.cli.verbs.options import HELP_OPTIONS, add_output_options, file_option


class Verbs(click.Group):
    """Lists its verbs in the order in which they are met, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
@click.version_option(__version__, message="etcdup %(version)s")
@file_option
def cli(file: Path) -> None:
    """Brings highly available etcd clusters up on plain Linux hosts, and keeps them up."""


for module in (try_out, cluster, certs, backups, access, explain):
    for verb in module.VERBS:
        cli.add_command(verb)
add_output_options(cli)


def run(argv: Sequence[str]) -> int:
    """One call of etcdup; returns its exit code and raises nothing."""
    # pydantic would look through every installed package for plugins to itself: 40 ms for none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    output = Output()
    try:
        code = cli.main(args=list(argv), prog_name="etcdup", standalone_mode=False, obj=output)
        sys.stdout.flush()
    except SystemExit as stopped:  # click ends this way if stdout is a pipe that is closed
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException as error:
        code = show_failure(error, list(argv))
        output.close(code, error_text(error))
    code = code if isinstance(code, int) else 0
    output.close(code)
    return code


def main() -> None:
    """`etcdup`, as it is installed. Whatever must be closed is closed when `run` returns."""
    # Imports make many objects that stay; looking through them again and again takes a tenth of a second.
    gc.set_threshold(50_000)
    code = run(sys.argv[1:])
    with suppress(OSError):  # nobody may be reading any more
        sys.stdout.flush()
        sys.stderr.flush()
    # Python would take each of a thousand modules apart, which takes 140 ms: a tenth of a whole apply.
    os._exit(code)
