"""Parse the output of the probe into a HostSeen. The section names are those of probe.py."""

import json
import re
from collections.abc import Mapping

from etcdup.core.observed.directory import ASIDE_PREFIX, DirSeen, FileSeen, FolderSeen, PathFault, Space
from etcdup.core.observed.drop_ins import parse_drop_ins
from etcdup.core.observed.host import HostSeen, ListeningPort
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.parse_marker import UnreadableMarker, parse_marker
from etcdup.core.observed.probe import written_folders
from etcdup.core.observed.sections import sections_of
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.visible import one_line

# The name of a change of the PKI. A host may have written anything else into the file.
_CHANGE = re.compile(r"[0-9a-f]{16}")
ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
START_JOBS = ("start", "restart", "reload-or-start")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}", re.ASCII)
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]{1,100}")

# The names that aside_suffix and core/restore/data_copy.py give.
_CLUSTER = r"[A-Za-z0-9._-]{1,120}"
_ARCHIVE = rf"([./]{ASIDE_PREFIX}[0-9]{{8}}T[0-9]{{6}}Z|\.cold-{_CLUSTER}|/{ASIDE_PREFIX}cold-{_CLUSTER})"

# Python has only dates of the years 1 to 9999. This is 1584 years before or after 1970.
MAX_TIME_S = 5e10
# The probe prints one line for each path that it checks.
MAX_FAULTS = 16
MAX_ARCHIVES = 1000
MAX_DETAIL_CHARS = 200

Sections = Mapping[str, list[str]]


def parse_probe(host: str, output: str, layout: Layout, asked_at: float, answered_at: float) -> HostSeen:
    """Return the host that the output describes.

    `asked_at` and `answered_at` are times on the operator's clock, in seconds, before and after the probe.

    Raise ValueError if the output is not from the probe, for example a login banner, or the error of another shell,
    and UnreadableMarker if the marker of the host is not one that etcdup wrote.
    """
    try:
        sections = sections_of(output.split("\n"), once=True)
        machine = sections["machine"]
        supervised = layout.supervisor == "systemd"
        return HostSeen(
            host=host,
            is_root=machine[0] == "0",
            arch=ARCHES.get(machine[1], machine[1]),
            hostname=machine[2],
            machine_id=machine[3],
            boot_id=machine[4],
            distribution=machine[5],
            distribution_version=machine[6],
            etcd_user=machine[7] == "etcd-user",
            joining=machine[8] == "joining",
            is_unproved="unproved" in machine[9:],
            fence_disabled="unfenced" in machine[9:],
            systemd=supervised and sections["systemd"][0] == "1",
            clock_ahead_s=_clock_ahead(_time(sections["clock"][0]), asked_at, answered_at),
            opt_free_bytes=_product(sections["free-space"][0]),
            data=_directory(layout.data_dir, sections),
            wal=_directory(layout.wal_dir, sections) if layout.wal_dir else None,
            archives=_archives(sections.get("archives", []), layout),
            files=_files(sections),
            unit=_unit(sections) if supervised else _process_as_unit(sections, layout),
            other_units=tuple(
                name for name in _first_words(sections.get("units", [])) if name != "etcd.service"
            ),
            versions=tuple(name for name in sections["versions"][1:] if name != "current" and name[0] != "."),
            current=sections["versions"][0].removeprefix("none").rpartition("/")[2],
            marker=_marker(sections, layout),
            listening=_listening(sections["listening"]),
            path_faults=_path_faults(sections.get("path-faults", [])),
            pki_change=_pki_change(_text(layout.generation, sections)),
            folders=_folders(sections.get("folders", [])),
            missing_programs=frozenset(sections.get("missing-programs", [])[:MAX_FAULTS]),
            spaces=dict(zip(written_folders(layout), map(_space, sections.get("spaces", [])), strict=False)),
            has_listen_address="no-address" not in sections.get("ports", []),
            drop_ins=parse_drop_ins(sections.get("drop-ins", [])),
            manager_variables=_names(sections.get("manager", [])),
            first_free_port=_first_free_port(sections.get("ports", [])),
        )
    except UnreadableMarker:
        raise
    except (KeyError, IndexError, ValueError, OverflowError) as error:
        raise ValueError(f"the output of the probe cannot be parsed: {error}") from error


def _time(line: str) -> float:
    """Return the time on the clock of the host. Raise ValueError if it is not a number, or too far from 1970."""
    seconds = float(line)
    if not abs(seconds) < MAX_TIME_S:  # `nan` is not less than any number.
        raise ValueError(f"the clock of the host shows {line!r}")
    return seconds


def _clock_ahead(theirs: float, asked_at: float, answered_at: float) -> float:
    """Return by how many seconds the host's clock is ahead, negative if it is behind.

    0 if the host's time is between request and answer, because the difference cannot be measured more precisely.
    """
    if theirs > answered_at:
        return theirs - answered_at
    return min(theirs - asked_at, 0.0)


def _product(line: str) -> int:
    blocks, size = line.split()
    return _number(blocks) * _number(size)


def _number(word: str) -> int:
    """Return a number of at most 64 bits. Raise ValueError for anything else, also for a sign or a space."""
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{word[:40]!r} is not a number")
    return int(word)


def _directory(path: str, sections: Sections) -> DirSeen:
    lines = sections[f"dir {path}"]
    filesystem, free = lines[0].split(" ", 1)
    if len(lines) == 1:
        return DirSeen(path, None, filesystem=filesystem, free_bytes=_product(free))
    mode, owner, device = lines[1].split()
    return DirSeen(
        path,
        entries=tuple(map(_quoted, lines[4:])),
        owner=owner,
        mode=int(mode, 8),
        mount=device != lines[2].split()[-1],
        has_wal=lines[3] == "wal",
        filesystem=filesystem,
        free_bytes=_product(free),
    )


def _archives(lines: list[str], layout: Layout) -> tuple[str, ...]:
    """Return the archived directories. A name that etcdup does not give is left out."""
    places = "|".join(re.escape(each) for each in (layout.etc, layout.data_dir, layout.wal_dir) if each)
    archive = re.compile(f"({places}){_ARCHIVE}", re.ASCII)
    found = (_quoted(line) for line in lines)
    return tuple(path for path in found if archive.fullmatch(path))[:MAX_ARCHIVES]


def _folders(lines: list[str]) -> dict[str, FolderSeen]:
    parts = (line.split(" ", 2) for line in lines)
    return {path: FolderSeen(path, int(mode, 8), owner) for mode, owner, path in parts}


def _files(sections: Sections) -> dict[str, FileSeen]:
    pairs = (line.partition("  ") for line in sections["sums"])
    sums = {path: digest for digest, _, path in pairs if path}
    seen = {}
    for line in sections["stats"]:
        mode, owner, path = line.split(" ", 2)
        if path in sums:
            seen[path] = FileSeen(path, sums[path], int(mode, 8), owner, _text(path, sections))
    return seen


def _text(path: str, sections: Sections) -> str | None:
    lines = sections.get(f"text {path}")
    return None if lines is None else "".join(f"{_quoted(line)}\n" for line in lines)


def _quoted(line: str) -> str:
    """Return what another user of the host has chosen, without the `=` before it."""
    if not line.startswith("="):
        raise ValueError(f"a line without `=`: {line[:40]!r}")
    return line[1:]


def _exe(process: list[str]) -> str:
    """Return the path of the binary. A path with a line break is not a binary that etcdup installed."""
    lines = [line for line in process[1:] if line.startswith("=")]
    return _quoted(lines[0]) if len(lines) == 1 else ""


def _environment(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("="))


def _unit(sections: Sections) -> UnitSeen:
    shown = _environment(sections["unit"])
    process = sections["process"]
    return UnitSeen(
        load=shown.get("LoadState", "not-found"),
        active=shown.get("ActiveState", "inactive"),
        sub=shown.get("SubState", "dead"),
        enabled=shown.get("UnitFileState", ""),
        main_pid=_number(process[0]),
        restarts=_number(shown.get("NRestarts") or "0"),
        needs_reload=shown.get("NeedDaemonReload") == "yes",
        exe=_exe(process),
        environment=_environment(process[1:]),
        invocation=shown.get("InvocationID", ""),
        queued=_is_start_queued(sections),
        waits_for=_waits_for(sections),
    )


def _is_start_queued(sections: Sections) -> bool:
    """Return whether a start of the unit waits in systemd's queue. A start that runs is not in the queue."""
    return any(
        unit == "etcd.service" and kind in START_JOBS and state == "waiting"
        for unit, kind, state in _jobs(sections)
    )


def _waits_for(sections: Sections) -> tuple[str, ...]:
    """Return the first units that the start waits for: those of `After=` that have a job themselves."""
    if not _is_start_queued(sections):
        return ()
    after = _environment(sections.get("after", [])).get("After", "").split()
    busy = {unit for unit, _, _ in _jobs(sections)}
    return tuple(unit for unit in after if unit in busy and UNIT_NAME.fullmatch(unit))[:3]


def _jobs(sections: Sections) -> list[tuple[str, str, str]]:
    """Return unit, kind and state of each job of `systemctl list-jobs`."""
    lines = (line.split() for line in sections.get("jobs", []))
    return [(words[1], words[2], words[3]) for words in lines if len(words) == 4]


def _process_as_unit(sections: Sections, layout: Layout) -> UnitSeen:
    """Return the state of a local member without systemd in the same form. It is loaded if its start script exists."""
    process = sections["process"]
    running = _number(process[0]) > 0
    return UnitSeen(
        load="loaded" if layout.unit in _files(sections) else "not-found",
        active="active" if running else "inactive",
        sub="running" if running else "dead",
        enabled="enabled",
        main_pid=_number(process[0]),
        exe=_exe(process),
        environment=_environment(process[1:]),
    )


def _first_words(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.split()]


def _marker(sections: Sections, layout: Layout) -> Marker | None:
    """Return the marker, or None if there is none. Without it, etcdup does not treat the data as its own."""
    text = _text(layout.marker, sections)
    return None if text is None else parse_marker(text)


def _pki_change(text: str | None) -> str:
    """Return the change that the generation file names; empty if there is no valid file."""
    try:
        change = str(json.loads(text or "{}")["change"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return change if _CHANGE.fullmatch(change) else ""


def _path_faults(lines: list[str]) -> tuple[PathFault, ...]:
    found = ([*line.split(" ", 2), "", ""][:3] for line in lines[:MAX_FAULTS])
    return tuple(PathFault(kind, path, one_line(detail, MAX_DETAIL_CHARS)) for kind, path, detail in found)


def _names(lines: list[str]) -> tuple[str, ...]:
    return tuple(line for line in lines[:MAX_FAULTS] if _VARIABLE.fullmatch(line))


def _space(line: str) -> Space:
    blocks, size, inodes, free_inodes = map(_number, line.split(" ", 3))
    return Space(blocks * size, free_inodes if inodes else None)


def _first_free_port(lines: list[str]) -> int:
    """Return the first port that needs no root. An old kernel does not report it."""
    known = lines[:1] and lines[0] != "unknown"
    return min(_number(lines[0]), 65_536) if known else 1024


def _listening(lines: list[str]) -> tuple[ListeningPort, ...]:
    found = []
    for line in lines:
        port, pid, program = line.split(" ", 2)
        found.append(ListeningPort(_number(port), _number(pid), _quoted(program).strip()))
    return tuple(dict.fromkeys(found))
