"""The programs that a host must have: one row each, with the steps that run it.

sh, systemd and most of coreutils are not here. The probe looks for these programs. A plan is refused if one of its
steps needs a program that its host does not have. So etcdup refuses only the plans that run a missing program.
tests/core/host/test_programs.py compares the table with the scripts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from etcdup.core.host.packages import manager_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.plan.adopt_steps import TakeOverMember
from etcdup.core.plan.database_steps import DefragmentOffline
from etcdup.core.plan.host_steps import (
    DeleteArchives,
    InstallBinaries,
    PrepareHost,
    RetireMember,
    SetAside,
    SwitchBinaries,
)
from etcdup.core.plan.member_steps import DetachMember, RestartMember
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import (
    CopyData,
    ForgetRestore,
    FreeSpace,
    PlaceData,
    SalvageArchive,
    SalvageData,
    SealRestore,
    StageRestore,
    UndoData,
)
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.version_steps import CheckV2Store, EnsureRaftSnapshot
from etcdup.core.spec.layout import Layout

# Whether a step of a plan runs the program on this host.
NeededBy = Callable[[Step, HostSeen], bool]

_AS_MEMBER_USER = (
    PrepareHost, InstallBinaries, RetireMember, DetachMember, SetAside, FreeSpace, DeleteArchives, CheckV2Store,
    EnsureRaftSnapshot, DefragmentOffline, TakeOverMember, StageRestore, CopyData, SalvageData, SalvageArchive,
    PlaceData, SealRestore, ForgetRestore, UndoData,
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """A program, the package that contains it on most distributions, and why etcdup runs it.

    A program with a `manager` is needed only on distributions with this package manager.
    """

    name: str
    package: str
    why: str
    needed_by: NeededBy
    manager: str = ""


def _runs_as_member_user(step: Step, seen: HostSeen) -> bool:
    match step:
        case SwitchBinaries(version=version):
            return seen.has_member or version in seen.versions
        case RestartMember(version=version):
            return seen.unit.running_version != version
        case _:
            return isinstance(step, _AS_MEMBER_USER)


def _unpacks(step: Step, _seen: HostSeen) -> bool:
    return isinstance(step, InstallBinaries) and step.source != "package"


def _packs(step: Step, seen: HostSeen) -> bool:
    return _unpacks(step, seen) or isinstance(step, EnsureRaftSnapshot | SalvageData | SalvageArchive)


def _installs_package(step: Step, _seen: HostSeen) -> bool:
    return isinstance(step, InstallBinaries) and step.source == "package"


def _of_manager(manager: str, *names: str) -> tuple[Program, ...]:
    why = "the installation of packages"
    return tuple(Program(name, manager, why, _installs_package, manager) for name in names)


PROGRAMS = (
    Program("flock", "util-linux", "the lock of the cluster", lambda _step, _seen: True),
    Program("setpriv", "util-linux", "commands with the rights of user etcd", _runs_as_member_user),
    Program("sha256sum", "coreutils", "the comparison of files", lambda _step, _seen: True),
    Program("grep", "grep", "the observation of the host", lambda _step, _seen: True),
    Program(
        "systemd-sysusers",
        "systemd",
        "the creation of user etcd",
        lambda step, _seen: isinstance(step, PrepareHost | TakeOverMember),
    ),
    Program(
        "find",
        "findutils",
        "the switch of a member to the unit of etcdup",
        lambda step, _seen: isinstance(step, TakeOverMember),
    ),
    Program("tar", "tar", "the installation of etcd", _unpacks),
    Program("gzip", "gzip", "the installation of etcd, and reading the log of a member", _packs),
    *_of_manager("apt", "apt-get", "apt-mark", "dpkg"),
    *_of_manager("dnf", "dnf"),
    *_of_manager("yum", "yum"),
    *_of_manager("zypper", "zypper"),
)


def program_names(layout: Layout) -> tuple[str, ...]:
    """Return the programs that the probe looks for. A local member runs none of them with root rights."""
    return tuple(program.name for program in PROGRAMS) if layout.supervisor == "systemd" else ()


def missing_programs(steps: Iterable[Step], seen: HostSeen) -> tuple[Refused, ...]:
    """Return a refusal for each program that these steps run on the host, and that the host does not have."""
    own = [step for step in steps if _is_on(step, seen.host)] if seen.missing_programs else []
    return tuple(
        _refused(program, seen)
        for program in _absent(seen)
        if any(program.needed_by(step, seen) for step in own)
    )


def other_missing_programs(steps: Iterable[Step], seen: HostSeen) -> tuple[Refused, ...]:
    """Return the same for the programs that none of these steps runs. Other plans may need them."""
    needed = missing_programs(steps, seen)
    absent = (_refused(program, seen) for program in _absent(seen) if not program.manager)
    return tuple(each for each in absent if each not in needed)


def _absent(seen: HostSeen) -> list[Program]:
    manager = manager_of(seen.distribution)
    return [
        program
        for program in PROGRAMS
        if program.name in seen.missing_programs and program.manager in ("", manager)
    ]


def _refused(program: Program, seen: HostSeen) -> Refused:
    return Refused(
        f"{seen.host} has no {program.name}, which etcdup needs for {program.why}",
        hint=f"install {program.package} on {seen.host}, then run the same command again",
        host=seen.host,
    )


def _is_on(step: Step, host: str) -> bool:
    """Return whether a step can run a command on this host. Each step needs the lock of all hosts."""
    return not isinstance(step, HostStep) or step.host == host
