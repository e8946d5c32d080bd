"""The scripts that receive, copy and exchange a member's data, on a FakeMachine.

Each counts the commands of the script: tests kill etcdup between them.
"""

import hashlib
from copy import copy
from pathlib import PurePosixPath

from etcdup.core.restore.data_copy import COPY_SCRIPT, FINISH_COPY, PREPARE_COPY
from etcdup.core.restore.scripts import PLACE, RECEIVE, UNDO
from etcdup.testing.machine import Answer, Command, FakeMachine, Node

OK: Answer = (0, "", "")
Argv = tuple[str, ...]


def _receive(machine: FakeMachine, arguments: Argv, content: bytes) -> Answer:
    name, digest, _user = arguments
    if hashlib.sha256(content).hexdigest() != digest:
        return (1, "", "the snapshot arrived damaged")
    machine.put(machine.path(name), content, 0o640)
    return OK


def _place(machine: FakeMachine, arguments: Argv, stdin: bytes) -> Answer:
    name, suffix, target = arguments
    staged = machine.path(name)
    if target:
        return _exchange(machine, staged, machine.path(target), suffix)
    return _exchange_inside(machine, staged, suffix, f"{staged}.placing")


def _undo(machine: FakeMachine, arguments: Argv, stdin: bytes) -> Answer:
    old, suffix, target = arguments
    if target:
        return _exchange(machine, machine.path(f"{target}.{old}"), machine.path(target), suffix)
    kept = machine.path(old)
    return _exchange_inside(machine, kept, suffix, f"{kept}.undoing")


def _exchange(machine: FakeMachine, fresh: str, target: str, suffix: str) -> Answer:
    if fresh not in machine.nodes:
        return OK
    if target in machine.nodes:
        machine.move(target, f"{target}.{suffix}")
        machine.network.count(machine.name, ("mv", target))
    machine.move(fresh, target)
    return OK


def _exchange_inside(machine: FakeMachine, fresh: str, suffix: str, moving: str) -> Answer:
    """Exchange the data in a mount point, which cannot be renamed."""
    if fresh in machine.nodes:
        machine.nodes.setdefault(machine.path(suffix), Node(owner="etcd:etcd"))
        for name in machine.children(machine.cwd):
            if name == "member" or name.endswith((".wal", ".tmp")):
                machine.move(machine.path(name), machine.path(f"{suffix}/{name}"))
                machine.network.count(machine.name, ("mv", name))
        machine.move(fresh, moving)
        machine.network.count(machine.name, ("mv", moving))
    if moving in machine.nodes:
        for name in machine.children(moving):
            machine.move(f"{moving}/{name}", machine.path(name))
            machine.network.count(machine.name, ("mv", name))
        machine.remove(moving)
    return OK


def _prepare_copy(machine: FakeMachine, arguments: Argv, stdin: bytes) -> Answer:
    target = machine.path(arguments[0])
    if target not in machine.nodes:
        machine.remove(f"{target}.part")
        machine.nodes[f"{target}.part"] = Node(mode=0o700, owner="etcd:etcd")
    return OK


def _copy(machine: FakeMachine, arguments: Argv, stdin: bytes) -> Answer:
    source, target = arguments
    if target in machine.nodes:
        return OK
    if f"{target}.part" not in machine.nodes:
        return (1, "", f"cp: cannot create directory '{target}.part/member': No such file or directory")
    for path in [each for each in machine.nodes if each.startswith(source + "/")]:
        first = PurePosixPath(path).relative_to(source).parts[0]
        if first == "member" or first.endswith((".wal", ".tmp")):
            machine.nodes[f"{target}.part" + path[len(source) :]] = copy(machine.nodes[path])
    return OK


def _finish_copy(machine: FakeMachine, arguments: Argv, stdin: bytes) -> Answer:
    target = machine.path(arguments[0])
    if target not in machine.nodes:
        machine.move(f"{target}.part", target)
    return OK


DATA_SCRIPTS: dict[str, Command] = {
    RECEIVE: _receive,
    PLACE: _place,
    UNDO: _undo,
    PREPARE_COPY: _prepare_copy,
    COPY_SCRIPT: _copy,
    FINISH_COPY: _finish_copy,
}
