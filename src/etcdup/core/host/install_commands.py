"""Derive the commands that prepare a host and install etcd and its files there. Pure."""

import json
from collections.abc import Iterator

from etcdup.core.host.actions import ArchiveInput, FileToWrite, HostAction, RunCommand, WriteFiles
from etcdup.core.host.content import CaContent, CertContent, CrlContent, TextContent
from etcdup.core.host.files import desired_files, parent_folder
from etcdup.core.host.folders import own_rights, rights_label
from etcdup.core.host.marker import marker_file
from etcdup.core.host.member_user import in_folder, name_of, own_folder
from etcdup.core.host.packages import install_commands, manager_of, tools_of
from etcdup.core.host.tool_links import link_tools
from etcdup.core.host.unproved import RUN_BINARY, keep_command, run_binary_command
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.plan.host_steps import InstallBinaries, InstallFiles, PrepareHost, SwitchBinaries
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.plain_value import words
from etcdup.core.spec.version import parse_version

# A package manager waits up to two minutes for its lock before it begins.
PACKAGE_TIMEOUT_S = 600.0
UNPACK_TIMEOUT_S = 300.0
SYSUSERS = 'u etcd - "etcd key-value store" {data_dir}\n'


def prepare_commands(
    step: PrepareHost, spec: Spec, host: HostSpec, layout: Layout, endpoints: tuple[str, ...]
) -> Iterator[HostAction]:
    """Yield the commands that write the marker and make the user and the directories of etcd."""
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


def binaries_commands(step: InstallBinaries, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the command that brings a version of etcd to the host."""
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
    # A directory whose name begins with a dot does not count as a version. The rename at the end makes it one. If the
    # programs of a version were deleted, its directory may be left: it counts as a version again when it has etcd.
    fresh = f"{layout.versions}/.{step.version}.new"
    tools = tools_of(parse_version(step.version))
    target = layout.version_dir(step.version)
    argv = ("sh", "-c", UNPACK, "unpack", layout.user, fresh, target, step.version, RUN_BINARY, *tools)
    doing = f"sending etcd {step.version}"
    yield RunCommand(argv, doing, ArchiveInput(step.version, seen.arch), UNPACK_TIMEOUT_S)


def switch_commands(step: SwitchBinaries, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that make a version the current one."""
    # A new binary ran when it was unpacked. An existing one may have changed since, or is not of etcdup.
    if seen.has_member or step.version in seen.versions:
        yield run_binary_command(layout, layout.version_dir(step.version), step.version)
    # `current` is switched last. If etcdup is killed before that, the next run does all of this again.
    fresh = f"{layout.versions}/.current.new"
    doing = f"switching to {step.version}"
    yield from link_tools(layout)
    yield RunCommand(("ln", "-sfn", step.version, fresh), doing)
    yield RunCommand(("mv", "-T", fresh, layout.current), doing)


def files_commands(
    step: InstallFiles, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    """Yield the commands that write the files that differ."""
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
if [ ! -d "$place" ]; then
  mv -T -- "$new" "$place"
  exit
fi
for tool in "$@"; do [ "$tool" = etcd ] || mv -f -- "$new/$tool" "$place/"; done
mv -f -- "$new/etcd" "$place/"
rm -rf -- "$new"
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
