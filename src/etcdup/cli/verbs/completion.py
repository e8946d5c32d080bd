"""What a shell completes after a verb: names of hosts, consumers and backups, from files on this machine.

A file that cannot be read gives no names: a completion prints no errors. It never connects to a host or a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etcdup.cli.verbs.options import choose_file

if TYPE_CHECKING:
    from etcdup.core.spec.model import Spec

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completion(names: Callable[[Spec, Path], Iterable[str]]) -> Complete:
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        file = choose_file(context, parameter, context.params.get("file"))
        found: list[str] = []
        with suppress(Exception):
            from etcdup.core.spec.load import load_bytes

            found = sorted(set(names(load_bytes(file.read_bytes()), file.absolute().parent)))
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _hosts(spec: Spec, _: Path) -> Iterable[str]:
    return (host.name for host in spec.hosts)


def _consumers(spec: Spec, folder: Path) -> Iterable[str]:
    clients = folder / Path(spec.tls.dir).expanduser() / "clients"
    return (
        path.stem for path in clients.glob("*.pem") if not path.stem.endswith("-key") and path.stem != "admin"
    )


def _backups(spec: Spec, folder: Path) -> Iterable[str]:
    folders = [folder / Path(each).expanduser() for each in spec.backup.to if "://" not in each]
    return ("latest", *(path.stem for each in folders for path in each.glob(f"{spec.name}-*Z.json")))


complete_host = _completion(_hosts)
complete_consumer = _completion(_consumers)
complete_backup = _completion(_backups)
