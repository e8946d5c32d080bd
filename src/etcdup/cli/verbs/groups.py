"""Groups of verbs: their order, and the answer to a verb that does not exist."""

from difflib import get_close_matches

import click

from etcdup.errors import EXIT_USAGE, UsageError

# Words of other tools, each with what an operator does here instead.
_OTHER_WORDS = {
    ("upgrade", "downgrade"): "set `version` in cluster.yaml, then run `etcdup plan`",
    ("add", "join", "leave", "remove", "scale"): "edit `hosts` in cluster.yaml, then run `etcdup plan`",
    ("bootstrap", "create", "deploy", "install", "start", "up"): "run `etcdup apply`",
    ("diff", "preview"): "run `etcdup plan`",
    ("get", "list", "ls", "members", "ps", "show"): "run `etcdup status`",
    ("etcdctl", "exec"): "run `etcdup ctl -- ARGS`",
    ("save", "snapshot"): "run `etcdup backup now`",
    ("compact", "nospace", "fix-space"): "run `etcdup maintain fix-space`",
    ("defrag", "defragment"): "run `etcdup maintain defrag`",
    ("move-leader", "transfer-leader"): "run `etcdup maintain move-leader`",
    ("doctor", "verify"): "run `etcdup check`",
    ("import", "migrate", "takeover", "take-over"): "run `etcdup adopt --help`",
    ("bounce", "drain", "reboot", "reload", "stop"): "run `etcdup restart --help`",
    ("replace",): "run `etcdup member replace NAME`",
    ("issue", "renew", "rotate-ca"): "run `etcdup help certs`",
    ("drill", "prune"): "run `etcdup help backup`",
    ("version",): "run `etcdup --version`",
    # In other tools it removes a cluster. The nearest verb here, `restore`, does something else.
    ("reset",): "",
}


class Verbs(click.Group):
    """A group that lists its verbs in the order of their definition, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(EXIT_USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"no such command '{name}'", hint=self._hint(ctx, name))
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: click.Context, name: str) -> str:
        listed = f"run `{ctx.command_path} --help` to list the commands"
        word = name.lower()
        for words, instead in _OTHER_WORDS.items():
            if word in words:
                return instead or listed
        near = get_close_matches(word, [each for each in self.commands if each != "destroy"], n=1)
        return f"did you mean `{ctx.command_path} {near[0]}`?" if near else listed
