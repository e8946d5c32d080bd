"""Drop-ins: files of other programs that systemd adds to etcd.service (systemd.unit(5)). etcdup writes none."""

import re
import shlex
from collections.abc import Iterable, Iterator

from etcdup.core.observed.unit import DropIn
from etcdup.core.spec.visible import one_line

MAX_DROP_INS = 32
MAX_CHARS = 200
_OPTION = re.compile(r"([A-Za-z]{1,60})\s*=\s*(.*)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def parse_drop_ins(lines: Iterable[str]) -> tuple[DropIn, ...]:
    """Return the files: a line `drop-in PATH` begins each one, and each of its lines begins with `=`."""
    files: dict[str, list[str]] = {}
    path = ""
    for line in lines:
        if line.startswith("drop-in "):
            path = one_line(line.removeprefix("drop-in "), MAX_CHARS)
            files[path] = []
        elif line.startswith("=") and path:
            files[path].append(line[1:])
    return tuple(_drop_in(path, text) for path, text in list(files.items())[:MAX_DROP_INS])


def _drop_in(path: str, lines: list[str]) -> DropIn:
    options = list(_options(lines))
    variables = [name for option, value in options if option == "Environment" for name in _variables(value)]
    names = [option for option, _ in options if option != "Environment"]
    return DropIn(path, tuple(dict.fromkeys(variables)), tuple(dict.fromkeys(names)))


def _options(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the options with their values. A line that ends with a backslash continues in the next one."""
    whole = "\n".join(lines).replace("\\\n", " ").split("\n")
    for line in whole:
        if found := _OPTION.fullmatch(line.strip()):
            yield found[1], found[2]


def _variables(value: str) -> Iterator[str]:
    """Yield the names of the variables in a value of `Environment=`."""
    try:
        words = shlex.split(value)
    except ValueError:
        words = value.split()
    for word in words:
        name = word.partition("=")[0]
        if _VARIABLE.fullmatch(name):
            yield name
