"""docs/reference/cli.md: every verb with its arguments and options."""

from collections import Counter
from collections.abc import Iterator, Mapping
from inspect import cleandoc

import click

from etcdup.cli.main import cli
from tests.reference_pages.markdown import GENERATED, cell, filled, table

_CLI = """\
# Commands

Every verb with its arguments and options, as `etcdup VERB --help` prints them. Data goes to stdout, and everything
else to stderr. See also [exit codes](exit-codes.md) and [JSON](json.md).

| variable | meaning |
|---|---|
| `ETCDUP_FILE` | The path of cluster.yaml, if there is no `-f`. |
| `ETCDUP_SUDO_PASSWORD` | The sudo password. Without it etcdup asks. |
| `ETCDUP_SUDO_PASSWORD_<NAME>` | The sudo password of one host: `ETCDUP_SUDO_PASSWORD_INFRA_1` for infra-1. |
| `ETCDUP_SSH_PASSPHRASE` | The passphrase of the SSH key. Without it etcdup asks. |
| `ETCDUP_CA_PASSPHRASE` | The passphrase of the CA key. See `tls.passphrase_command`. |
| `ETCDUP_BACKUP_IDENTITY` | The file with the private key of encrypted backups, if there is no `--identity`. |
| `ETCDUP_CACHE` | The directory of downloaded binaries. Default: `~/.cache/etcdup`. |
| `ETCDUP_DEBUG` | With any value, an error also prints its traceback. |
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` | Credentials for S3. Without them, `~/.aws/credentials` is read. |
| `AWS_UNSIGNED_PAYLOAD` | `false` if the policy of the bucket requires signatures of the content. |
"""


def commands_page() -> str:
    found = list(_leaf_commands(cli, ("etcdup",)))
    counts = Counter(row for words, each in found for row in _option_rows(each, words))
    common = {row: None for row, count in counts.items() if count > len(found) / 2}
    parts = [_CLI, GENERATED, "## Common options\n", table(("option", "meaning"), common)]
    for words, command in found:
        parts += _command_parts(words, command, common)
    return "\n".join(parts)


def _leaf_commands(
    group: click.Group, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(_context(group, words)):
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from _leaf_commands(command, (*words, name))
        else:
            yield (*words, name), command


def _context(command: click.Command, words: tuple[str, ...]) -> click.Context:
    settings = {**command.context_settings, "max_content_width": 100}
    return click.Context(command, info_name=" ".join(words), **settings)


def _option_rows(command: click.Command, words: tuple[str, ...]) -> list[tuple[str, str]]:
    context = _context(command, words)
    with context:
        records = [
            each.get_help_record(context)
            for each in command.get_params(context)
            if isinstance(each, click.Option)
        ]
    return [(f"`{cell(names)}`", cell(text)) for names, text in filter(None, records)]


def _command_parts(
    words: tuple[str, ...], command: click.Command, common: Mapping[tuple[str, str], None]
) -> list[str]:
    usage = " ".join([*words, *command.collect_usage_pieces(_context(command, words))])
    rows = _option_rows(command, words)
    parts = [f"## {' '.join(words)}\n", f"    {usage}\n", _help_text(command)]
    if own := [row for row in rows if row not in common]:
        parts.append(table(("option", "meaning"), own))
    if shared := [names for names, _ in rows if (names, _) in common]:
        parts.append(filled(f"Common options: {', '.join(shared)}.") + "\n")
    return parts


def _help_text(command: click.Command) -> str:
    return "\n\n".join(map(_paragraph, cleandoc(command.help or "").split("\n\n"))) + "\n"


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text. After the mark of click, each line stays a line of its own."""
    if not text.startswith("\b\n"):
        return filled(text)
    first, *lines = text.splitlines()[1:]
    if not first.endswith(":"):
        return "\n".join(f"    {line.strip()}" for line in (first, *lines))
    return "\n".join((first, "", *(f"    {line.strip()}" for line in lines)))
