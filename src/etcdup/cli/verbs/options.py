"""Options that many verbs share."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from etcdup.cli.run.output import Output

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

HELP_OPTIONS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
FILE_VARIABLE = "ETCDUP_FILE"
IDENTITY_VARIABLE = "ETCDUP_BACKUP_IDENTITY"


def choose_file(context: click.Context, _: click.Parameter, value: Path | None) -> Path:
    """Return the -f after the verb, or the one before the verb, or $ETCDUP_FILE, or the default."""
    outer = context.parent
    while value is None and outer is not None:
        value, outer = outer.params.get("file"), outer.parent
    default = Path(os.environ.get(FILE_VARIABLE) or "cluster.yaml")
    if value is not None and value != default:
        _output(context).file_option = f"-f {shlex.quote(str(value))}"
    return value or default


def file_option(decorated: Decorated) -> Decorated:
    """Add `-f FILE`, which is accepted before and after the verb."""
    option = click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=choose_file,
        help=f"The path of cluster.yaml.  [default: ${FILE_VARIABLE} or cluster.yaml]",
    )
    return option(decorated)


def json_option(decorated: Decorated) -> Decorated:
    """Add `--json`: data for programs on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(decorated)


def consumers_option(decorated: Decorated) -> Decorated:
    """Add `--consumers-have endpoints`: the operator confirms that clients have the endpoints of cluster.yaml."""
    option = click.option(
        "--consumers-have",
        type=click.Choice(("endpoints",)),
        help="Confirm that all clients have the endpoints of cluster.yaml.",
    )
    return option(decorated)


def identity_option(decorated: Decorated) -> Decorated:
    """Add `--identity FILE`: the private key that decrypts a backup."""
    option = click.option(
        "--identity",
        type=click.Path(path_type=Path),
        metavar="FILE",
        envvar=IDENTITY_VARIABLE,
        help=f"The private key of encrypted backups, as age-keygen writes it.  [default: ${IDENTITY_VARIABLE}]",
    )
    return option(decorated)


def unsigned_option(decorated: Decorated) -> Decorated:
    """Add `--unsigned`: the operator trusts all clients that can write to the store."""
    option = click.option(
        "--unsigned", is_flag=True, help="Also use backups that the backup key of the PKI did not sign."
    )
    return option(decorated)


def _set_verbose(context: click.Context, _: click.Parameter, value: bool) -> None:
    _output(context).verbose |= value
    _check_output(context)


def _set_quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    _output(context).quiet |= value
    _check_output(context)


def _open_log(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        _output(context).open_log(value, context.command_path)


def _check_output(context: click.Context) -> None:
    if _output(context).verbose and _output(context).quiet:
        raise click.UsageError("--verbose and --quiet exclude each other", context)


def _output(context: click.Context) -> Output:
    return context.ensure_object(Output)


def output_options() -> list[click.Option]:
    """Return `-v`, `-q` and `--log-file`."""
    return [
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_set_verbose,
            help="Print each command that runs on a host, its exit status and its duration.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="Print only errors and data. A question is an error: pass the option that its hint names.",
        ),
        click.Option(
            ["--log-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_open_log,
            help="Append each command, warning and error to FILE, as JSON lines.",
        ),
    ]


def add_options(command: click.Command, options: list[click.Option]) -> None:
    """Add these options to a command and to all commands below it. They share them, so that `--help` stays fast."""
    command.params += options
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_options(each, options)
