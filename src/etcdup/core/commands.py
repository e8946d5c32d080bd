"""Step + fresh observation -> the commands that do it. Pure, so that every command is golden-tested.

Each list may be cut after any command and begun again from its start: nothing here is undone or doubled by
being done twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.files import Content, Text, desired_files, marker_text, parent
from etcdup.core.layout import Layout, layout_of
from etcdup.core.observed import HostSeen, Marker, Observed
from etcdup.core.packages import install_commands, manager_of
from etcdup.core.spec import HostSpec, Spec
from etcdup.core.steps import (
    EnableUnit,
    HostStep,
    InstallBinaries,
    InstallFiles,
    PrepareHost,
    RetireMember,
    SwitchBinaries,
)
from etcdup.core.version import parse_version

# A package manager waits for its lock for up to two minutes before it begins.
PACKAGE_TIMEOUT_S = 600.0
UNPACK_TIMEOUT_S = 300.0
# A graceful stop hands leadership over and takes about a second; the unit gives etcd a minute (rule 40).
STOP_TIMEOUT_S = 90.0
SYSUSERS = 'u etcd - "etcd key-value store" {data_dir}\n'


@dataclass(frozen=True)
class Archive:
    """The archive of etcd's binaries for this architecture, streamed to a command's stdin."""

    version: str
    arch: str


@dataclass(frozen=True)
class Run:
    """A command. `doing` is what a person sees while it runs. Any status but 0 ends the step."""

    argv: tuple[str, ...]
    doing: str
    stdin: Archive | None = None
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Write:
    """A file put in place atomically."""

    path: str
    content: Content
    mode: int
    owner: str
    doing: str = "writing files"


Action = Run | Write


def commands_of(step: HostStep, spec: Spec, observed: Observed, token: str) -> Iterator[Action]:
    """The actions of a step on its host, which must be reachable in `observed`. `token` is the plan's."""
    host = spec.host(step.host)
    seen = observed.reachable()[step.host]
    layout = layout_of(spec, host)
    match step:
        case PrepareHost():
            yield from _prepare(step, spec, host, layout)
        case InstallBinaries():
            yield from _install_binaries(step, seen, layout)
        case InstallFiles():
            yield from _install_files(step, spec, host, observed, token)
        case SwitchBinaries():
            yield from _switch(step, layout)
        case EnableUnit():
            yield Run(("systemctl", "daemon-reload"), "reloading systemd")
            yield Run(("systemctl", "enable", "etcd.service"), "enabling the unit")
        case RetireMember():
            yield from _retire(step, spec, host, seen, layout)
        case _:
            raise AssertionError(f"{step.kind} is not a list of commands")


def join_commands(spec: Spec, host: HostSpec, token: str) -> Iterator[Action]:
    """A member's settings for forming the cluster, on tmpfs only (rule 7)."""
    layout = layout_of(spec, host)
    text = f'ETCD_INITIAL_CLUSTER_STATE="new"\nETCD_INITIAL_CLUSTER_TOKEN="{token}"\n'
    yield Run(("mkdir", "-p", layout.run), "preparing the first start")
    yield Write(layout.join, Text(text), 0o644, "root:root", "preparing the first start")


def start_command(layout: Layout) -> Run:
    """Starts etcd without waiting: it is ready only when there is a quorum (rule 1)."""
    if layout.supervisor == "process":
        return Run(("sh", layout.unit), "starting etcd")
    return Run(("systemctl", "restart", "--no-block", "etcd.service"), "starting etcd")


def stop_command(layout: Layout) -> Run:
    """Stops etcd and waits until it is gone; it hands leadership over by itself (rule 39)."""
    if layout.supervisor == "process":
        argv: tuple[str, ...] = ("sh", "-c", STOP_PROCESS, "stop-etcd", layout.pid_file, layout.versions)
    else:
        argv = ("systemctl", "stop", "etcd.service")
    return Run(argv, "stopping etcd", timeout_s=STOP_TIMEOUT_S)


def seal_commands(spec: Spec, host: HostSpec, token: str) -> Iterator[Action]:
    """First the mark, then the first start's settings go: cut in between, the mark alone already protects."""
    layout = layout_of(spec, host)
    yield _marker(spec, host, layout, token, formed=True)
    yield Run(("rm", "-f", layout.join), "forgetting the first start's settings")


def _marker(spec: Spec, host: HostSpec, layout: Layout, token: str, *, formed: bool) -> Write:
    marker = Marker(spec.name, host.name, token, layout.data_dir, formed)
    return Write(layout.marker, Text(marker_text(marker)), 0o644, "root:root", "marking the host")


def _prepare(step: PrepareHost, spec: Spec, host: HostSpec, layout: Layout) -> Iterator[Action]:
    doing = "preparing the host"
    yield Run(("mkdir", "-p", layout.etc, layout.versions), doing)
    if layout.supervisor == "systemd":
        text = Text(SYSUSERS.format(data_dir=layout.data_dir))
        yield Write(layout.sysusers, text, 0o644, "root:root", doing)
        yield Run(("systemd-sysusers", layout.sysusers), "making the etcd user")
    # The mark comes before the folder it speaks of: a folder without a mark is never ours.
    if "marker" in step.missing:
        yield _marker(spec, host, layout, step.token, formed=False)
    folders = [layout.data_dir, *([layout.wal_dir] if layout.wal_dir else [])]
    yield Run(("mkdir", "-p", *folders, layout.pki), doing)
    yield Run(("chmod", "0700", *folders), doing)
    if layout.supervisor == "systemd":
        yield Run(("chown", "etcd:etcd", *folders), doing)
        yield Run(("chown", "root:etcd", layout.pki), doing)
    yield Run(("chmod", "0750", layout.pki), doing)


def _install_binaries(step: InstallBinaries, seen: HostSeen, layout: Layout) -> Iterator[Action]:
    if step.source == "package" and layout.supervisor == "systemd":
        manager = manager_of(seen.distribution)
        assert manager is not None, "settled before planning"
        ours = layout.unit in seen.files and seen.unit.load != "masked"
        for argv in install_commands(manager, parse_version(step.version), layout.versions, unit_is_ours=ours):
            yield Run(argv, f"installing etcd {step.version} with {manager}", timeout_s=PACKAGE_TIMEOUT_S)
        return
    # A folder that begins with a dot is not a version: only the rename makes it one.
    fresh = f"{layout.versions}/.{step.version}.new"
    doing = f"installing etcd {step.version}"
    yield Run(("rm", "-rf", fresh), doing)
    yield Run(("mkdir", "-p", fresh), doing)
    yield Run(
        ("tar", "-xz", "--strip-components=1", "--no-same-owner", "-C", fresh),
        f"sending etcd {step.version}",
        Archive(step.version, seen.arch),
        UNPACK_TIMEOUT_S,
    )
    yield Run((f"{fresh}/etcd", "--version"), doing)
    yield Run(("mv", "-T", fresh, layout.version_dir(step.version)), doing)


def _switch(step: SwitchBinaries, layout: Layout) -> Iterator[Action]:
    """`current` is switched last: whatever else is cut short here is then done again."""
    fresh = f"{layout.versions}/.current.new"
    if layout.links:
        tools = [f"{layout.current}/{tool}" for tool in ("etcd", "etcdctl", "etcdutl")]
        yield Run(("ln", "-sfn", *tools, layout.links), "linking etcdctl")
    yield Run(("ln", "-sfn", step.version, fresh), f"switching to {step.version}")
    yield Run(("mv", "-T", fresh, layout.current), f"switching to {step.version}")


def _install_files(
    step: InstallFiles, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[Action]:
    layout = layout_of(spec, host)
    changed = {change.path for change in step.changes}
    for folder in sorted({parent(path) for path in changed}):
        yield Run(("mkdir", "-p", folder), "writing files")
    for file in desired_files(spec, host, layout, token, observed.pki):
        if file.path in changed:
            yield Write(file.path, file.content, file.mode, file.owner, _doing(file.content))


def _doing(content: Content) -> str:
    return "writing the configuration" if isinstance(content, Text) else "sending certificates"


def _retire(
    step: RetireMember, spec: Spec, host: HostSpec, seen: HostSeen, layout: Layout
) -> Iterator[Action]:
    """The mark goes last: cut anywhere before, the next destroy still knows the host as ours."""
    if seen.unit.load != "not-found":
        yield stop_command(layout)
    if layout.supervisor == "systemd" and seen.unit.load != "not-found":
        yield Run(("systemctl", "disable", "etcd.service"), "disabling the unit")
    for directory in filter(None, (seen.data, seen.wal)):
        if directory.entries is None or directory.is_empty:
            continue
        yield from _set_aside(directory.path, directory.mount, directory.entries or (), step.suffix)
    yield Run(("rm", "-f", layout.join), "moving settings aside")
    kept = f"{layout.etc}.{step.suffix}"
    yield Run(("mkdir", "-p", kept), "moving settings aside")
    for path in (layout.conf, layout.unit, layout.pki):
        if path == layout.pki or path in seen.files:
            yield Run(("sh", "-c", MOVE_IF_THERE, "move", path, kept), "moving settings aside")
    if layout.supervisor == "systemd":
        yield Run(("systemctl", "daemon-reload"), "reloading systemd")
    yield Run(("sh", "-c", MOVE_IF_THERE, "move", layout.marker, kept), "moving settings aside")


def _set_aside(path: str, mount: bool, entries: tuple[str, ...], suffix: str) -> Iterator[Action]:
    """A folder is renamed; a mount point cannot be, so its content moves into a folder on the same disk."""
    if not mount:
        yield Run(("mv", "-T", path, f"{path}.{suffix}"), "moving data aside")
        return
    kept = f"{path}/{suffix}"
    yield Run(("mkdir", "-p", kept), "moving data aside")
    for name in entries:
        if name == "member":
            yield Run(("mv", "-T", f"{path}/{name}", f"{kept}/{name}"), "moving data aside")


MOVE_IF_THERE = '[ ! -e "$1" ] || mv "$1" "$2/"'

# The process is ended only if it is etcd from our own folder: a pid may have been given to somebody else.
STOP_PROCESS = r"""
read -r pid 2>/dev/null <"$1" || exit 0
ours() { case $(readlink "/proc/$pid/exe" 2>/dev/null) in "$2"/*) return 0 ;; esac; return 1; }
ours "$@" || exit 0
kill "$pid"
while ours "$@"; do sleep 0.05; done
rm -f "$1"
"""
