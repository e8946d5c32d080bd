"""`etcdup init`."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.text import json_text
from etcdup.core.spec.load import load
from etcdup.core.spec.schema import cluster_schema
from etcdup.core.spec.template import EXAMPLE_HOSTS, SCHEMA_FILE, cluster_yaml
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.install.pins import load_pins, newest_pinned
from etcdup.remote.ssh.login_user import login_user


def write_file(path: Path, name: str, addresses: Sequence[str], user: str | None) -> int:
    """Write cluster.yaml. Never overwrite a file."""
    terminal = Terminal()
    hosts = [(f"infra{number}", address) for number, address in enumerate(addresses, start=1)]
    user = user or login_user(addresses[0] if addresses else EXAMPLE_HOSTS[0][1])
    text = cluster_yaml(name, hosts, newest_pinned(load_pins()), ssh_user=user)
    load(text, str(path))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"{path} already exists", hint="run `etcdup init -f FILE` to write another file"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    _write_schema(path.parent / SCHEMA_FILE)
    _print_next_steps(terminal, path, has_hosts=bool(hosts))
    return EXIT_DONE


def _write_schema(path: Path) -> None:
    """Write the schema that the first line of cluster.yaml names. Only editors need it."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)  # the journal of commands is there too
        path.write_text(json_text(cluster_schema()), encoding="utf-8")


def _print_next_steps(terminal: Terminal, path: Path, *, has_hosts: bool) -> None:
    option = "" if path == Path("cluster.yaml") else f" -f {path}"
    first = [] if has_hosts else [f"replace the example hosts in {path} with your hosts"]
    steps = [
        *first,
        f"run `etcdup{option} trust` if SSH does not know the hosts yet",
        f"run `etcdup{option} plan` to see what etcdup would do",
        f"run `etcdup{option} apply` to do it",
    ]
    terminal.say(f"wrote {terminal.err('bold', str(path))}")
    terminal.say()
    for number, step in enumerate(steps, start=1):
        terminal.say(f"  {number}. {step}")
