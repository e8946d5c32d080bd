"""Derive the commands of a step on one host, from the step and a new observation. Pure.

All lists of commands are idempotent: etcdup can be killed after any command, and the list can then run again from its
first command.
"""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.host.actions import FileToWrite, HostAction, RunCommand, WriteFiles
from etcdup.core.host.archive_commands import archive_data_commands, archive_host_commands
from etcdup.core.host.content import TextContent
from etcdup.core.host.install_commands import (
    binaries_commands,
    files_commands,
    prepare_commands,
    switch_commands,
)
from etcdup.core.host.known_endpoints import known_endpoints, member_markers
from etcdup.core.host.marker import inherited_restore, marker_file
from etcdup.core.host.member_user import as_user, remove_argv
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.plan.host_steps import (
    DeleteArchives,
    EnableUnit,
    InstallBinaries,
    InstallFiles,
    PrepareHost,
    RecordEndpoints,
    RetireMember,
    SetAside,
    SwitchBinaries,
)
from etcdup.core.plan.member_steps import DetachMember, MarkReplacement
from etcdup.core.plan.restore_steps import FreeSpace
from etcdup.core.plan.step import HostStep
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.plain_value import environment_line
from etcdup.core.spec.version import parse_version

V2STORE_TIMEOUT_S = 120.0
DELETE_TIMEOUT_S = 600.0


def host_commands(
    step: HostStep, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    """Yield the actions of a step on its host, which must be reachable in `observed`. `token` is that of the plan."""
    seen = observed.reachable()[step.host]
    layout = layout_of(spec, host)
    match step:
        case PrepareHost():
            yield from prepare_commands(step, spec, host, layout, known_endpoints(spec.name, observed))
        case InstallBinaries():
            yield from binaries_commands(step, seen, layout)
        case InstallFiles():
            yield from files_commands(step, spec.at(parse_version(step.version)), host, observed, token)
        case SwitchBinaries():
            yield from switch_commands(step, seen, layout)
        case EnableUnit():
            yield RunCommand(
                ("systemctl", "enable", *_unit_reload(seen.unit), "etcd.service"), "enabling the unit"
            )
        case RetireMember():
            yield from archive_host_commands(step.suffix, seen, layout)
        case DetachMember():
            yield from archive_host_commands(aside_suffix(observed.at), seen, layout)
        case SetAside():
            yield from archive_data_commands(aside_suffix(observed.at), seen, layout)
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
