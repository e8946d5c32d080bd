"""The verb that explains rules and findings."""

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, json_option


@click.command(context_settings=HELP_OPTIONS)
@click.argument("what", nargs=-1, metavar="[RULE|CODE]...")
@json_option
def explain(what: tuple[str, ...], as_json: bool) -> int:
    """Explain a rule by its number, or a finding by its code.

    Plans, refusals and findings print the numbers of their rules. Without an argument, it lists all rules and codes.

    \b
    Examples:
      etcdup explain 18
      etcdup explain clock-differs
    """
    from etcdup.cli.access.explain import explain as print_explanation

    return print_explanation(" ".join(what), as_json=as_json)


VERBS: tuple[click.Command, ...] = (explain,)
