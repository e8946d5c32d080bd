"""The table of programs has each program that a script runs on a host. FakeMachine checks the same for each command."""

from types import ModuleType

import pytest

from etcdup.core.adopt import switch_commands
from etcdup.core.audit import inspection
from etcdup.core.host import (
    actions,
    archive_commands,
    log_files,
    member_user,
    offline_defrag,
    packages,
    tool_links,
    unproved,
)
from etcdup.core.host import install_commands as host_install_commands
from etcdup.core.host.packages import install_commands
from etcdup.core.host.programs import PROGRAMS
from etcdup.core.observed import connections, probe
from etcdup.core.recovery import disk_salvage, disk_space
from etcdup.core.restore import data_copy
from etcdup.core.restore import scripts as restore_scripts
from etcdup.core.spec.version import parse_version
from etcdup.remote import scripts
from etcdup.remote.host import HostLock
from etcdup.remote.lock_scripts import lock_argv
from etcdup.testing.shell_programs import KNOWN, programs_in, programs_of, unknown_programs

MODULES = (
    actions, archive_commands, host_install_commands, log_files, member_user, offline_defrag, packages, tool_links,
    unproved, connections, probe, disk_salvage, disk_space, restore_scripts, data_copy, inspection, switch_commands,
)  # fmt: skip


def scripts_of(module: ModuleType) -> dict[str, str]:
    values = {name: value for name, value in vars(module).items() if name.isupper()}
    return {name: value for name, value in values.items() if isinstance(value, str) and "\n" in value.strip()}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.__name__))
def test_each_script_runs_known_programs(module: ModuleType) -> None:
    unknown = {name: programs_in(script) - KNOWN for name, script in scripts_of(module).items()}
    assert {name: programs for name, programs in unknown.items() if programs} == {}


@pytest.mark.parametrize("manager", ["apt", "dnf", "yum", "zypper"])
def test_each_package_manager_runs_known_programs(manager: str) -> None:
    for argv in install_commands(manager, parse_version("3.6.14"), "/opt/etcd", "etcd", unit_is_ours=False):
        assert [*unknown_programs(argv)] == []


def test_the_lock_and_the_transport_run_known_programs() -> None:
    lock = HostLock("/run/etcdup/lock", "line")
    argv = scripts.in_sequence([(("true",), False)], lock)
    assert [*unknown_programs(argv)] == []
    assert [*unknown_programs(lock_argv(lock))] == []
    assert [*unknown_programs(scripts.write_files([("/etc/a", 0o640, "root:root", 1)]))] == []
    assert "flock" in programs_of(argv)


def test_no_row_is_left_over() -> None:
    used = {
        name for module in MODULES for script in scripts_of(module).values() for name in programs_in(script)
    }
    for manager in ("apt", "dnf", "yum", "zypper"):
        for argv in install_commands(
            manager, parse_version("3.6.14"), "/opt/etcd", "etcd", unit_is_ours=False
        ):
            used |= programs_of(argv)
    used |= programs_of(lock_argv(HostLock("/run/etcdup/lock", "line")))
    # It is an argument of a command, not a word of a script.
    used.add("systemd-sysusers")
    assert {program.name for program in PROGRAMS} - used == set()


@pytest.mark.parametrize(
    ("script", "programs"),
    [
        ("a=$(first | second) third", {"first", "second", "third"}),
        ("f() { one; }\nf && exec two", {"one", "two"}),
        ("case $(one) in two | three) four ;; *) five ;; esac; six", {"one", "four", "five", "six"}),
        ('timeout -k 2 "$1" one x; env -i A=1 two', {"timeout", "one", "env", "two"}),
        ("command -v one >/dev/null || { echo 'two three' >&2; exit 1; }", {"one"}),
        ('x="$(one "$(two)")" # three\nfor each in four; do five <"$each"; done', {"one", "two", "five"}),
        ("trap 'one -f' EXIT\n$as sh -c 'two; three'", {"one", "sh", "two", "three"}),
        ("n=$((n + 1)); [ -e ${a%%/*} ] || one 2>&1", {"one"}),
    ],
)
def test_programs_are_the_first_words_of_commands(script: str, programs: set[str]) -> None:
    assert programs_in(script) == programs
