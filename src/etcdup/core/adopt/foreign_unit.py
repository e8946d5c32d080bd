"""What runs etcd on a host that waits for its take-over, and which of it can be taken over."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.adopt.member import absolute, member_processes
from etcdup.core.adopt.model import HostProcesses, Process, Unit, Unreadable
from etcdup.core.adopt.settings import settings_of_process, value_of
from etcdup.core.adopt.switch_script import Switch
from etcdup.core.adopt.switch_state import SwitchState
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import HostSpec
from etcdup.core.spec.visible import one_line

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.service", re.ASCII)
_UNITS = "/etc/systemd/system"
_OWN = "etcd.service"
_REPLACE = (
    "add new hosts to cluster.yaml, and run `etcdup apply`: they run with the unit of etcdup. Then stop this etcd with "
    "the tool that made it, run `etcdup ctl -- member remove ID`, and delete its host from cluster.yaml"
)


@dataclass(frozen=True)
class ForeignMember:
    """The unit and the process of another tool. After its take-over has begun, only the state is known."""

    state: SwitchState
    unit: str = ""
    pid: int = 0
    user: str = ""
    exe: str = ""
    packages: tuple[str, ...] = ()

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
        refused = tuple(_refuse(host, layout, processes[0])) if len(processes) == 1 else ()
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
    assert process.unit is not None, "a process without a unit is refused"
    return ForeignMember(
        state,
        process.unit.name,
        process.pid,
        one_line(process.user, 64),
        one_line(process.exe.removesuffix(" (deleted)"), 300),
        tuple(one_line(each, 100) for each in process.packages),
    )


def _refuse(host: HostSpec, layout: Layout, process: Process) -> Iterator[Refused]:
    name, unit = host.name, process.unit
    if process.is_pod:
        yield Refused(f"{name}: the kubelet runs etcd from a static pod, which this version does not take over",
                      _REPLACE, name)  # fmt: skip
    elif process.container:
        container = one_line(process.container_name, 64)
        yield Refused(f"{name}: etcd runs in container {container}, which this version does not take over",
                      _REPLACE, name)  # fmt: skip
    elif unit is None:
        yield Refused(
            f"{name}: no unit of systemd starts etcd, so it would not run after a failure", _REPLACE, name
        )
    else:
        yield from _refuse_unit(name, unit, process)
        yield from _refuse_settings(host, layout, process)


def _refuse_unit(name: str, unit: Unit, process: Process) -> Iterator[Refused]:
    shown, fragment = one_line(unit.name, 100), unit.properties.get("FragmentPath", "")
    if not _UNIT_NAME.fullmatch(unit.name):
        yield Refused(
            f"{name}: the name of {shown} has a character that etcdup does not accept", _REPLACE, name
        )
    if unit.properties.get("MainPID") != str(process.pid):
        message = f"{name}: {shown} runs a program that starts etcd, for example a wrapper of a container"
        yield Refused(message, _REPLACE, name)
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
    for flag, wanted, otherwise in (
        ("data-dir", layout.data_dir, f"{found}.etcd"),
        ("wal-dir", layout.wal_dir or "", ""),
    ):
        path = absolute(process, value_of(settings, flag, otherwise)).rstrip("/")
        if path != wanted:
            message = f"{host.name}: its {flag} is {path or 'not set'}, not {wanted or 'without a value'}"
            hint = f"write this directory as `{flag.replace('-', '_')}` of the host in cluster.yaml"
            yield Refused(message, hint, host.name)


def switch_of(found: ForeignMember) -> Switch:
    """Return the switch of a host: the unit that is disabled, and what is renamed.

    A file below /etc goes before that of a package, and a drop-in changes each unit of its name. A unit with another
    name is renamed too, so that nothing starts it by mistake. Files of packages stay.
    """
    if found.unit == _OWN:
        return Switch(found.unit, (("etcd.service.d", f"{_UNITS}/{_OWN}.d"),))
    return Switch(found.unit, (("unit", f"{_UNITS}/{found.unit}"),))
