"""The output of the probe (core/observed/probe.py) on a FakeMachine."""

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from etcdup.core.host.tool_links import TOOLS
from etcdup.testing.machine import UNIT, FakeMachine

BLOCK = 4096


def run_probe(machine: FakeMachine, arguments: tuple[str, ...]) -> str:
    """Return the output of the probe with these arguments."""
    supervisor, _unit, _pid_file, versions, join, data, wal, texts, ports, disabled, folders = arguments[:11]
    links, programs, _listen, *files = arguments[11:]
    lines = [
        *_machine(machine, join, disabled),
        "@missing-programs",
        *sorted(machine.missing_programs.intersection(programs.split())),
        "@ports",
        "1024",
        *(() if machine.has_listen_address else ("no-address",)),
        *(_systemd(machine) if supervisor == "systemd" else ()),
        *_process(machine),
        *_directory(machine, data),
        *(_directory(machine, wal) if wal else ()),
        "@archives",
        *_archives(machine, ("/etc/etcd", data, wal)),
        "@free-space",
        f"{machine.free_bytes // BLOCK} {BLOCK}",
        "@path-faults",
        *_path_faults(machine, (data, wal), versions, links),
        *_versions(machine, versions),
        *_listening(machine, ports),
        *_folders(machine, folders.split()),
        *_files(machine, tuple(files)),
        *_texts(machine, texts.split()),
        "@clock",
        f"{machine.network.now() + machine.clock_ahead_s:.6f}",
    ]
    return "\n".join(lines) + "\n"


def _machine(machine: FakeMachine, join: str, fence_disabled: str) -> list[str]:
    user = "etcd-user" if "etcd" in machine.users else "no-user"
    joining = "joining" if machine.file(join) else "settled"
    return [
        "@machine",
        "0",
        machine.arch,
        machine.name,
        sha256(machine.name.encode())[:32],
        sha256(f"{machine.name} boot {machine.boots}".encode())[:32],
        machine.distribution,
        "12",
        user,
        joining,
        "unproved" if machine.is_dir("/etc/etcd/unproved") else "proved",
        "unfenced" if machine.file(fence_disabled) else "fenced",
    ]


def _systemd(machine: FakeMachine) -> list[str]:
    unit = machine.file(UNIT)
    loaded = machine.loaded_unit is not None or unit is not None
    stale = unit is not None and machine.loaded_unit not in (None, unit.content)
    active, sub = _state(machine)
    return [
        "@systemd",
        str(int(machine.systemd)),
        "@unit",
        "LoadState=" + ("loaded" if loaded else "not-found"),
        f"ActiveState={active}",
        f"SubState={sub}",
        "UnitFileState="
        + ("masked" if machine.masked else "enabled" if machine.enabled else "disabled" if loaded else ""),
        f"MainPID={4711 if machine.of_unit else 0}",
        f"NRestarts={machine.restarts}",
        "NeedDaemonReload=" + ("yes" if stale else "no"),
        f"InvocationID={invocation_id(len(machine.starts)) if machine.starts else ''}",
        *(_QUEUED_START if machine.queued else ()),
        "@drop-ins",
        *(line for path, text in machine.drop_ins.items() for line in _drop_in(path, text)),
        "@manager",
        *(() if machine.process else machine.manager_environment),
        "@units",
    ]


def _drop_in(path: str, text: str) -> list[str]:
    return [f"drop-in {path}", *(f"={line}" for line in text.splitlines())]


def invocation_id(number: int) -> str:
    """Return the invocation ID of the start with this number."""
    return f"{number:032x}"


_QUEUED_START = (
    "Job=80", "@jobs", "80 etcd.service start waiting", "79 network-online.target start waiting",
    "78 systemd-networkd-wait-online.service start running", "@after",
    "After=system.slice network-online.target basic.target",
)  # fmt: skip


def _state(machine: FakeMachine) -> tuple[str, str]:
    """Return ActiveState and SubState. With `Type=notify` a unit is active only after etcd has a quorum (rule 1)."""
    if machine.of_unit is not None:
        return ("active", "running") if machine.of_unit.ready else ("activating", "start")
    return ("inactive", "dead") if machine.failed_at is None else ("activating", "auto-restart")


def _process(machine: FakeMachine) -> list[str]:
    if machine.of_unit is None:
        return ["@process", "0"]
    variables = [f"{name}={value}" for name, value in machine.of_unit.environment.items()]
    return ["@process", "4711", f"={machine.of_unit.exe}", *variables]


def _directory(machine: FakeMachine, path: str) -> list[str]:
    lines = [f"@dir {path}", f"ext2/ext3 {machine.free_bytes // BLOCK} {BLOCK}"]
    node = machine.nodes.get(path)
    if node is None:
        return lines
    parent = "2" if path in machine.mounts else "1"
    return [
        *lines,
        f"{node.mode:o} {node.owner} 1",
        f"755 root:root {parent}",
        "wal" if machine.file(f"{path}/member/wal/0.wal") or machine.file(f"{path}/0.wal") else "no-wal",
        *(f"={name}" for name in machine.children(path)),
    ]


def _archives(machine: FakeMachine, places: tuple[str, ...]) -> Iterator[str]:
    for place in filter(None, places):
        parent = str(PurePosixPath(place).parent)
        paths = [f"{parent}/{name}" for name in machine.children(parent)]
        paths += [f"{place}/{name}" for name in machine.children(place)]
        starts = (f"{place}.aside-", f"{place}.cold-", f"{place}/aside-")
        yield from (f"={path}" for path in paths if path.startswith(starts) and machine.is_dir(path))


def _path_faults(machine: FakeMachine, folders: tuple[str, ...], versions: str, links: str) -> Iterator[str]:
    for path in folders:
        if (node := machine.nodes.get(path)) is not None and node.link:
            yield f"link {path} {node.link}"
    if machine.file("/etc/etcd/etcdup.json") and machine.process:
        return
    yield from machine.path_faults
    for tool in TOOLS:
        node = machine.nodes.get(f"{links}/{tool}")
        if node is not None and not (node.link or "").startswith(f"{versions}/"):
            yield f"foreign {links}/{tool}"
    yield "@spaces"
    space = f"{machine.free_bytes // BLOCK} {BLOCK} 2000000 {machine.free_inodes}"
    yield from [space] * (5 + bool(folders[1]))


def _versions(machine: FakeMachine, folder: str) -> list[str]:
    current = machine.nodes.get(f"{folder}/current")
    link = current.link if current and current.link else "none"
    names = [
        name
        for name in machine.children(folder)
        if not name.startswith(".") and machine.file(machine.real(f"{folder}/{name}/etcd")) is not None
    ]
    return ["@versions", PurePosixPath(link).name, *names]


def _listening(machine: FakeMachine, ports: str) -> list[str]:
    taken = {port: f"815 ={who}" for port, who in machine.ports_taken.items()}
    if machine.of_unit:
        return ["@listening"]
    return ["@listening", *(f"{port} {who}" for port, who in taken.items() if str(port) in ports.split())]


def _folders(machine: FakeMachine, folders: list[str]) -> list[str]:
    found = ((path, machine.nodes.get(machine.real(path))) for path in folders)
    return ["@folders", *(f"{node.mode:o} {node.owner} {path}" for path, node in found if node is not None)]


def _files(machine: FakeMachine, files: tuple[str, ...]) -> list[str]:
    found = [(path, node) for path in files if (node := machine.file(path)) is not None]
    return [
        "@sums",
        *(f"{sha256(node.content or b'')}  {path}" for path, node in found),
        "@stats",
        *(f"{node.mode:o} {node.owner} {path}" for path, node in found),
    ]


def _texts(machine: FakeMachine, texts: list[str]) -> list[str]:
    lines = []
    for path in texts:
        if (node := machine.file(path)) is not None:
            text = (node.content or b"").decode()
            lines += [f"@text {path}", *(f"={line}" for line in text.splitlines())]
    return lines


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
