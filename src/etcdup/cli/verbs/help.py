"""The verb that shows the help of another verb."""

import click

from etcdup.cli.verbs.options import HELP_OPTIONS


@click.command("help", context_settings=HELP_OPTIONS)
@click.argument("verb", nargs=-1, metavar="[VERB]...")
@click.pass_context
def help_(context: click.Context, verb: tuple[str, ...]) -> None:
    """Show the help of a verb, as `etcdup VERB --help` does.

    \b
    Examples:
      etcdup help
      etcdup help certs renew
    """
    shown = context.find_root()
    for word in verb:
        if not isinstance(shown.command, click.Group):
            raise click.UsageError(f"{shown.command_path} has no commands", shown)
        name, command, _ = shown.command.resolve_command(shown, [word])
        assert command is not None
        shown = click.Context(command, shown, info_name=name, max_content_width=shown.max_content_width)
    click.echo(shown.get_help())


VERBS: tuple[click.Command, ...] = (help_,)
