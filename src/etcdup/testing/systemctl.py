"""The commands of a FakeMachine for systemd and its journal."""

import json
from bisect import bisect_right

from etcdup.testing.file_commands import OK
from etcdup.testing.machine import UNIT, Answer, FakeMachine
from etcdup.testing.probe import invocation_id
from etcdup.testing.process import converge
from etcdup.testing.systemd import start_unit


def run_sysusers(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    machine.users.add("etcd")
    return OK


def run_systemctl(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    verb = argv[1]
    node = machine.file(UNIT)
    # systemd reads a unit at its first use. After that it reads it again only at daemon-reload.
    if verb == "daemon-reload" or (machine.loaded_unit is None and node is not None):
        machine.loaded_unit = node.content if node else None
    if verb == "daemon-reload":
        return OK
    if verb in ("mask", "unmask"):
        machine.masked = verb == "mask"
    elif machine.loaded_unit is None:
        return (5, "", "Unit etcd.service not found.")
    elif machine.masked and verb in ("start", "restart", "enable"):
        return (1, "", "Unit etcd.service is masked.")
    if verb in ("enable", "disable"):
        machine.enabled = verb == "enable"
        if "--no-reload" not in argv:
            machine.loaded_unit = node.content if node else None
    if verb in ("start", "restart") or (verb == "enable" and "--now" in argv):
        _start(machine, again=verb == "restart")
    if verb == "stop" or ("--now" in argv and verb in ("disable", "mask")):
        _stop(machine)
    return OK


def show_tried_ports(machine: FakeMachine, pairs: tuple[str, ...]) -> str:
    lines = (
        f"{address} {port} {machine.blocked_why}"
        for address, port in zip(pairs[::2], pairs[1::2], strict=True)
        if address in machine.blocked
    )
    return "\n".join(("@firewall", *machine.firewall.split(), "@ports", *lines)) + "\n"


def _start(machine: FakeMachine, *, again: bool) -> None:
    """Start the unit. systemd keeps its restart count if the unit waits for a restart: only a stop resets it."""
    if again or machine.process is None:
        machine.restarts = machine.restarts if machine.failed_at is not None else 0
        start_unit(machine)


def _stop(machine: FakeMachine) -> None:
    """Stop the unit. A leader transfers its leadership first (rule 39), so the others have a leader at once."""
    machine.process, machine.failed_at, machine.restarts, machine.queued = None, None, 0, False
    converge(machine.network)


def run_journalctl(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    if "--output=json" not in argv:
        return (0, "\n".join(machine.log), "")
    entries = (
        {"MESSAGE": line, "_SYSTEMD_INVOCATION_ID": invocation_id(bisect_right(machine.starts, number))}
        for number, line in enumerate(machine.log)
    )
    count = next(int(each.removeprefix("--lines=")) for each in argv if each.startswith("--lines="))
    return (0, "\n".join(map(json.dumps, list(entries)[-count:])), "")
