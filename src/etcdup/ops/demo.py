"""A cluster of local members in a folder of their own: no root, no systemd, and gone without a trace.

This is the one place of etcdup that deletes, so it deletes only a folder that bears the demo's own mark.
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
# etcd's own ports first; where something listens on all addresses, those ten thousand above.
_PORT_OFFSETS = (0, 10_000, 20_000)
_BLOCKS = range(32)
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.05

Report = Callable[[str], None]


def default_folder() -> Path:
    """`$XDG_DATA_HOME/etcdup/demo`, else `~/.local/share/etcdup/demo`."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "etcdup" / "demo"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes the folder, or takes it when it is a demo's, for as long as the block.

    Raises UsageError where something else is in it, or another etcdup is at work there.
    """
    mark = folder / MARKER
    if not mark.exists() and folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} holds something else than a demo", hint="`--dir` names another folder, new or empty"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a+", encoding="utf-8") as file:
        if not lock(file.fileno(), wait=False):
            raise UsageError(f"another etcdup demo is at work in {folder}")
        if not mark.stat().st_size:
            file.write(json.dumps({"made_by": "etcdup demo"}) + "\n")
            file.flush()
        yield


async def choose_version(arch: str, report: Report, warn: Report) -> tuple[Version, str]:
    """A version that can be had right now, and the `install.from` that has it.

    The newest in the cache; else the newest release; else whatever this machine's distribution has.
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
        warn(f"etcd {newest} cannot be downloaded ({why}); using {version} of this machine's distribution")
        return version, "package"
    return newest, "auto"


def write_cluster_file(folder: Path, version: Version, source: str, members: int) -> Path:
    """Writes the demo's cluster.yaml, on addresses that are free now. Raises UsageError."""
    addresses, offset = free_addresses(members)
    hosts = [(f"infra{number}", address) for number, address in enumerate(addresses, start=1)]
    text = cluster_text(folder, version, source, hosts, offset)
    path = folder / "cluster.yaml"
    try:
        load(text, str(path))
    except BadFile as error:
        raise UsageError(f"a demo cannot live in {folder}", detail=error.detail) from None
    write_file(path, text.encode(), 0o644)
    return path


def cluster_text(
    folder: Path, version: Version, source: str, hosts: list[tuple[str, str]], offset: int
) -> str:
    """cluster.yaml of members that live below `folder`."""
    lines = "".join(
        f"  - {{name: {name}, address: {address}, local: true, root: {folder / name}}}\n"
        for name, address in hosts
    )
    ports = f"client_port: {2379 + offset}, peer_port: {2380 + offset}, metrics_port: {2381 + offset}"
    return f"""\
# Made by `etcdup demo`. These members are processes of this machine; each keeps its files below its `root`.
name: demo
version: {version}
hosts:
{lines}install: {{from: {source}}}
etcd: {{{ports}}}
"""


def free_addresses(members: int) -> tuple[list[str], int]:
    """Loopback addresses whose ports nobody listens on, and by how much etcd's ports are shifted."""
    for offset, block in product(_PORT_OFFSETS, _BLOCKS):
        addresses = [f"127.77.{block}.{number}" for number in range(1, members + 1)]
        if all(_is_free(each, port + offset) for each in addresses for port in (2379, 2380, 2381)):
            return addresses, offset
    raise UsageError("no free addresses were found in 127.77.0.0/16 for a demo")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def is_demo(folder: Path) -> bool:
    """Whether a demo, whole or half deleted, is there. Raises UsageError where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MARKER).is_file():
        raise UsageError(f"{folder} is not a demo's: it has no {MARKER}; nothing was touched")
    return True


def destroy_demo(folder: Path) -> int:
    """Stops every process that runs from the folder and deletes it, its mark last. Returns how many ran."""
    stopped = _kill_members(folder)
    for path in folder.iterdir():
        if path.name != MARKER:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / MARKER).unlink()
    folder.rmdir()
    return stopped


def _kill_members(folder: Path) -> int:
    """Killed, not asked: a member that stops in order first hands leadership over, here to one that ends."""
    running = processes_in(folder)
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while left := processes_in(folder):
        if time.monotonic() >= deadline:
            raise EtcdupError(f"process {left[0]} of the demo does not end", hint="nothing was deleted")
        time.sleep(_POLL_S)
    return len(running)


def processes_in(folder: Path) -> list[int]:
    """Processes whose program lies in the folder, whatever their pid files say."""
    below = f"{folder.resolve()}/"
    pids = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if str((process / "exe").readlink()).startswith(below):
                    pids.append(int(process.name))
    return pids
