"""The demo: a cluster of local members in one folder. It needs no root and no systemd.

This is the only code of etcdup that deletes data. It deletes only a folder that contains the marker of a demo.
"""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

from etcdup.core.spec.load import load
from etcdup.core.spec.version import Version
from etcdup.core.versions.advisories import blocking_advisories
from etcdup.errors import BadFile, EtcdupError, InstallError, UsageError
from etcdup.ops.files import lock, write_file
from etcdup.ops.install import install

MARKER = "etcdup-demo.json"
# The default ports of etcd are tried first. If a program uses them on all addresses, higher ports are tried.
_PORT_OFFSETS = (0, 10_000, 20_000)
_BLOCKS = range(32)
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.05

Report = Callable[[str], None]


def default_folder() -> Path:
    """Return `$XDG_DATA_HOME/etcdup/demo`, or `~/.local/share/etcdup/demo`."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "etcdup" / "demo"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock the folder of a demo until the end of the block. It is created if it does not exist.

    Raises UsageError if the folder contains other files, or if another etcdup demo has the lock.
    """
    marker = folder / MARKER
    if not marker.exists() and folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} contains other files than a demo", hint="use `--dir` with a new or empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with marker.open("a+", encoding="utf-8") as file:
        if not lock(file.fileno(), wait=False):
            raise UsageError(f"another etcdup demo is running in {folder}")
        if not marker.stat().st_size:
            file.write(json.dumps({"made_by": "etcdup demo"}) + "\n")
            file.flush()
        yield


async def choose_version(arch: str, report: Report, warn: Report) -> tuple[Version, str]:
    """Return an available version, and the `install.from` that has it.

    It is the newest version in the cache, or the newest release, or the version of this machine's distribution.
    """
    cache = install.cache_dir()
    if usable := [each for each in install.cached_versions(cache, arch) if not blocking_advisories(each)]:
        return usable[0], "auto"
    newest = install.newest_pinned(install.load_pins())
    probe = load(cluster_text(Path("/demo"), newest, "release", [("infra1", "127.77.0.1")], 0))
    try:
        await install.resolve(probe, Path("/"), frozenset((arch,)), {}, {}, cache=cache, report=report)
    except InstallError as error:
        version, _ = await install.pack_local_package(arch, cache=cache, report=report)
        why = error.message.rpartition(": ")[2]
        warn(f"cannot download etcd {newest} ({why}); etcdup uses {version} of this machine's distribution")
        return version, "package"
    return newest, "auto"


def write_cluster_file(folder: Path, version: Version, source: str, members: int) -> Path:
    """Write the cluster.yaml of the demo, with addresses that are free now. Raises UsageError."""
    addresses, offset = free_addresses(members)
    hosts = [(f"infra{number}", address) for number, address in enumerate(addresses, start=1)]
    text = cluster_text(folder, version, source, hosts, offset)
    path = folder / "cluster.yaml"
    try:
        load(text, str(path))
    except BadFile as error:
        raise UsageError(f"{folder} is not usable for a demo", detail=error.detail) from None
    write_file(path, text.encode(), 0o644)
    return path


def cluster_text(
    folder: Path, version: Version, source: str, hosts: list[tuple[str, str]], offset: int
) -> str:
    """Return the cluster.yaml of members below `folder`."""
    lines = "".join(
        f"  - {{name: {name}, address: {address}, local: true, root: {folder / name}}}\n"
        for name, address in hosts
    )
    ports = f"client_port: {2379 + offset}, peer_port: {2380 + offset}, metrics_port: {2381 + offset}"
    return f"""\
# Written by `etcdup demo`. The members are processes on this machine. The files of each are below its `root`.
name: demo
version: {version}
hosts:
{lines}install: {{from: {source}}}
etcd: {{{ports}}}
"""


def free_addresses(members: int) -> tuple[list[str], int]:
    """Return loopback addresses with free ports, and the offset to the default ports of etcd. Raises UsageError."""
    for offset, block in product(_PORT_OFFSETS, _BLOCKS):
        addresses = [f"127.77.{block}.{number}" for number in range(1, members + 1)]
        if all(_is_free(each, port + offset) for each in addresses for port in (2379, 2380, 2381)):
            return addresses, offset
    raise UsageError("there are no free addresses in 127.77.0.0/16 for a demo")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def is_demo(folder: Path) -> bool:
    """Whether the folder contains a demo, complete or partly deleted. Raises UsageError for other files."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MARKER).is_file():
        raise UsageError(f"{folder} is not the folder of a demo: it has no {MARKER}; etcdup changed nothing")
    return True


def destroy_demo(folder: Path) -> int:
    """Stop all processes that run from the folder, then delete it, its marker last. Return how many were running."""
    stopped = _kill_members(folder)
    for path in folder.iterdir():
        if path.name != MARKER:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / MARKER).unlink()
    folder.rmdir()
    return stopped


def _kill_members(folder: Path) -> int:
    """Kill all members. A regular stop would first transfer leadership, here to a member that also stops."""
    running = processes_in(folder)
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while left := processes_in(folder):
        if time.monotonic() >= deadline:
            raise EtcdupError(
                f"process {left[0]} of the demo did not end within {_KILL_TIMEOUT_S:g} s; etcdup deleted nothing",
                hint=f"end it with `kill -9 {left[0]}`, then run the command again",
            )
        time.sleep(_POLL_S)
    return len(running)


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose program is in the folder. Pid files are not used."""
    below = f"{folder.resolve()}/"
    pids = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if str((process / "exe").readlink()).startswith(below):
                    pids.append(int(process.name))
    return pids
