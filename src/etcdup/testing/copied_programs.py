"""The programs of etcd on a FakeMachine, and the scripts that read them for a copy to other machines."""

import base64
import hashlib
from collections.abc import Callable

from etcdup.core.host.copied_programs import PROGRAMS, READ_BLOCK
from etcdup.testing.machine import Answer, FakeMachine

_NEXT_TO_RUNNING = "/usr/bin"


def program(tool: str) -> bytes:
    """Return the content of a program: the begin of an ELF file for amd64."""
    return b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00" + tool.encode()


def _programs(machine: FakeMachine, _user: str, place: str, _version: str, *others: str) -> Answer:
    running = not place.startswith("/")
    paths = [f"/proc/{place}/exe" if running else f"{place}/etcd"]
    paths += [f"{_NEXT_TO_RUNNING if running else place}/{tool}" for tool in others]
    contents = [_content(machine, path) for path in paths]
    for path, content in zip(paths, contents, strict=True):
        if content is None:
            return (0, f"missing {path.rpartition('/')[2]}\n", "")
    checksum = hashlib.sha256(b"".join(filter(None, contents))).hexdigest()
    return (0, "\n".join([*paths, f"{checksum}  -", ""]), "")


def _read(machine: FakeMachine, _user: str, path: str, number: str, block: str) -> Answer:
    begin = int(number) * int(block)
    content = (_content(machine, path) or b"")[begin : begin + int(block)]
    return (0, base64.b64encode(content).decode(), "")


def _content(machine: FakeMachine, path: str) -> bytes | None:
    """Return the content of a program. Next to the etcd of another tool, all machines have the same ones."""
    node = machine.file(path)
    if node is not None:
        return node.content
    if path.startswith("/proc/") and machine.process is not None:
        return program("etcd")
    return program(path.rpartition("/")[2]) if path.startswith(f"{_NEXT_TO_RUNNING}/") else None


PROGRAM_SCRIPTS: dict[str, Callable[..., Answer]] = {PROGRAMS: _programs, READ_BLOCK: _read}
