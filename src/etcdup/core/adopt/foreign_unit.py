"""What runs etcd on a host that waits for its take-over, and which of it can be taken over."""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.adopt.foreign_container import refuse_container
from etcdup.core.adopt.foreign_pod import is_unit_name, refuse_pod
from etcdup.core.adopt.member import absolute, host_path, member_processes, plain_client_urls
from etcdup.core.adopt.model import Container, HostProcesses, Process, StaticPod, Unit, Unreadable
from etcdup.core.adopt.settings import settings_of_process, value_of
from etcdup.core.adopt.switch_script import Switch
from etcdup.core.adopt.switch_state import SwitchState
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import HostSpec
from etcdup.core.spec.visible import one_line

_UNITS = "/etc/systemd/system"
_OWN = "etcd.service"
_REPLACE = (
    "add new hosts to cluster.yaml, and run `etcdup apply`: they run with the unit of etcdup. Then stop this etcd with "
    "the tool that made it, run `etcdup ctl -- member remove ID`, and delete its host from cluster.yaml"
)


@dataclass(frozen=True)
class ForeignMember:
    """The process of another tool, and what starts it: a unit, a container, a unit that starts a container, or a pod.

    `folders` are the directories of the member on the host, and where the process has them. `plain_urls` serve clients
    of other hosts with http. After its take-over has begun, only the state is known.
    """

    state: SwitchState
    unit: str = ""
    container: Container | None = None
    pod: StaticPod | None = None
    folders: tuple[tuple[str, str], ...] = ()
    pid: int = 0
    user: str = ""
    exe: str = ""
    packages: tuple[str, ...] = ()
    plain_urls: tuple[str, ...] = ()

    @property
    def has_begun(self) -> bool:
        return self.state.has_begun


def foreign_member(
    host: HostSpec, layout: Layout, first: HostProcesses, state: SwitchState
) -> ForeignMember | tuple[Refused, ...]:
    """Return what runs etcd on this host, or why it cannot be taken over."""
    if state.has_begun:
        return ForeignMember(state)
    try:
        processes = member_processes(first)
        refused = tuple(_refuse(host, layout, first, processes[0])) if len(processes) == 1 else ()
    except Unreadable as fault:
        hint = "inspect it with `etcdup adopt --dry-run`"
        return (Refused(f"{host.name}: not readable: {fault}", hint, host.name),)
    if len(processes) != 1:
        count = len(processes) or "no"
        message = f"{host.name}: {count} processes of etcd run. A take-over needs one"
        return (Refused(message, "start the member with the tool that made it", host.name),)
    if refused:
        return refused
    process = processes[0]
    return ForeignMember(
        state,
        process.unit.name if process.unit and not process.is_pod else "",
        None if process.is_pod else process.engine,
        process.pod,
        tuple((wanted, found) for _, wanted, found in _folders(layout, process) if wanted),
        process.pid,
        one_line(process.user, 64),
        one_line(process.exe.removesuffix(" (deleted)"), 300),
        tuple(one_line(each, 100) for each in process.packages),
        plain_client_urls(settings_of_process(process)),
    )


def _refuse(host: HostSpec, layout: Layout, first: HostProcesses, process: Process) -> Iterator[Refused]:
    name, unit = host.name, None if process.is_pod else process.unit
    if process.is_pod:
        yield from refuse_pod(name, first, process, _REPLACE)
    elif process.container:
        yield from refuse_container(name, process, _REPLACE)
    elif unit is None:
        yield Refused(
            f"{name}: no unit of systemd starts etcd, so it would not run after a failure", _REPLACE, name
        )
    elif unit.properties.get("MainPID") != str(process.pid):
        shown = one_line(unit.name, 100)
        message = f"{name}: {shown} runs a program that starts etcd, for example a wrapper of a container"
        yield Refused(message, _REPLACE, name)
    if unit is not None:
        yield from _refuse_unit(name, unit)
    yield from _refuse_settings(host, layout, process)


def _refuse_unit(name: str, unit: Unit) -> Iterator[Refused]:
    shown, fragment = one_line(unit.name, 100), unit.properties.get("FragmentPath", "")
    if not is_unit_name(unit.name):
        yield Refused(
            f"{name}: the name of {shown} has a character that etcdup does not accept", _REPLACE, name
        )
    if not fragment.startswith("/") or fragment.startswith("/run/"):
        message = f"{name}: {shown} has no file that is left after a reboot"
        yield Refused(message, "write the unit into /etc/systemd/system, and start etcd with it", name)
    inside = f"{_UNITS}/{_OWN}.d/"
    others = [each for each in unit.paths("DropInPaths") if not each.startswith(inside)]
    if unit.name == _OWN and others:
        message = f"{name}: the drop-in {one_line(others[0], 300)} changes {_OWN}, also that of etcdup"
        yield Refused(message, "remove it, or move it to a unit of its own", name)


def _refuse_settings(host: HostSpec, layout: Layout, process: Process) -> Iterator[Refused]:
    """Refuse a process that is not the member of cluster.yaml: it would start with other data."""
    settings = settings_of_process(process)
    found = value_of(settings, "name", "default")
    if found != host.member_name:
        message = f"{host.name}: the name of its member is {one_line(found, 128)}, not {host.member_name}"
        yield Refused(message, "write this name as `member` of the host in cluster.yaml", host.name)
    for flag, wanted, inside in _folders(layout, process):
        path = host_path(process, inside)
        if path is None or (inside and not path):
            message = f"{host.name}: its {flag} {inside} is not a directory of the host"
            yield Refused(message, _REPLACE, host.name)
        elif path != wanted:
            message = f"{host.name}: its {flag} is {path or 'not set'}, not {wanted or 'without a value'}"
            hint = f"write this directory as `{flag.replace('-', '_')}` of the host in cluster.yaml"
            yield Refused(message, hint, host.name)


def _folders(layout: Layout, process: Process) -> Iterator[tuple[str, str, str]]:
    """Yield the flag of each directory, its path on the host as cluster.yaml has it, and its path in the process."""
    settings = settings_of_process(process)
    for flag, wanted, otherwise in (
        ("data-dir", layout.data_dir, f"{value_of(settings, 'name', 'default')}.etcd"),
        ("wal-dir", layout.wal_dir or "", ""),
    ):
        yield flag, wanted, absolute(process, value_of(settings, flag, otherwise)).rstrip("/")


def switch_of(found: ForeignMember) -> Switch:
    """Return the switch of a host: what is stopped and disabled, and what is renamed.

    A file below /etc goes before that of a package, and a drop-in changes each unit of its name. A unit with another
    name is renamed too, so that nothing starts it by mistake. Files of packages stay.
    """
    renamed: tuple[tuple[str, str], ...] = ()
    if found.unit == _OWN:
        renamed = (("etcd.service.d", f"{_UNITS}/{_OWN}.d"),)
    elif found.unit:
        renamed = (("unit", f"{_UNITS}/{found.unit}"),)
    if (pod := found.pod) is not None:
        return Switch(
            "", inside=found.folders[0][1], kubelet=pod.kubelet, manifest=pod.manifests[0], pod=pod.folder
        )
    if (container := found.container) is None:
        return Switch(found.unit, renamed)
    restart = container.restart if container.prevents == "update" and not container.is_removed else "no"
    inside = found.folders[0][1]
    return Switch(
        found.unit, renamed, container.engine, container.id, "" if restart == "no" else restart, inside
    )
