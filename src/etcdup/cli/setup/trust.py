"""`etcdup trust`: the SSH keys of new hosts are shown, and added to known_hosts.

An address that cluster.yaml does not have belongs to a machine that `member replace --address` writes into it later.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from etcdup.cli.run.change import YesNo
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.spec.address import parse_address
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import WrongValue
from etcdup.errors import (
    EXIT_CHANGES,
    EXIT_DONE,
    EXIT_FAILED,
    EtcdupError,
    HostKeyUnknown,
    OfferedKey,
    RemoteError,
    UsageError,
)
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.errors import public_key_file
from etcdup.remote.ssh.known_hosts import add_to_known_hosts, try_logins

Errors = Mapping[str, RemoteError | None]

_COMPARE = "Compare each fingerprint with the key of the host. On the console of the host, run:"


def trust_hosts(file: Path, addresses: Sequence[str], *, yes: bool, as_json: bool) -> int:
    """Show the keys that are not in known_hosts, and add them after a confirmation.

    With `addresses`, only these machines are contacted, with the `ssh` section of cluster.yaml.
    """
    session = Session.begin(file)
    hosts = hosts_to_trust(session.spec, addresses)
    return session.run(_trust(session, hosts, yes=yes, as_json=as_json))


def hosts_to_trust(spec: Spec, addresses: Sequence[str]) -> list[HostSpec]:
    """Return the hosts with these addresses or names; without addresses, the hosts of cluster.yaml.

    A host that cluster.yaml does not have gets its address as its name.
    """
    remote = [host for host in spec.hosts if not host.local]
    known = {text: host for host in remote for text in (host.name, host.address)}
    return [known.get(each) or _new_host(each) for each in addresses] if addresses else remote


def _new_host(address: str) -> HostSpec:
    try:
        return HostSpec.model_construct(name=address, address=parse_address(address))
    except WrongValue as error:
        raise UsageError(str(error), hint=error.hint) from None


async def _trust(session: Session, hosts: Sequence[HostSpec], *, yes: bool, as_json: bool) -> int:
    """Add keys until none is new: the key of a host behind a jump host is offered only after that of the jump host."""
    added: list[OfferedKey] = []
    errors = await _try_logins(session, hosts)
    while (new := offered_keys(errors)) and (yes or not as_json):
        session.terminal.say(_shown(new))
        if not yes:
            await YesNo(f"Add {count_text(len(new), 'key')} to {_files(new)}?").ask(session.terminal)
        for key in new:
            add_to_known_hosts(key)
        added += new
        errors = await _try_logins(session, hosts)
        if set(offered_keys(errors)) & set(new):
            raise _not_read_back(new)
    if as_json:
        return _print_json(session, added, errors)
    _raise_failures(errors)
    if added:
        session.terminal.print_data(f"{count_text(len(added), 'key')} added to {_files(added)}\n")
    else:
        session.terminal.print_data("all hosts are in known_hosts: nothing to do\n")
    return EXIT_DONE


async def _try_logins(session: Session, hosts: Sequence[HostSpec]) -> Errors:
    spec, terminal = session.spec, session.terminal
    secrets = Secrets(terminal.ask_secret if terminal.can_ask else None)
    async with terminal.wait_notice(f"connecting to {', '.join(host.name for host in hosts)}"):
        return await try_logins(hosts, spec.ssh, secrets)


def offered_keys(errors: Errors) -> list[OfferedKey]:
    """Return the unknown keys, each once: several hosts can be behind one jump host."""
    keys = [error.offered for error in errors.values() if isinstance(error, HostKeyUnknown) and error.offered]
    return list({key.line: key for key in keys}.values())


def _shown(keys: Sequence[OfferedKey]) -> str:
    lines = [f"  {key.host}  {key.place}\n      {key.fingerprint}" for key in keys]
    commands = [f"  ssh-keygen -lf {file}" for file in key_files(keys)]
    return "\n".join(["New SSH host keys:", *lines, "", _COMPARE, *commands, ""])


def key_files(keys: Iterable[OfferedKey]) -> list[str]:
    """Return where sshd has the public keys of these kinds on a host."""
    return sorted({public_key_file(key.fingerprint) for key in keys})


def _files(keys: Iterable[OfferedKey]) -> str:
    return ", ".join(sorted({key.file for key in keys}))


def _not_read_back(keys: Sequence[OfferedKey]) -> EtcdupError:
    return EtcdupError(
        f"the keys were added to {_files(keys)}, and the hosts are still unknown: a line `@revoked` rejects them",
        hint="remove the line from known_hosts if the key is safe. `ssh-keygen -F HOST` shows it",
    )


def _raise_failures(errors: Errors) -> None:
    """Raise the error of the only host that failed, or one error for all of them."""
    failed = [error for error in errors.values() if error is not None]
    if len(failed) == 1:
        raise failed[0]
    if failed:
        names = ", ".join(error.host for error in failed)
        detail = "\n".join(f"{error.message}\n{error.detail}".strip() for error in failed)
        raise EtcdupError(f"no login to {names}", detail=detail, hint=failed[0].hint)


def _print_json(session: Session, added: Sequence[OfferedKey], errors: Errors) -> int:
    new = offered_keys(errors)
    failed = [
        error for error in errors.values() if error is not None and not isinstance(error, HostKeyUnknown)
    ]
    session.terminal.print_data(
        json_text(
            {
                "cluster": session.spec.name,
                "added": [_key_json(key) for key in added],
                "new": [_key_json(key) for key in new],
                "failed": [
                    {"host": error.host, "message": error.message, "hint": error.hint} for error in failed
                ],
            }
        )
    )
    if failed:
        return EXIT_FAILED
    return EXIT_CHANGES if new else EXIT_DONE


def _key_json(key: OfferedKey) -> dict[str, Any]:
    return {
        "host": key.host,
        "place": key.place,
        "fingerprint": key.fingerprint,
        "known_hosts": key.file,
    }
