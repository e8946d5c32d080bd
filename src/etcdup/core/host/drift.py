"""Drift: the differences between one host and what cluster.yaml requires, as steps."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

from etcdup.core.host.content import CrlContent, TextContent
from etcdup.core.host.files import (
    DesiredFile,
    desired_files,
    desired_settings,
    handshake_files,
    pki_files,
    start_file,
)
from etcdup.core.host.folders import rights_label, wrong_folders
from etcdup.core.host.outside_settings import outside_variables
from etcdup.core.host.settings import ALLOWED_NAME, SETTINGS_VARIABLE, changed_variables
from etcdup.core.host.unit import UNIT_VARIABLE, unit_digest
from etcdup.core.observed.directory import FileSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import ADOPTED_TOKEN, Marker
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.plan.host_steps import EnableUnit, InstallBinaries, InstallFiles, PrepareHost, SwitchBinaries
from etcdup.core.plan.step import FileChange, Step
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec

# Up to this number of missing settings, each has its name in a plan.
_FEW = 5


def host_steps(spec: Spec, host: HostSpec, seen: HostSeen, token: str, observed: Observed) -> list[Step]:
    """Return the steps for all differences that can be corrected without a change to a running member."""
    preparation = preparation_steps(spec, host, seen, token)
    binaries = binaries_steps(spec, host, seen, observed)
    settings = settings_steps(spec, host, seen, token, observed.pki)
    switch = switch_steps(spec, host, seen)
    # The package manager must find etcd.service masked, so packages are installed before our unit is written (rule 96).
    # Otherwise the settings are first, because their fsync would have to wait until the binaries are on the disk.
    if any(step.source == "package" for step in binaries):
        return [*preparation, *binaries, *settings, *switch]
    return [*preparation, *settings, *binaries, *switch]


def preparation_steps(spec: Spec, host: HostSpec, seen: HostSeen, token: str) -> list[Step]:
    """Return the step that creates the user, the directories and the marker, if one of them is missing or wrong."""
    missing = missing_parts(seen, host, layout_of(spec, host))
    if not missing:
        return []
    is_new = seen.marker is None
    reason = "the host is new to this cluster" if is_new else f"missing or wrong: {', '.join(missing)}"
    return [PrepareHost(host=host.name, token=token, missing=missing, reason=reason, rules=(6, 96))]


def binaries_steps(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> list[InstallBinaries]:
    """Return the step that installs the required version, if the host does not have it."""
    version = str(spec.version)
    if version in seen.versions:
        return []
    binaries = observed.binaries_of(spec.version)
    source = binaries.source if binaries else "cache"
    reason = f"{version} is not installed"
    return [InstallBinaries(host=host.name, version=version, source=source, reason=reason, rules=(52,))]


def settings_steps(
    spec: Spec,
    host: HostSpec,
    seen: HostSeen,
    token: str,
    pki: PkiSeen,
    *,
    proof: Literal["", "restart"] = "",
    with_conf: bool = True,
) -> list[Step]:
    """Return the steps that write files that differ, and that make systemd read or enable the unit.

    `with_conf` is False while etcd.conf has the settings of a member that only etcdup can reach.
    """
    layout = layout_of(spec, host)
    desired = desired_files(spec, host, layout, token, pki)
    changes = file_changes([file for file in desired if with_conf or file.path != layout.conf], seen)
    steps: list[Step] = []
    if changes:
        version = str(spec.version)
        reason = _reason_of_changes(changes)
        steps.append(
            InstallFiles(host=host.name, version=version, changes=changes, proof=proof, reason=reason)
        )
    if reason := _reason_to_enable(layout, changes, seen):
        steps.append(EnableUnit(host=host.name, reason=reason))
    return steps


def leaf_steps(spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen) -> list[InstallFiles]:
    """Return the step that replaces certificates, keys and revocation lists of a running member.

    etcd reads these files for each handshake.

    Changes of rights only are left to `settings_steps`.
    """
    if not seen.unit.is_running:
        return []
    leaves = handshake_files(host, layout_of(spec, host), pki)
    changes = tuple(change for change in file_changes(leaves, seen) if not change.diff)
    if not changes:
        return []
    reason, version = _reason_of_changes(changes), str(spec.version)
    return [
        InstallFiles(
            host=host.name, version=version, changes=changes, proof="handshake", reason=reason, rules=(12, 16)
        )
    ]


def crl_changes(spec: Spec, host: HostSpec, seen: HostSeen, pki: PkiSeen) -> tuple[FileChange, ...]:
    """Return the changes of the revocation lists of a host."""
    desired = pki_files(host, layout_of(spec, host), pki)
    return file_changes((file for file in desired if isinstance(file.content, CrlContent)), seen)


def install_rank(observed: Observed, step: InstallFiles) -> tuple[bool, bool, bool]:
    """Return the order in which hosts get files that etcd reads for each handshake.

    Hosts with unproved files are first. A member that does not run proves nothing, so it gets its files last. A host
    that gets a new certificate is before hosts that get a revocation list only: they reject its old certificate then.
    """
    seen = observed.reachable()[step.host]
    has_pair = any(change.path.endswith(".pem") for change in step.changes)
    return not seen.is_unproved, not seen.unit.is_running, not has_pair


def with_files_written(
    seen: HostSeen, changes: Iterable[FileChange], desired: Iterable[DesiredFile]
) -> HostSeen:
    """Return the host as it will be after these files are written."""
    changed = {change.path for change in changes}
    files = {file.path: written_file(file) for file in desired if file.path in changed}
    return replace(seen, files={**seen.files, **files})


def written_file(file: DesiredFile) -> FileSeen:
    """Return the file as it will be observed after it is written."""
    text = file.content.text if isinstance(file.content, TextContent) else None
    return FileSeen(file.path, file.sha256 or "", file.mode, file.owner, text)


def switch_steps(spec: Spec, host: HostSpec, seen: HostSeen) -> list[Step]:
    """Return the step that points `current` to the required version. A running member changes only at its restart."""
    version = str(spec.version)
    if seen.current == version:
        return []
    reason = f"{seen.current} is in use" if seen.current else "no version is in use"
    return [SwitchBinaries(host=host.name, version=version, reason=reason, rules=(52,))]


def missing_parts(seen: HostSeen, host: HostSpec, layout: Layout) -> tuple[str, ...]:
    """Return the names of the parts that PrepareHost must create or correct."""
    missing = []
    if layout.supervisor == "systemd" and not seen.etcd_user:
        missing.append("etcd user")
    if seen.marker is None or _is_renamed(seen.marker, host, seen):
        missing.append("marker")
    if seen.data.entries is None:
        missing.append(seen.data.path)
    elif layout.supervisor == "systemd" and (seen.data.owner, seen.data.mode) != ("etcd:etcd", 0o700):
        missing.append(rights_label(seen.data.path))
    if seen.wal is not None and seen.wal.entries is None:
        missing.append(seen.wal.path)
    elif seen.wal is not None and layout.supervisor == "systemd" and seen.wal.mode not in (0, 0o700):
        missing.append(rights_label(seen.wal.path))
    return (*missing, *map(rights_label, wrong_folders(seen, layout)))


def _is_renamed(marker: Marker, host: HostSpec, seen: HostSeen) -> bool:
    """Return whether the member got another name in etcd before it existed. Later it keeps its name."""
    is_new = not (marker.formed or marker.replaces or seen.has_member)
    return is_new and marker.member_name != host.member_name


def file_changes(desired: Iterable[DesiredFile], seen: HostSeen) -> tuple[FileChange, ...]:
    """Return a change for each file that is missing, or has another content, mode or owner.

    Keys and certificates have no diff.
    """
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
    """Return why the running member must be restarted. The state of its process decides, not the files on disk."""
    layout = layout_of(spec, host)
    unit = seen.unit
    if not unit.is_running:
        return ()
    reasons = []
    if unit.running_version and unit.running_version != str(spec.version):
        reasons.append(f"etcd runs {unit.running_version}, {spec.version} is required")
    running = dict(unit.environment)
    required = _required_of_process(
        desired_settings(spec, host, layout, token, pki).variables(), running, token
    )
    changed = () if outside_variables(required, running) else changed_variables(required, running)
    if changed and not any("UnsetEnvironment" in each.options for each in seen.drop_ins):
        reasons.append(_changed_settings(changed, running, layout))
    start = start_file(spec, host, layout).content
    assert isinstance(start, TextContent)
    if unit.environment.get(UNIT_VARIABLE) != unit_digest(start.text):
        reasons.append("etcd was started with an older unit file")
    return tuple(reasons)


def _changed_settings(changed: Collection[str], running: Mapping[str, str], layout: Layout) -> str:
    """Return how the settings of the process differ. Many that are missing have one cause: the file was cut."""
    missing = sum(name not in running for name in changed)
    if missing > _FEW:
        return f"etcd was started when {layout.conf} was incomplete: {missing} settings are missing"
    return "etcd runs with different settings: " + ", ".join(changed)


def _required_of_process(required: dict[str, str], running: dict[str, str], token: str) -> dict[str, str]:
    """Return the settings that the process must have.

    A member that was taken over has started when peers could still have certificates of another tool. The check of
    their common name begins with its next restart, and is no reason for one.
    """
    if not token.startswith(ADOPTED_TOKEN):
        return required
    names = {ALLOWED_NAME: running[ALLOWED_NAME]} if ALLOWED_NAME in running else {}
    return {name: value for name, value in required.items() if name != ALLOWED_NAME} | names


def _reason_to_enable(layout: Layout, changes: tuple[FileChange, ...], seen: HostSeen) -> str:
    if layout.supervisor == "process":
        return ""
    if seen.unit.enabled != "enabled":
        return "etcd.service does not start at boot"
    changed = any(change.path == layout.unit for change in changes)
    return "systemd has not read the new text of the unit" if changed or seen.unit.needs_reload else ""


def _same_rights(file: DesiredFile, seen: HostSeen) -> bool:
    there = seen.files[file.path]
    if not seen.systemd:
        # The files of a local member belong to the user who runs etcdup. So only the mode is compared.
        return there.mode == file.mode
    return (there.mode, there.owner) == (file.mode, file.owner)


def _diff(file: DesiredFile, there: str | None) -> str:
    if there is None or not isinstance(file.content, TextContent):
        return ""
    old, new = there.splitlines(), file.content.text.splitlines()
    shown = _unified(*(_without_digest(lines) for lines in (old, new))) or _unified(old, new)
    return "\n".join(shown) + "\n"


def _unified(old: list[str], new: list[str]) -> list[str]:
    return list(difflib.unified_diff(old, new, "on the host", "required", lineterm="", n=1))


def _without_digest(lines: list[str]) -> list[str]:
    """Leave out a line that is made from the other lines, unless only this line differs."""
    return [line for line in lines if not line.startswith(f"{SETTINGS_VARIABLE}=")]


def _reason_of_changes(changes: tuple[FileChange, ...]) -> str:
    created = [change.path for change in changes if change.action == "create"]
    updated = [change.path for change in changes if change.action == "update"]
    parts = [f"missing: {_short_list(created)}"] if created else []
    if updated:
        parts.append(f"different: {_short_list(updated)}")
    return "; ".join(parts)


def _short_list(paths: list[str]) -> str:
    """Return the names of up to three files, or how many files there are."""
    return ", ".join(PurePosixPath(path).name for path in paths) if len(paths) <= 3 else f"{len(paths)} files"
