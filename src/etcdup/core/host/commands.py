"""Derive the commands of a step on one host, from the step and a new observation. Pure.

All lists of commands are idempotent: etcdup can be killed after any command, and the list can then run again from its
first command.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.host.actions import (
    ArchiveInput,
    FileToWrite,
    HostAction,
    RunCommand,
    WriteFiles,
    stop_command,
)
from etcdup.core.host.content import CaContent, CertContent, CrlContent, TextContent
from etcdup.core.host.files import desired_files, parent_folder
from etcdup.core.host.folders import own_rights, rights_label
from etcdup.core.host.known_endpoints import known_endpoints, member_markers
from etcdup.core.host.marker import inherited_restore, marker_file
from etcdup.core.host.member_user import as_user, in_folder, in_folder_of, name_of, own_folder, remove_argv
from etcdup.core.host.packages import install_commands, manager_of, tools_of
from etcdup.core.host.tool_links import link_tools, unlink_tools
from etcdup.core.host.unproved import RUN_BINARY, keep_command, run_binary_command
from etcdup.core.observed.model import (
    DirSeen,
    HostSeen,
    ListedMember,
    Marker,
    Observed,
    PkiSeen,
    UnitSeen,
    aside_suffix,
)
from etcdup.core.plan.restore_steps import FreeSpace
from etcdup.core.plan.step import HostStep
from etcdup.core.plan.steps import (
    DeleteArchives,
    DetachMember,
    EnableUnit,
    InstallBinaries,
    InstallFiles,
    MarkReplacement,
    PrepareHost,
    RecordEndpoints,
    RetireMember,
    SetAside,
    SwitchBinaries,
)
from etcdup.core.spec.layout import MEMBER_CERTS, Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.plain_value import environment_line, words
from etcdup.core.spec.version import parse_version

# A package manager waits up to two minutes for its lock before it begins.
PACKAGE_TIMEOUT_S = 600.0
UNPACK_TIMEOUT_S = 300.0
V2STORE_TIMEOUT_S = 120.0
DELETE_TIMEOUT_S = 600.0
SYSUSERS = 'u etcd - "etcd key-value store" {data_dir}\n'


def host_commands(
    step: HostStep, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    """Yield the actions of a step on its host, which must be reachable in `observed`. `token` is that of the plan."""
    seen = observed.reachable()[step.host]
    layout = layout_of(spec, host)
    match step:
        case PrepareHost():
            yield from _prepare(step, spec, host, layout, known_endpoints(spec.name, observed))
        case InstallBinaries():
            yield from _install_binaries(step, seen, layout)
        case InstallFiles():
            yield from _install_files(step, spec.at(parse_version(step.version)), host, observed, token)
        case SwitchBinaries():
            yield from _switch(step, seen, layout)
        case EnableUnit():
            yield RunCommand(
                ("systemctl", "enable", *_unit_reload(seen.unit), "etcd.service"), "enabling the unit"
            )
        case RetireMember():
            yield from _archive_host(step.suffix, seen, layout)
        case DetachMember():
            yield from _archive_host(aside_suffix(observed.at), seen, layout)
        case SetAside():
            yield from _archive_data(aside_suffix(observed.at), seen, layout)
        case MarkReplacement():
            yield from _mark_replacement(step, spec, host, layout, observed, token)
        case FreeSpace(paths=paths):
            for path in paths:
                yield RunCommand(remove_argv(layout, path), "freeing disk space")
        case DeleteArchives(paths=paths):
            for path in paths:
                yield RunCommand(remove_argv(layout, path), "deleting archives", timeout_s=DELETE_TIMEOUT_S)
        case _:
            raise AssertionError(f"{step.kind} has no list of commands")


def _unit_reload(unit: UnitSeen) -> tuple[str, ...]:
    """Return `--no-reload` if systemd need not read all units again.

    A unit that systemd has never loaded needs no reload. A failed unit whose file was removed needs one: systemd still
    has it in memory, and cannot load a new unit of that name ("resource busy").
    """
    return ("--no-reload",) if unit.load == "not-found" and unit.active != "failed" else ()


def form_commands(spec: Spec, host: HostSpec, token: str) -> Iterator[HostAction]:
    """Yield the actions that write the settings for the first start in a new cluster, on tmpfs only (rule 7)."""
    yield from _first_start(
        layout_of(spec, host), {"ETCD_INITIAL_CLUSTER_STATE": "new", "ETCD_INITIAL_CLUSTER_TOKEN": token}
    )


def join_commands(spec: Spec, host: HostSpec, members: tuple[ListedMember, ...]) -> Iterator[HostAction]:
    """Yield the actions that write the settings for joining an existing cluster: exactly its member list (rule 31).

    The member without a name in the list is this one.
    """
    pairs = [f"{each.name or host.member_name}={url}" for each in members for url in each.peer_urls]
    yield from _first_start(
        layout_of(spec, host),
        {"ETCD_INITIAL_CLUSTER_STATE": "existing", "ETCD_INITIAL_CLUSTER": ",".join(pairs)},
    )


def _first_start(layout: Layout, variables: dict[str, str]) -> Iterator[HostAction]:
    doing = "preparing the first start"
    text = "".join(environment_line(name, value) for name, value in variables.items())
    yield RunCommand(("mkdir", "-p", layout.run), doing)
    yield WriteFiles((FileToWrite(layout.join, TextContent(text), 0o644, "root:root"),), doing)


def seal_commands(spec: Spec, host: HostSpec, observed: Observed, token: str) -> Iterator[HostAction]:
    """Yield the actions that set the marker to `formed` and then delete the settings for the first start.

    If etcdup is killed in between, the marker alone ensures that the cluster is not formed again.
    """
    layout, mount = layout_of(spec, host), observed.reachable()[host.name].data.mount
    restored = inherited_restore(host.name, observed, token)
    endpoints = _recorded_endpoints(spec, host.name, observed) or tuple(
        sorted(map(spec.client_url, spec.hosts))
    )
    marker = Marker(
        spec.name,
        host.name,
        token,
        layout.data_dir,
        formed=True,
        mount=mount,
        restored=restored,
        endpoints=endpoints,
        etcd_name=host.member_name,
    )
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")
    yield RunCommand(("rm", "-f", layout.join), "deleting the settings for the first start")


def _recorded_endpoints(spec: Spec, name: str, observed: Observed) -> tuple[str, ...]:
    """Return the endpoints that the marker of this member records, or otherwise those of the other members."""
    seen = observed.reachable().get(name)
    own = seen.marker_of(spec.name) if seen else None
    if observed.member_list:
        own = member_markers(spec.name, observed).get(name)
    return (own.endpoints if own else ()) or known_endpoints(spec.name, observed)


def record_endpoints_command(
    step: RecordEndpoints, spec: Spec, host: HostSpec, observed: Observed
) -> Iterator[HostAction]:
    """Yield the action that writes the endpoints into the marker of a host."""
    marker = observed.reachable()[host.name].marker_of(spec.name)
    assert marker is not None, "the planner takes only hosts with a marker"
    changed = replace(marker, endpoints=step.endpoints)
    yield WriteFiles((marker_file(layout_of(spec, host), changed),), "recording the endpoints")


def _mark_replacement(
    step: MarkReplacement, spec: Spec, host: HostSpec, layout: Layout, observed: Observed, token: str
) -> Iterator[HostAction]:
    restored = inherited_restore(host.name, observed, token, ignore_own=True)
    endpoints = _recorded_endpoints(spec, host.name, observed)
    marker = Marker(
        spec.name,
        host.name,
        token,
        layout.data_dir,
        formed=False,
        replaces=step.member_id,
        restored=restored,
        endpoints=endpoints,
        etcd_name=host.member_name,
    )
    doing = "writing the marker"
    yield RunCommand(("mkdir", "-p", layout.etc), doing)
    yield WriteFiles((marker_file(layout, marker),), doing)


def v2store_command(seen: HostSeen, layout: Layout) -> RunCommand:
    """Return the command that checks the data of the running member for v2 data.

    It uses the etcdutl of the version that runs, and it only reads, as the member's user.
    """
    version = seen.unit.running_version or seen.current
    argv = [f"{layout.version_dir(version)}/etcdutl", "check", "v2store", "--data-dir", layout.data_dir]
    if layout.wal_dir:
        argv += ["--wal-dir", layout.wal_dir]
    doing = "checking for data of the v2 store"
    return RunCommand(as_user(layout.user, argv), doing, timeout_s=V2STORE_TIMEOUT_S)


def _prepare(
    step: PrepareHost, spec: Spec, host: HostSpec, layout: Layout, endpoints: tuple[str, ...]
) -> Iterator[HostAction]:
    # The marker is written before the data directory is created. So a directory without a marker is never ours.
    doing = "preparing the host"
    supervised = layout.supervisor == "systemd"
    yield RunCommand(("mkdir", "-p", layout.etc, layout.versions), doing)
    name = host.member_name
    marker = Marker(
        spec.name, host.name, step.token, layout.data_dir, formed=False, endpoints=endpoints, etcd_name=name
    )
    corrections = [
        RunCommand(own_folder(layout, folder, f"{mode:04o}", owner), doing)
        for folder, (mode, owner) in own_rights(layout).items()
        if rights_label(folder) in step.missing
    ]
    # If user etcd exists already, it may be the one that can write these directories.
    has_user = "etcd user" not in step.missing
    yield from corrections if has_user else ()
    files = [marker_file(layout, marker)] if "marker" in step.missing else []
    if supervised:
        text = TextContent(SYSUSERS.format(**words(data_dir=layout.data_dir)))
        files.append(FileToWrite(layout.sysusers, text, 0o644, "root:root"))
    if files:
        yield WriteFiles(tuple(files), "writing the marker")
    if supervised:
        yield RunCommand(("systemd-sysusers", layout.sysusers), "creating the etcd user")
    yield from () if has_user else corrections
    if layout.wal_parent and layout.wal_dir and supervised:
        only_log = ("sh", "-c", ONLY_LOG, "only-log", layout.wal_parent, name_of(layout.wal_dir))
        yield RunCommand(in_folder(layout, layout.wal_parent, *only_log), doing)
        yield RunCommand(own_folder(layout, layout.wal_parent), doing)
    for folder in filter(None, (layout.data_dir, layout.wal_dir)):
        yield RunCommand(own_folder(layout, folder), doing)
    yield RunCommand(own_folder(layout, layout.pki, "0750", "root:etcd"), doing)


def _install_binaries(step: InstallBinaries, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    if step.source == "package" and layout.supervisor == "systemd":
        manager = manager_of(seen.distribution)
        assert manager is not None, "the source `package` is chosen only for a known package manager"
        ours = layout.unit in seen.files and seen.unit.load != "masked"
        version = parse_version(step.version)
        for argv in install_commands(manager, version, layout.versions, layout.user, unit_is_ours=ours):
            yield RunCommand(
                argv, f"installing etcd {step.version} with {manager}", timeout_s=PACKAGE_TIMEOUT_S
            )
        return
    # A directory whose name begins with a dot does not count as a version. The rename at the end makes it one.
    fresh = f"{layout.versions}/.{step.version}.new"
    tools = tools_of(parse_version(step.version))
    target = layout.version_dir(step.version)
    argv = ("sh", "-c", UNPACK, "unpack", layout.user, fresh, target, step.version, RUN_BINARY, *tools)
    doing = f"sending etcd {step.version}"
    yield RunCommand(argv, doing, ArchiveInput(step.version, seen.arch), UNPACK_TIMEOUT_S)


def _switch(step: SwitchBinaries, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    if seen.has_member:  # A new binary ran when it was unpacked. An existing one may have changed since.
        yield run_binary_command(layout, layout.version_dir(step.version), step.version)
    # `current` is switched last. If etcdup is killed before that, the next run does all of this again.
    fresh = f"{layout.versions}/.current.new"
    doing = f"switching to {step.version}"
    yield from link_tools(layout)
    yield RunCommand(("ln", "-sfn", step.version, fresh), doing)
    yield RunCommand(("mv", "-T", fresh, layout.current), doing)


def _install_files(
    step: InstallFiles, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    layout = layout_of(spec, host)
    if step.proof:
        yield keep_command(layout)
    changed = {change.path for change in step.changes}
    yield RunCommand(("mkdir", "-p", *sorted({parent_folder(path) for path in changed})), "writing files")
    desired = desired_files(spec, host, layout, token, observed.pki)
    files = [
        FileToWrite(file.path, file.content, file.mode, file.owner)
        for file in desired
        if file.path in changed
    ]
    from_pki = CertContent | CaContent | CrlContent
    if observed.pki.changes and any(isinstance(file.content, from_pki) for file in files):
        files.insert(0, _generation_file(layout, observed.pki))
    yield WriteFiles(tuple(files), "writing configuration and certificates")


def _generation_file(layout: Layout, pki: PkiSeen) -> FileToWrite:
    """Return the file that names the last change of the PKI.

    It is written before the certificates. After a kill in between, the next run writes both again.
    """
    values = {"generation": len(pki.changes), "change": pki.changes[-1]}
    return FileToWrite(layout.generation, TextContent(json.dumps(values) + "\n"), 0o644, "root:root")


def _archive_data(suffix: str, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    # Only the data is archived. Settings, unit and marker stay for the new member.
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    yield RunCommand(("rm", "-f", layout.join, layout.fence_disabled), "archiving data")
    for directory in filter(None, (seen.data, seen.wal)):
        yield from _archive_folder(directory, layout, suffix)
        yield RunCommand(own_folder(layout, directory.path), "archiving data")


def _archive_host(suffix: str, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    # The marker is archived last. If etcdup is killed before that, the next run still knows that the host is ours.
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    if layout.supervisor == "systemd" and seen.unit.load != "not-found":
        yield RunCommand(("systemctl", "disable", "etcd.service"), "disabling the unit")
    for directory in filter(None, (seen.data, seen.wal)):
        yield from _archive_folder(directory, layout, suffix)
    yield RunCommand(("rm", "-f", layout.join, layout.fence_disabled), "archiving settings")
    yield from unlink_tools(layout)
    # Keys are not data: the PKI has those of its CA, and the operator has provided ones.
    yield RunCommand(("rm", "-rf", "--", *_private_files(layout)), "deleting the private keys")
    kept = f"{layout.etc}.{suffix}"
    yield RunCommand(("mkdir", "-p", kept), "archiving settings")
    for path in (layout.conf, layout.unit, layout.pki, layout.unproved):
        if path in (layout.pki, layout.unproved) or path in seen.files:
            yield RunCommand(("sh", "-c", MOVE_IF_THERE, "move", path, kept), "archiving settings")
    if layout.supervisor == "systemd":
        yield RunCommand(("systemctl", "daemon-reload"), "reloading systemd")
    yield RunCommand(("sh", "-c", MOVE_IF_THERE, "move", layout.marker, kept), "archiving settings")


def _private_files(layout: Layout) -> list[str]:
    """Return the keys of a member, the copies of its previous ones, and a copy that is not complete."""
    keys = [*map(layout.key, MEMBER_CERTS)]
    kept = [f"{layout.unproved}/{name_of(layout.pki)}/{name_of(key)}" for key in keys]
    return [*keys, *kept, f"{layout.unproved}.new"]


def _archive_folder(directory: DirSeen, layout: Layout, suffix: str) -> Iterator[HostAction]:
    # A mount point cannot be renamed. So its content is moved into a directory on the same file system.
    if directory.entries is None or directory.is_empty:
        return
    path, doing = directory.path, "archiving data"
    if not directory.mount:
        name = name_of(path)
        yield RunCommand(in_folder_of(layout, path, "mv", "-T", "--", name, f"{name}.{suffix}"), doing)
        return
    yield RunCommand(in_folder(layout, path, "mkdir", "-p", "--", suffix), doing)
    for name in directory.entries:
        if name == "member" or name.endswith((".wal", ".tmp")):
            yield RunCommand(in_folder(layout, path, "mv", "-T", "--", name, f"{suffix}/{name}"), doing)


# tar does not report a stream that ends between two files. So the script checks that each program has arrived.
UNPACK = """\
set -eu
user=$1 new=$2 place=$3 version=$4 run_binary=$5
shift 5
rm -rf -- "$new"
mkdir -p -- "$new"
tar -xz --strip-components=1 --no-same-owner -C "$new"
for tool in "$@"; do
  [ -f "$new/$tool" ] && [ ! -L "$new/$tool" ] || { echo "the received archive has no $tool" >&2; exit 1; }
  chmod 0755 -- "$new" "$new/$tool"
done
sh -c "$run_binary" run-etcd "$user" "$new" "$version"
mv -T -- "$new" "$place"
"""

# The parent directory of the write-ahead log must belong to etcd, because etcd creates a new log directory there and
# renames it. The script refuses a directory that contains other files. It runs in that directory.
ONLY_LOG = """\
set -eu
for each in * .[!.]*; do
  case $each in "$2" | "$2".* | lost+found | "*" | ".[!.]*") ;;
  *) echo "$1 must contain only etcd's write-ahead log, but contains $1/$each" >&2; exit 1 ;;
  esac
done
"""

MOVE_IF_THERE = '[ ! -e "$1" ] || mv "$1" "$2/"'
