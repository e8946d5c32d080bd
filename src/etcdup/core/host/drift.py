"""One host: what differs from what is wanted, as steps."""

import difflib
from collections.abc import Iterable

from etcdup.core.host.content import TextContent
from etcdup.core.host.files import DesiredFile, desired_files, desired_settings
from etcdup.core.host.settings import changed_variables
from etcdup.core.host.unit import UNIT_VARIABLE, unit_digest
from etcdup.core.observed.model import HostSeen, Observed, PkiSeen
from etcdup.core.plan.step import FileChange, Step
from etcdup.core.plan.steps import EnableUnit, InstallBinaries, InstallFiles, PrepareHost, SwitchBinaries
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec


def host_steps(spec: Spec, host: HostSpec, seen: HostSeen, token: str, observed: Observed) -> list[Step]:
    """Everything on this host that can be put right without touching a running member."""
    ready, binaries = preparation_steps(spec, host, seen, token), binaries_steps(spec, host, seen, observed)
    settings, switch = settings_steps(spec, host, seen, token, observed.pki), switch_steps(spec, host, seen)
    # A package manager must find its own unit masked before ours stands in its place (rule 96). Else settings go
    # first: their fsync would have to wait until the disk has taken all of the binaries.
    packaged = any(step.source == "package" for step in binaries)
    middle = [*binaries, *settings] if packaged else [*settings, *binaries]
    return [*ready, *middle, *switch]


def preparation_steps(spec: Spec, host: HostSpec, seen: HostSeen, token: str) -> list[Step]:
    """The user, the folders and the mark, where one of them is missing."""
    missing = missing_parts(seen, layout_of(spec, host))
    if not missing:
        return []
    reason = "the host is new to this cluster" if seen.marker is None else f"{', '.join(missing)} missing"
    return [PrepareHost(host=host.name, token=token, missing=missing, reason=reason, rules=(6, 96))]


def binaries_steps(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> list[InstallBinaries]:
    """The wanted version beside those that are there."""
    version = str(spec.version)
    if version in seen.versions:
        return []
    binaries = observed.binaries_of(spec.version)
    source = binaries.source if binaries else "cache"
    reason = f"{version} is not there yet"
    return [InstallBinaries(host=host.name, version=version, source=source, reason=reason, rules=(52,))]


def settings_steps(spec: Spec, host: HostSpec, seen: HostSeen, token: str, pki: PkiSeen) -> list[Step]:
    """Files that differ, and a unit that systemd has to read or enable."""
    layout = layout_of(spec, host)
    changes = file_changes(desired_files(spec, host, layout, token, pki), seen)
    steps: list[Step] = []
    if changes:
        version = str(spec.version)
        reason = _why_files(changes)
        steps.append(InstallFiles(host=host.name, version=version, changes=changes, reason=reason))
    if why := _why_enable(layout, changes, seen):
        steps.append(EnableUnit(host=host.name, reason=why))
    return steps


def switch_steps(spec: Spec, host: HostSpec, seen: HostSeen) -> list[Step]:
    """`current` to the wanted version; what runs keeps its own until it is restarted."""
    version = str(spec.version)
    if seen.current == version:
        return []
    reason = f"{seen.current} is in use" if seen.current else "no version is in use"
    return [SwitchBinaries(host=host.name, version=version, reason=reason, rules=(52,))]


def missing_parts(seen: HostSeen, layout: Layout) -> tuple[str, ...]:
    """What PrepareHost would make: names of the parts that are missing."""
    missing = []
    if layout.supervisor == "systemd" and not seen.etcd_user:
        missing.append("etcd user")
    if seen.marker is None:
        missing.append("marker")
    if seen.data.entries is None:
        missing.append(seen.data.path)
    elif layout.supervisor == "systemd" and (seen.data.owner, seen.data.mode) != ("etcd:etcd", 0o700):
        missing.append(f"mode and owner of {seen.data.path}")
    if seen.wal is not None and seen.wal.entries is None:
        missing.append(seen.wal.path)
    return tuple(missing)


def file_changes(desired: Iterable[DesiredFile], seen: HostSeen) -> tuple[FileChange, ...]:
    """Files that are missing or differ in content, mode or owner. Keys and certificates show no diff."""
    changes = []
    for file in desired:
        there = seen.files.get(file.path)
        if there is None:
            changes.append(FileChange(file.path, "create"))
        elif there.sha256 != (file.sha256 or ""):
            changes.append(FileChange(file.path, "update", _diff(file, there.text)))
        elif not _same_rights(file, seen):
            diff = f"mode and owner: {there.mode:04o} {there.owner} -> {file.mode:04o} {file.owner}\n"
            changes.append(FileChange(file.path, "update", diff))
    return tuple(changes)


def restart_reasons(spec: Spec, host: HostSpec, seen: HostSeen, token: str, pki: PkiSeen) -> tuple[str, ...]:
    """Why the running process is not what is wanted: judged by the process itself, never by the files."""
    layout = layout_of(spec, host)
    unit = seen.unit
    if not unit.is_running:
        return ()
    reasons = []
    running = unit.exe.removesuffix(" (deleted)").split("/")
    if len(running) > 1 and running[-2] != str(spec.version):
        reasons.append(f"it runs {running[-2]}, {spec.version} is wanted")
    wanted = desired_settings(spec, host, layout, token, pki).variables()
    if changed := changed_variables(wanted, dict(unit.environment)):
        reasons.append("it runs with another " + ", ".join(changed))
    start = next(f for f in desired_files(spec, host, layout, token, pki) if f.path == layout.unit)
    assert isinstance(start.content, TextContent)
    if unit.environment.get(UNIT_VARIABLE) != unit_digest(start.content.text):
        reasons.append("it was started from an older unit")
    return tuple(reasons)


def _why_enable(layout: Layout, changes: tuple[FileChange, ...], seen: HostSeen) -> str:
    if layout.supervisor == "process":
        return ""
    if seen.unit.enabled != "enabled":
        return "etcd would not come back after a reboot"
    changed = any(change.path == layout.unit for change in changes)
    return "systemd has yet to read the unit's new text" if changed or seen.unit.needs_reload else ""


def _same_rights(file: DesiredFile, seen: HostSeen) -> bool:
    there = seen.files[file.path]
    if not seen.systemd:
        # A local member belongs to whoever runs etcdup; only the mode can be wanted.
        return there.mode == file.mode
    return (there.mode, there.owner) == (file.mode, file.owner)


def _diff(file: DesiredFile, there: str | None) -> str:
    if there is None or not isinstance(file.content, TextContent):
        return ""
    lines = difflib.unified_diff(
        there.splitlines(), file.content.text.splitlines(), "on the host", "wanted", lineterm="", n=1
    )
    return "\n".join(lines) + "\n"


def _why_files(changes: tuple[FileChange, ...]) -> str:
    made = sum(change.action == "create" for change in changes)
    parts = [f"{made} missing"] if made else []
    if len(changes) > made:
        parts.append(f"{len(changes) - made} not as wanted")
    return " and ".join(parts)
