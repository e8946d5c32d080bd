"""Parse the output of the first script. The section names are those of scripts.py."""

import re
from collections.abc import Mapping, Sequence

from etcdup.core.adopt.model import (
    ConfigFile,
    Container,
    HostProcesses,
    Owners,
    Process,
    StaticPod,
    Unit,
    Unreadable,
)
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.parse_marker import UnreadableMarker, parse_marker
from etcdup.core.observed.sections import sections_of
from etcdup.core.spec.visible import one_line

# A process has fewer in practice. More of them come from a host that wants to exhaust this machine.
MAX_PROCESSES = 16
MAX_WORDS = 2000
MAX_PATHS = 64
MAX_CHARS = 8192
MAX_TIME_S = 253_402_300_799  # the end of the year 9999

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_CONTAINER = re.compile(r"(?:docker|libpod|crio|cri-containerd|kubepods|machine|lxc)[-/.:]")
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}", re.ASCII)
# Each container of a pod has its termination log there. A static pod has a hash as its ID.
_POD_FOLDER = re.compile(r"(/.{1,400}/pods/[0-9a-f-]{16,64})/containers/", re.ASCII)
_RESTART = ("", "no", "always", "unless-stopped", "on-failure")
_EMBEDDED = ("k3s", "k3s-server", "rke2", "k0s")

Sections = Mapping[str, list[str]]


def parse_processes(host: str, output: str) -> HostProcesses:
    """Return what the script printed. Raise Unreadable for anything that it does not print."""
    sections = _sections(output)
    root, hostname, booted, ticks = [*_lines(sections, "machine"), "", "", "", ""][:4]
    if root != "0":
        raise Unreadable("the commands of etcdup do not run as root there")
    pids = [name.removeprefix("process ") for name in sections if name.startswith("process ")]
    if len(pids) > MAX_PROCESSES:
        raise Unreadable(f"it has {len(pids)} processes named etcd")
    return HostProcesses(
        host=host,
        hostname=one_line(hostname, 253),
        processes=tuple(_process(sections, pid, _number(booted), _number(ticks)) for pid in pids),
        owners=_owners(sections),
        embedded=tuple(dict.fromkeys(each for each in _lines(sections, "embedded") if each in _EMBEDDED)),
        marker=_marker(sections),
    )


def _sections(output: str) -> Sections:
    try:
        sections = sections_of(output.split("\n"), once=True)
    except ValueError as error:
        raise Unreadable(one_line(str(error))) from None
    if "machine" not in sections or "end" not in sections:
        raise Unreadable("the output of the script is not complete")
    return sections


def _process(sections: Sections, pid: str, booted: int, ticks_per_s: int) -> Process:
    exe, cwd, user, ticks, network = [*_lines(sections, f"process {pid}"), "", "", "", "", ""][:5]
    group = _container(_lines(sections, f"cgroup {pid}"))
    mounts = tuple(_mounts(_lines(sections, f"mounts {pid}"), _lines(sections, "host-mounts")))
    return Process(
        pid=_number(pid),
        exe=_text(exe.rstrip(" ")),
        cwd=_text(cwd.rstrip(" ")),
        user=_text(user),
        started_at=min(booted + _number(ticks) // max(ticks_per_s, 1), MAX_TIME_S),
        argv=tuple(map(_text, _lines(sections, f"argv {pid}"))),
        variables=_variables(_lines(sections, f"variables {pid}")),
        unit=_unit(_lines(sections, f"unit {pid}")),
        container=group,
        engine=_engine(_lines(sections, f"container {pid}"), _lines(sections, f"starters {pid}")),
        pod=_pod(_lines(sections, f"pod {pid}"), mounts, group) if f"pod {pid}" in sections else None,
        has_own_network=network != "host-network",
        mounts=mounts,
        config=_config(_lines(sections, f"config {pid}")),
        packages=tuple(
            dict.fromkeys(_text(each) for each in _lines(sections, f"packages {pid}")[:4] if each)
        ),
    )


def _lines(sections: Sections, name: str) -> list[str]:
    """Return the lines of a section, without the `=` at their start. Raise Unreadable for a line of something else."""
    lines = [line for line in sections.get(name, []) if line]
    if len(lines) > MAX_WORDS * 2 or not all(line.startswith("=") for line in lines):
        raise Unreadable(f"the section `{name[:40]}` is not the output of the script")
    return [line[1:] for line in lines]


def _text(value: str) -> str:
    if len(value) > MAX_CHARS or not value.isprintable():
        raise Unreadable(
            f"it has a value with control characters, or a very long one: {one_line(value, 100)}"
        )
    return value


def _number(word: str) -> int:
    if not _NUMBER.fullmatch(word):
        raise Unreadable(f"`{one_line(word, 40)}` is not a number")
    return int(word)


def _variables(lines: list[str]) -> dict[str, str]:
    """Return the variables. The first one of a name counts, as in Go."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        found.setdefault(_text(name), _text(value))
    return found


def _unit(lines: list[str]) -> Unit | None:
    if not lines:
        return None
    return Unit(_text(lines[0]), {_text(name): _text(value) for name, value in map(_pair, lines[1:])})


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value


def _container(lines: list[str]) -> str:
    """Return the cgroup of a container. Empty for a process of the host."""
    paths = (line.split(":", 2)[-1] for line in lines)
    return next((_text(path) for path in paths if _CONTAINER.search(path)), "")


def _engine(lines: list[str], units: list[str]) -> Container | None:
    """Return what the engine of a container says. Raise Unreadable for anything that docker and podman do not print."""
    if not lines:
        return None
    engine, identity, name, restart, count, removed, prevents = [*lines, *[""] * 7][:7]
    if engine not in ("docker", "podman") or not _CONTAINER_ID.fullmatch(identity):
        raise Unreadable("the container of etcd has no ID")
    if len(lines) < 7 or not name:
        return Container(engine, identity)
    if restart not in _RESTART or not _CONTAINER_NAME.fullmatch(name) or removed not in ("true", "false"):
        raise Unreadable(f"container {identity[:12]} is not what {engine} prints")
    if prevents not in ("update", "stop", "boot"):
        raise Unreadable(f"container {identity[:12]} is not what {engine} prints")
    times = f":{_number(count)}" if restart == "on-failure" and _number(count) else ""
    found = tuple(map(_text, filter(None, units[:MAX_PATHS])))
    return Container(engine, identity, name, f"{restart or 'no'}{times}", removed == "true", prevents, found)


def _pod(lines: list[str], mounts: Sequence[tuple[str, str]], group: str) -> StaticPod:
    """Return what the script found of a pod: the unit of the kubelet, then manifests."""
    unit, *manifests = lines or [""]
    found = filter(None, (_POD_FOLDER.match(source) for source, _ in mounts))
    folder = next((each[1] for each in found), "")
    return StaticPod(_text(unit), tuple(map(_text, filter(None, manifests[:MAX_PATHS]))), folder, group)


def _mounts(lines: list[str], of_host: list[str]) -> list[tuple[str, str]]:
    """Return directory on the host and mount point of each mount, from two files `mountinfo`."""
    host = [_mount(each) for each in of_host if each.count(" ") > 4]
    found = [_mount(each) for each in lines if each.count(" ") > 4]
    return [(_on_host(device, root, host), point) for device, root, point in found]


def _mount(line: str) -> tuple[str, str, str]:
    words = line.split(" ")
    return words[2], _text(words[3]), _text(words[4])


def _on_host(device: str, root: str, host: list[tuple[str, str, str]]) -> str:
    """Return where the host has this directory of a file system, empty if it is not mounted there."""
    fitting = [
        (len(base), point.rstrip("/") + root[len(base.rstrip("/")) :].rstrip("/"))
        for other, base, point in host
        if other == device and (root == base or root.startswith(base.rstrip("/") + "/"))
    ]
    return (max(fitting, key=lambda each: each[0])[1] or "/") if fitting else ""


def _config(lines: list[str]) -> ConfigFile | None:
    if len(lines) < 2:
        return None
    return ConfigFile(_text(lines[0]), _number(lines[1]), "\n".join(lines[2:]) + "\n")


def _owners(sections: Sections) -> Owners:
    def names(section: str) -> tuple[str, ...]:
        return tuple(map(_text, filter(None, _lines(sections, section)[:MAX_PATHS])))

    return Owners(
        manifests=names("manifests"),
        apiserver_etcd=" ".join(names("apiserver")),
        timers=names("timers"),
        cron=names("cron"),
        ansible=names("ansible"),
        juju=names("juju"),
    )


def _marker(sections: Sections) -> Marker | None:
    text = "\n".join(_lines(sections, "marker"))
    if not text:
        return None
    try:
        return parse_marker(text)
    except UnreadableMarker as error:
        raise Unreadable(f"/etc/etcd/etcdup.json: {error}") from None
