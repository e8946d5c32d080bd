"""The commands of a FakeMachine: those that etcdup runs, and a few that the contract suite needs."""

from pathlib import PurePosixPath

from etcdup.core.adopt.marker import REMOVE_MARKER
from etcdup.core.adopt.scripts import processes_argv
from etcdup.core.adopt.switch_commands import CHECK
from etcdup.core.adopt.switch_state import STATE
from etcdup.core.host.actions import PAUSE_UNIT, RESTART_UNIT
from etcdup.core.host.archive_commands import MOVE_IF_THERE
from etcdup.core.host.archives import ARCHIVES_SCRIPT
from etcdup.core.host.install_commands import ONLY_LOG, UNPACK
from etcdup.core.host.log_files import LOG_FILE
from etcdup.core.host.member_user import OWN_FOLDER
from etcdup.core.host.offline_defrag import DEFRAG_STOPPED
from etcdup.core.host.tool_links import LINK_TOOLS, UNLINK_TOOLS
from etcdup.core.host.unproved import KEEP, PUT_BACK, RUN_BINARY
from etcdup.core.observed.connections import CONNECTIONS
from etcdup.core.observed.peer_ports import PEER_PORTS
from etcdup.core.observed.probe import PROBE
from etcdup.core.recovery.disk_salvage import APPEND, END_COPY_SERVER, SERVE
from etcdup.core.recovery.disk_space import DISK_SPACE_SCRIPT
from etcdup.core.restore.data_copy import SIZE_SCRIPT
from etcdup.core.restore.scripts import RESTORE
from etcdup.errors import CommandFailed
from etcdup.remote.lock_scripts import SHOW_HOLDER
from etcdup.testing.copied_programs import PROGRAM_SCRIPTS
from etcdup.testing.data_scripts import DATA_SCRIPTS
from etcdup.testing.etcd_commands import (
    defragment_stopped,
    keep_files,
    put_files_back,
    restore_staged,
    run_etcd_binary,
    run_etcdutl,
    run_tar,
    show_etcd_version,
)
from etcdup.testing.file_commands import (
    OK,
    change_tool_links,
    missing_kib,
    remove_marker,
    run_cat,
    run_ln,
    run_mkdir,
    run_mv,
    run_rm,
    show_archives,
    show_disk_usage,
)
from etcdup.testing.gateway_client import print_connections
from etcdup.testing.machine import Answer, Command, FakeMachine
from etcdup.testing.member_user import enter, own_command, own_folder, require_safe_paths
from etcdup.testing.probe import run_probe
from etcdup.testing.salvage import append_log, end_copy_server, log_file, serve_copy, stop_serving_copy
from etcdup.testing.shell_programs import programs_of, unknown_programs
from etcdup.testing.switch import SWITCH_SCRIPTS, print_processes
from etcdup.testing.systemctl import run_journalctl, run_systemctl, run_sysusers, show_tried_ports

READ_ONLY = frozenset({"cat", "head", "printf", "sleep", "true", "false", "journalctl", "tail", "sha256sum"})
PROCESSES = processes_argv()[2]
UNCHANGING = {
    PROBE,
    PEER_PORTS,
    CONNECTIONS,
    SIZE_SCRIPT,
    DISK_SPACE_SCRIPT,
    ARCHIVES_SCRIPT,
    LOG_FILE,
    SHOW_HOLDER,
    STATE,
    CHECK,
    PROCESSES,
    *PROGRAM_SCRIPTS,
}


def is_changing(argv: tuple[str, ...]) -> bool:
    """Return whether a command may change the machine: tests kill etcdup only after such commands."""
    argv = own_command(argv)
    return not (
        argv[0] in READ_ONLY
        or not UNCHANGING.isdisjoint(argv)
        or argv[-1] in ("--version", "version")
        or argv[2:3] == (RUN_BINARY,)
        or "v2store" in argv
    )


async def execute(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes, timeout_s: float) -> Answer:
    """Run a command. An unknown command has exit status 127."""
    if is_changing(argv):
        require_safe_paths(machine, argv)
    if missing := require_programs(machine, argv):
        return (127, "", f"sh: 1: {missing}: not found")
    enter(machine, argv)
    argv = own_command(argv)
    if argv[0] == "sleep":
        return await _sleep(machine, argv, timeout_s)
    if argv[-1] == "--version" and argv[0].endswith("/etcd"):
        return show_etcd_version(machine, argv)
    if argv[0].endswith("/etcdutl"):
        return run_etcdutl(machine, argv)
    if argv[2:3] == (DEFRAG_STOPPED,):
        return await defragment_stopped(machine, argv[7:])
    if argv[2:3] == (RESTORE,):
        return restore_staged(machine, argv[4], argv[5:])
    command = COMMANDS.get(argv[0])
    if command is None:
        return (127, "", f"{argv[0]}: command not found")
    return command(machine, argv, stdin)


def require_programs(machine: FakeMachine, argv: tuple[str, ...]) -> str:
    """Return a program that the command runs and the machine has not.

    Fail the test if the command runs a program that core/host/programs.py does not have.
    """
    if PROCESSES in argv:  # It runs each program only if the host has it.
        return ""
    if not machine.network.any_program and (unknown := [*unknown_programs(argv)]):
        raise AssertionError(f"not in the table of programs: {', '.join(unknown)}: {argv}")
    if PROBE in argv:  # It only looks for them.
        return ""
    return next(iter(sorted(machine.missing_programs & programs_of(argv))), "")


async def _sleep(machine: FakeMachine, argv: tuple[str, ...], timeout_s: float) -> Answer:
    wanted = float(argv[1])
    await machine.network.sleep(min(wanted, timeout_s))
    if wanted > timeout_s:
        raise CommandFailed(machine.name, " ".join(argv), None, "", "")
    return OK


def _unpack(machine: FakeMachine, fresh: str, target: str, archive: bytes) -> Answer:
    """Run the commands of the script, and count each: tests kill etcdup between them."""
    if machine.is_dir(target):
        machine.remove(target)  # The script replaces its programs.
    for argv in (
        ("rm", "-rf", "--", fresh),
        ("mkdir", "-p", "--", fresh),
        ("tar", "-xz", "-C", fresh),
        ("mv", "-T", "--", fresh, target),
    ):
        status, out, err = COMMANDS[argv[0]](machine, argv, archive)
        if status != 0:
            return (status, out, err)
        machine.network.count(machine.name, argv)
        if not machine.powered:
            break
    return OK


def _sh(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    script, arguments = argv[2], argv[4:]
    if script == PROBE:
        return (0, run_probe(machine, arguments), "")
    if script == PEER_PORTS:
        return (0, show_tried_ports(machine, arguments[1:]), "")
    if script == UNPACK:
        _user, fresh, target, *_ = arguments
        return _unpack(machine, fresh, target, stdin)
    if script == RUN_BINARY:
        return run_etcd_binary(machine, *arguments[1:])
    if script == KEEP:
        return keep_files(machine, *arguments)
    if script == PUT_BACK:
        return put_files_back(machine, *arguments)
    if script in SWITCH_SCRIPTS:
        return SWITCH_SCRIPTS[script](machine, *arguments)
    if script in PROGRAM_SCRIPTS:
        return PROGRAM_SCRIPTS[script](machine, *arguments)
    if script == PROCESSES:
        return (0, print_processes(machine), "")
    if script == REMOVE_MARKER:
        return remove_marker(machine, *arguments)
    if script == OWN_FOLDER:
        error = own_folder(machine, *arguments[1:])
        return (1, "", error) if error else OK
    if script == ONLY_LOG:
        return OK
    if script in DATA_SCRIPTS:
        return DATA_SCRIPTS[script](machine, arguments, stdin)
    if script == SIZE_SCRIPT:
        return (0, f"{missing_kib(machine, arguments)}\n", "")
    if script == DISK_SPACE_SCRIPT:
        return (0, show_disk_usage(machine, arguments[0], arguments[1], arguments[2:]), "")
    if script == ARCHIVES_SCRIPT:
        return (0, show_archives(machine, arguments), "")
    if script == LOG_FILE:
        return log_file(machine, *arguments)
    if script == APPEND:
        return append_log(machine, *arguments)
    if script == END_COPY_SERVER:
        return end_copy_server(machine)
    if script == MOVE_IF_THERE:
        path, folder = arguments
        if path in machine.nodes:
            machine.move(path, f"{folder}/{PurePosixPath(path).name}")
        return OK
    if script == SHOW_HOLDER:
        return (0, machine.locks.get(arguments[0], ""), "")
    if script in (LINK_TOOLS, UNLINK_TOOLS):
        return change_tool_links(machine, script == LINK_TOOLS, *arguments)
    if script == CONNECTIONS:
        return (0, print_connections(machine), "")
    if script in (RESTART_UNIT, PAUSE_UNIT):
        run_systemctl(machine, ("systemctl", "stop", "etcd.service"), stdin)
        return run_systemctl(machine, ("systemctl", "start", "--no-block", "etcd.service"), stdin)
    if script.startswith("exit "):
        return (int(script.split()[1]), "", "")
    return (127, "", "the fake has no such shell script")


def _printf(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """Support only `%s` and `%s\\n`, repeated for each argument as printf does."""
    form = argv[1].replace("\\n", "\n")
    if "%s" not in form:
        return (0, form, "")
    return (0, "".join(form.replace("%s", each) for each in argv[2:]), "")


COMMANDS: dict[str, Command] = {
    "mkdir": run_mkdir,
    "mv": run_mv,
    "ln": run_ln,
    "rm": run_rm,
    "tar": run_tar,
    "systemd-sysusers": run_sysusers,
    "systemctl": run_systemctl,
    "sh": _sh,
    "cat": run_cat,
    "head": run_cat,
    "printf": _printf,
    "journalctl": run_journalctl,
    "tail": run_journalctl,
    "true": lambda machine, argv, stdin: OK,
    "false": lambda machine, argv, stdin: (1, "", ""),
}


def start_held_command(machine: FakeMachine, argv: tuple[str, ...]) -> tuple[list[str], str, str]:
    """Return the output of a held command, and the two keys that release it.

    Only a lock and a served copy have output.
    """
    if SERVE in argv:
        return serve_copy(machine, argv), SERVE, ""
    if "etcdup-lock" not in argv:
        return [], "", ""
    path, who = argv[4], argv[5]
    if path in machine.locks:
        return ["held", machine.locks[path]], "", ""
    machine.locks[path] = who
    return ["locked"], path, who


def release_held_command(machine: FakeMachine, key: str, who: str) -> None:
    if key == SERVE:
        stop_serving_copy(machine)
    elif machine.locks.get(key) == who:
        del machine.locks[key]
