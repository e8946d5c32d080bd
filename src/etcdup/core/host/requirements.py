"""All that a host must have and allow: one row each.

`apply` refuses before it writes anything, and `plan` and `check` print the same refusals. docs/reference/hosts.md is
made from these rows. What a login must allow is found by the connection, before the probe runs (remote/ssh). Programs
have rows of their own (programs.py).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from etcdup.core.host import folders, machine_faults, outside_settings, path_faults, port_faults
from etcdup.core.host.host_case import HostCase
from etcdup.core.observed.host import HostSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import HostSpec, Spec

# `login`: the connection finds it. `host`: each host, for any plan. `start`: each host on which a plan starts etcd.
# `again`: each host on which a plan starts etcd with the data that it has. `member`: each host that gets a new member.
# A new member needs all but those of `again`.
Who = Literal["login", "host", "start", "again", "member"]
Refuse = Callable[[HostCase], Iterable[Refused]]


@dataclass(frozen=True)
class Requirement:
    """One row. `what` is a sentence for the documentation."""

    who: Who
    what: str
    refuse: Refuse = lambda _case: ()


REQUIREMENTS = (
    Requirement(
        "login", "The login runs `exec sh`, without a question. Output of the login shell is ignored."
    ),
    Requirement(
        "login", "The SSH user is root, or `sudo` runs commands as root, with or without a password."
    ),
    Requirement("login", "The host has sh, GNU coreutils, grep and /proc."),
    Requirement("host", "The SSH user has root rights.", machine_faults.refuse_without_root),
    Requirement(
        "host", "The data directory is empty, or etcdup made it.", machine_faults.refuse_foreign_data
    ),
    Requirement("host", "The log directory is not a mount point.", path_faults.refuse_wal_mount_point),
    Requirement(
        "host",
        "User etcd can enter each directory above the directories of etcd, and owns the log directory.",
        folders.refuse_closed_folders,
    ),
    Requirement("host", "The data directory and the log directory are not links.", path_faults.refuse_links),
    Requirement("start", "No other program uses the ports of etcd.", port_faults.refuse_taken_ports),
    Requirement(
        "start",
        "User etcd may open the ports: only root opens ports below 1024.",
        port_faults.refuse_low_ports,
    ),
    Requirement(
        "start",
        "An interface of the host has `listen_address`, or `address` if that is not set.",
        port_faults.refuse_listen_address,
    ),
    Requirement("again", "User etcd owns the data of the member.", folders.refuse_foreign_data_rights),
    Requirement(
        "again",
        "The file system of the data is writable, and programs can run in /opt/etcd.",
        path_faults.refuse_mounts,
    ),
    Requirement("member", "The architecture is amd64 or arm64.", machine_faults.refuse_arch),
    Requirement("member", "systemd is the init system.", machine_faults.refuse_without_systemd),
    Requirement(
        "member",
        "If there is a user etcd, its UID is not 0, and no other user has it. If there is none, /etc/passwd, "
        "/etc/group, /etc/shadow and /etc/gshadow can be written.",
        machine_faults.refuse_user,
    ),
    Requirement(
        "member", "The login may write files of 64 MiB (`ulimit -f`).", machine_faults.refuse_small_files
    ),
    Requirement("member", "No other etcd runs.", machine_faults.refuse_other_etcd),
    Requirement(
        "member",
        "/etc/systemd/system/etcd.service does not exist, or etcdup wrote it.",
        machine_faults.refuse_foreign_unit_file,
    ),
    Requirement(
        "member",
        "No drop-in of etcd.service, and no environment of systemd, sets variables of etcd, or what runs.",
        outside_settings.refuse_outside_settings,
    ),
    Requirement(
        "member",
        "sshd permits TCP forwarding, or the machine of the operator reaches the client port directly.",
        port_faults.refuse_without_route,
    ),
    Requirement(
        "member",
        "The file systems of /etc, /opt/etcd and the data are writable, and programs can run in /opt/etcd.",
        path_faults.refuse_mounts,
    ),
    Requirement(
        "member",
        "The paths of etcdup do not exist, or they are directories or links as etcdup makes them.",
        path_faults.refuse_other_kinds,
    ),
    Requirement(
        "member",
        "256 MiB are free for the data, 128 MiB for a separate log directory and in /opt/etcd, 1 MiB in /etc and /run, "
        "and 64 inodes in each.",
        path_faults.refuse_full_disks,
    ),
)


def refuse_host(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return what forbids any plan on this host."""
    return _refused(("host",), spec, host, seen)


def refuse_start_on(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return what prevents a start of etcd on this host."""
    return _refused(("start",), spec, host, seen)


def refuse_start_again(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return what prevents a start of etcd on this host with the data that it has."""
    return _refused(("host", "start", "again"), spec, host, seen)


def refuse_new_member(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Return what forbids a new member on this host, without missing programs."""
    return _refused(("host", "start", "member"), spec, host, seen)


def _refused(who: tuple[Who, ...], spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    case = HostCase(spec, host, seen)
    return tuple(refused for row in REQUIREMENTS if row.who in who for refused in row.refuse(case))
