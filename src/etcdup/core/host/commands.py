"""Step + fresh observation -> the commands that do it. Pure, so that every command is golden-tested.

Each list may be cut after any command and begun again from its start: nothing here is undone or doubled by
being done twice.
"""

from collections.abc import Iterator

from etcdup.core.host.actions import (
    ArchiveInput,
    FileToWrite,
    HostAction,
    RunCommand,
    WriteFiles,
    stop_command,
)
from etcdup.core.host.content import TextContent
from etcdup.core.host.files import desired_files, parent_folder
from etcdup.core.host.marker import inherited_restore, marker_file
from etcdup.core.host.packages import install_commands, manager_of, tools_of
from etcdup.core.observed.model import HostSeen, ListedMember, Marker, Observed, UnitSeen, aside_suffix
from etcdup.core.plan.restore_steps import (
    FreeSpace,
)
from etcdup.core.plan.step import HostStep
from etcdup.core.plan.steps import (
    DetachMember,
    EnableUnit,
    InstallBinaries,
    InstallFiles,
    MarkReplacement,
    PrepareHost,
    RetireMember,
    SetAside,
    SwitchBinaries,
)
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.version import parse_version

# A package manager waits for its lock for up to two minutes before it begins.
PACKAGE_TIMEOUT_S = 600.0
UNPACK_TIMEOUT_S = 300.0
V2STORE_TIMEOUT_S = 120.0
SYSUSERS = 'u etcd - "etcd key-value store" {data_dir}\n'


def host_commands(
    step: HostStep, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    """Yield the actions of a step on its host, which must be reachable in `observed`. `token` is the plan's."""
    seen = observed.reachable()[step.host]
    layout = layout_of(spec, host)
    match step:
        case PrepareHost():
            yield from _prepare(step, spec, host, layout)
        case InstallBinaries():
            yield from _install_binaries(step, seen, layout)
        case InstallFiles():
            yield from _install_files(step, spec.at(parse_version(step.version)), host, observed, token)
        case SwitchBinaries():
            yield from _switch(step, layout)
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
            yield RunCommand(("rm", "-rf", "--", *paths), "making room on the disk")
        case _:
            raise AssertionError(f"{step.kind} is not a list of commands")


def _unit_reload(unit: UnitSeen) -> tuple[str, ...]:
    """`enable` also makes systemd read all units again. A unit that it never read does not need that. One that failed,
    and whose file went since, does: systemd still holds it, and fails to load another ("resource busy")."""
    return ("--no-reload",) if unit.load == "not-found" and unit.active != "failed" else ()


def form_commands(spec: Spec, host: HostSpec, token: str) -> Iterator[HostAction]:
    """A member's settings for forming the cluster, on tmpfs only (rule 7)."""
    yield from _first_start(
        layout_of(spec, host), {"ETCD_INITIAL_CLUSTER_STATE": "new", "ETCD_INITIAL_CLUSTER_TOKEN": token}
    )


def join_commands(spec: Spec, host: HostSpec, members: tuple[ListedMember, ...]) -> Iterator[HostAction]:
    """A new member's settings for joining a cluster that exists: the member list, word for word, and nothing
    more (rule 31). The one member of it without a name is this one."""
    pairs = [f"{each.name or host.name}={url}" for each in members for url in each.peer_urls]
    yield from _first_start(
        layout_of(spec, host),
        {"ETCD_INITIAL_CLUSTER_STATE": "existing", "ETCD_INITIAL_CLUSTER": ",".join(pairs)},
    )


def _first_start(layout: Layout, variables: dict[str, str]) -> Iterator[HostAction]:
    doing = "preparing the first start"
    text = "".join(f'{name}="{value}"\n' for name, value in variables.items())
    yield RunCommand(("mkdir", "-p", layout.run), doing)
    yield WriteFiles((FileToWrite(layout.join, TextContent(text), 0o644, "root:root"),), doing)


def seal_commands(spec: Spec, host: HostSpec, observed: Observed, token: str) -> Iterator[HostAction]:
    """First the mark, then the first start's settings go: cut in between, the mark alone already protects."""
    layout, seen = layout_of(spec, host), observed.reachable()[host.name]
    marker = Marker(
        spec.name, host.name, token, layout.data_dir, formed=True, mount=seen.data.mount,
        restored=inherited_restore(host.name, observed, token),
    )  # fmt: skip
    yield WriteFiles((marker_file(layout, marker),), "marking the host")
    yield RunCommand(("rm", "-f", layout.join), "forgetting the first start's settings")


def _mark_replacement(
    step: MarkReplacement, spec: Spec, host: HostSpec, layout: Layout, observed: Observed, token: str
) -> Iterator[HostAction]:
    marker = Marker(
        spec.name, host.name, token, layout.data_dir, formed=False, replaces=step.member_id,
        restored=inherited_restore(host.name, observed, token, anew=True),
    )  # fmt: skip
    doing = "marking the host"
    yield RunCommand(("mkdir", "-p", layout.etc), doing)
    yield WriteFiles((marker_file(layout, marker),), doing)


def v2store_command(seen: HostSeen, layout: Layout) -> RunCommand:
    """By the etcdutl of the version that wrote the data, beside the running member: it only reads."""
    running = seen.unit.exe.removesuffix(" (deleted)").split("/")[-2:-1]
    version = running[0] if running else seen.current
    argv = [f"{layout.version_dir(version)}/etcdutl", "check", "v2store", "--data-dir", layout.data_dir]
    if layout.wal_dir:
        argv += ["--wal-dir", layout.wal_dir]
    return RunCommand(tuple(argv), "looking for data of the v2 API", timeout_s=V2STORE_TIMEOUT_S)


def _prepare(step: PrepareHost, spec: Spec, host: HostSpec, layout: Layout) -> Iterator[HostAction]:
    """The mark comes before the folder it speaks of: a folder without a mark is never ours."""
    doing = "preparing the host"
    supervised = layout.supervisor == "systemd"
    yield RunCommand(("mkdir", "-p", layout.etc, layout.versions), doing)
    fresh = Marker(spec.name, host.name, step.token, layout.data_dir, formed=False)
    puts = [marker_file(layout, fresh)] if "marker" in step.missing else []
    if supervised:
        text = TextContent(SYSUSERS.format(data_dir=layout.data_dir))
        puts.append(FileToWrite(layout.sysusers, text, 0o644, "root:root"))
    if puts:
        yield WriteFiles(tuple(puts), "marking the host")
    if supervised:
        yield RunCommand(("systemd-sysusers", layout.sysusers), "making the etcd user")
    by_etcd = ("-o", "etcd", "-g", "etcd") if supervised else ()
    by_root = ("-o", "root", "-g", "etcd") if supervised else ()
    if layout.wal_parent and supervised:
        yield RunCommand(
            ("sh", "-c", OWN_FOLDER_SCRIPT, "own", layout.wal_parent, str(layout.wal_dir)), doing
        )
    folders = (layout.data_dir, *([layout.wal_dir] if layout.wal_dir else []))
    yield RunCommand(("install", "-d", "-m", "0700", *by_etcd, *folders), doing)
    yield RunCommand(("install", "-d", "-m", "0750", *by_root, layout.pki), doing)


def _install_binaries(step: InstallBinaries, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    if step.source == "package" and layout.supervisor == "systemd":
        manager = manager_of(seen.distribution)
        assert manager is not None, "settled before planning"
        ours = layout.unit in seen.files and seen.unit.load != "masked"
        version = parse_version(step.version)
        for argv in install_commands(manager, version, layout.versions, unit_is_ours=ours):
            yield RunCommand(
                argv, f"installing etcd {step.version} with {manager}", timeout_s=PACKAGE_TIMEOUT_S
            )
        return
    # A folder that begins with a dot is not a version: only the rename makes it one.
    fresh = f"{layout.versions}/.{step.version}.new"
    tools = tools_of(parse_version(step.version))
    argv = ("sh", "-c", UNPACK, "unpack", fresh, layout.version_dir(step.version), *tools)
    doing = f"sending etcd {step.version}"
    yield RunCommand(argv, doing, ArchiveInput(step.version, seen.arch), UNPACK_TIMEOUT_S)


def _switch(step: SwitchBinaries, layout: Layout) -> Iterator[HostAction]:
    """`current` is switched last: whatever else is cut short here is then done again."""
    fresh = f"{layout.versions}/.current.new"
    doing = f"switching to {step.version}"
    if layout.links:
        tools = [f"{layout.current}/{tool}" for tool in ("etcd", "etcdctl", "etcdutl")]
        yield RunCommand(("ln", "-sfn", *tools, layout.links), doing)
    yield RunCommand(("ln", "-sfn", step.version, fresh), doing)
    yield RunCommand(("mv", "-T", fresh, layout.current), doing)


def _install_files(
    step: InstallFiles, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    layout = layout_of(spec, host)
    changed = {change.path for change in step.changes}
    yield RunCommand(("mkdir", "-p", *sorted({parent_folder(path) for path in changed})), "writing files")
    wanted = desired_files(spec, host, layout, token, observed.pki)
    puts = [
        FileToWrite(file.path, file.content, file.mode, file.owner) for file in wanted if file.path in changed
    ]
    yield WriteFiles(tuple(puts), "writing configuration and certificates")


def _archive_data(suffix: str, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """The data only: settings, unit and mark stay for the member that comes."""
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    yield RunCommand(("rm", "-f", layout.join), "moving data aside")
    by_etcd = ("-o", "etcd", "-g", "etcd") if layout.supervisor == "systemd" else ()
    for directory in filter(None, (seen.data, seen.wal)):
        if directory.entries is not None and not directory.is_empty:
            yield from _archive_folder(directory.path, directory.mount, directory.entries, suffix)
        yield RunCommand(("install", "-d", "-m", "0700", *by_etcd, directory.path), "moving data aside")


def _archive_host(suffix: str, seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """The mark goes last: cut anywhere before, the next run still knows the host as ours."""
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    if layout.supervisor == "systemd" and seen.unit.load != "not-found":
        yield RunCommand(("systemctl", "disable", "etcd.service"), "disabling the unit")
    for directory in filter(None, (seen.data, seen.wal)):
        if directory.entries is None or directory.is_empty:
            continue
        yield from _archive_folder(directory.path, directory.mount, directory.entries or (), suffix)
    yield RunCommand(("rm", "-f", layout.join), "moving settings aside")
    kept = f"{layout.etc}.{suffix}"
    yield RunCommand(("mkdir", "-p", kept), "moving settings aside")
    for path in (layout.conf, layout.unit, layout.pki):
        if path == layout.pki or path in seen.files:
            yield RunCommand(("sh", "-c", MOVE_IF_THERE, "move", path, kept), "moving settings aside")
    if layout.supervisor == "systemd":
        yield RunCommand(("systemctl", "daemon-reload"), "reloading systemd")
    yield RunCommand(("sh", "-c", MOVE_IF_THERE, "move", layout.marker, kept), "moving settings aside")


def _archive_folder(path: str, mount: bool, entries: tuple[str, ...], suffix: str) -> Iterator[HostAction]:
    """A folder is renamed; a mount point cannot be, so its content moves into a folder on the same disk."""
    if not mount:
        yield RunCommand(("mv", "-T", path, f"{path}.{suffix}"), "moving data aside")
        return
    kept = f"{path}/{suffix}"
    yield RunCommand(("mkdir", "-p", kept), "moving data aside")
    for name in entries:
        if name == "member" or name.endswith((".wal", ".tmp")):
            yield RunCommand(("mv", "-T", f"{path}/{name}", f"{kept}/{name}"), "moving data aside")


# A tar that ends early ends well, should it end between two files: so each of the programs is asked for.
UNPACK = """\
set -eu
new=$1 place=$2
shift 2
rm -rf -- "$new"
mkdir -p -- "$new"
tar -xz --strip-components=1 --no-same-owner -C "$new"
for tool in "$@"; do
  [ -f "$new/$tool" ] || { echo "the archive arrived without $tool" >&2; exit 1; }
done
"$new/etcd" --version
mv -T -- "$new" "$place"
"""

# A folder for etcd's log alone, in which etcd makes it under another name and renames it. Nobody else's is taken.
OWN_FOLDER_SCRIPT = """\
set -eu
mkdir -p -- "$1"
for each in "$1"/* "$1"/.[!.]*; do
  case $each in "$2" | "$2".* | "$1/lost+found" | "$1/*" | "$1/.[!.]*") ;;
  *) echo "$1 is to be for etcd's log alone, and $each is in it" >&2; exit 1 ;;
  esac
done
chown etcd:etcd "$1"
chmod 0700 "$1"
"""

MOVE_IF_THERE = '[ ! -e "$1" ] || mv "$1" "$2/"'
