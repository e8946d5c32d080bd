"""The commands of a FakeMachine for files and directories."""

from pathlib import PurePosixPath

from etcdup.testing.machine import Answer, FakeMachine, Node

OK: Answer = (0, "", "")


def missing_kib(machine: FakeMachine, pairs: tuple[str, ...]) -> int:
    """Return the size of all sources that have no copy yet."""
    wanted = (s for s, copied in zip(pairs[::2], pairs[1::2], strict=True) if copied not in machine.nodes)
    below = tuple(f"{source}/" for source in wanted)
    found = [node.content or b"" for path, node in machine.nodes.items() if path.startswith(below)]
    return sum(len(content) // 1024 + 1 for content in found)


def size_of(machine: FakeMachine, path: str) -> int:
    below = (node for each, node in machine.nodes.items() if each == path or each.startswith(path + "/"))
    return sum(len(node.content or b"") for node in below)


def show_disk_usage(machine: FakeMachine, data: str, versions: str, used: tuple[str, ...]) -> str:
    """Return the output of the disk space script. Each machine has one disk here."""
    spare = [f"{versions}/{name}" for name in machine.children(versions) if name not in (*used, "current")]
    siblings = [
        f"{PurePosixPath(data).parent}/{name}" for name in machine.children(str(PurePosixPath(data).parent))
    ]
    copies = [
        path for path in siblings if path.startswith((f"{data}.cold-", f"{data}.aside-", f"{data}.salvage"))
    ]
    lines = [
        ("spare" if path in spare or path.endswith((".part", ".salvage")) else "kept", path)
        for path in (*spare, *copies)
    ]
    return "".join(f"{kind} {size_of(machine, path) // 1024} {path}\n" for kind, path in lines)


def show_archives(machine: FakeMachine, paths: tuple[str, ...]) -> str:
    """Return the output of the script that measures archives. All of them are as old as the epoch."""
    return "".join(f"{size_of(machine, path) // 1024} 0 {path}\n" for path in paths)


def _paths(machine: FakeMachine, argv: tuple[str, ...]) -> list[str]:
    return [machine.path(each) for each in argv[1:] if not each.startswith("-")]


def run_mkdir(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    for path in _paths(machine, argv):
        machine.make_dir(path)
    return OK


def run_mv(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    source, target = _paths(machine, argv)
    if source not in machine.nodes:
        return (1, "", f"mv: cannot stat '{source}': No such file or directory")
    if machine.is_dir(target) and machine.nodes[target].link is None and machine.children(target):
        return (1, "", f"mv: cannot move '{source}' to '{target}': Directory not empty")
    machine.move(source, target)
    return OK


def run_ln(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    *targets, where = (each for each in argv[1:] if not each.startswith("-"))
    into = len(targets) > 1 or (machine.is_dir(where) and machine.nodes[where].link is None)
    for target in targets:
        path = f"{where}/{PurePosixPath(target).name}" if into else where
        machine.nodes[path] = Node(link=target)
    return OK


def change_tool_links(machine: FakeMachine, make: bool, versions: str, links: str, *tools: str) -> Answer:
    for tool in tools:
        path, node = f"{links}/{tool}", machine.nodes.get(f"{links}/{tool}")
        own = node is not None and (node.link or "").startswith(f"{versions}/")
        if make and (own or node is None):
            machine.nodes[path] = Node(link=f"{versions}/current/{tool}")
        elif own and not make:
            machine.remove(path)
    return OK


def run_rm(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    for path in _paths(machine, argv):
        machine.free_bytes += size_of(machine, path)
        machine.remove(path)
    return OK


def remove_marker(machine: FakeMachine, path: str) -> Answer:
    machine.remove(path)
    folder = str(PurePosixPath(path).parent)
    if not machine.children(folder):
        machine.remove(folder)
    return OK


def run_cat(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    if len(argv) == 1:
        return (0, stdin.decode(errors="replace"), "")
    node = machine.file(argv[-1])
    if node is None or node.content is None:
        return (1, "", f"cat: {argv[-1]}: No such file or directory")
    return (0, node.content.decode(errors="replace"), "")
