"""The commands of a FakeMachine: those that etcdup runs, and a few that the contract suite needs."""

import json
from bisect import bisect_right
from copy import copy
from pathlib import PurePosixPath

from etcdup.core.adopt.marker import REMOVE_MARKER
from etcdup.core.adopt.scripts import processes_argv
from etcdup.core.adopt.switch_commands import CHECK
from etcdup.core.adopt.switch_state import STATE
from etcdup.core.host.actions import PAUSE_UNIT, RESTART_UNIT
from etcdup.core.host.archives import ARCHIVES_SCRIPT
from etcdup.core.host.commands import MOVE_IF_THERE, ONLY_LOG, UNPACK
from etcdup.core.host.log_files import LOG_FILE
from etcdup.core.host.member_user import OWN_FOLDER
from etcdup.core.host.tool_links import LINK_TOOLS, UNLINK_TOOLS
from etcdup.core.host.unproved import KEEP, OTHER_VERSION, PUT_BACK, RUN_BINARY
from etcdup.core.observed.connections import CONNECTIONS
from etcdup.core.observed.peer_ports import PEER_PORTS
from etcdup.core.observed.probe import PROBE
from etcdup.core.recovery.disk_salvage import APPEND, END_COPY_SERVER, SERVE
from etcdup.core.recovery.disk_space import DISK_SPACE_SCRIPT
from etcdup.core.restore.commands import RESTORE
from etcdup.core.restore.data_copy import SIZE_SCRIPT
from etcdup.errors import CommandFailed
from etcdup.remote.lock_scripts import SHOW_HOLDER
from etcdup.testing.data_scripts import DATA_SCRIPTS
from etcdup.testing.gateway_client import print_connections
from etcdup.testing.machine import UNIT, Answer, Command, FakeMachine, Node
from etcdup.testing.member_user import enter, own_command, own_folder, require_safe_paths
from etcdup.testing.probe import invocation_id, run_probe
from etcdup.testing.process import converge
from etcdup.testing.salvage import append_log, end_copy_server, log_file, serve_copy, stop_serving_copy
from etcdup.testing.shell_programs import programs_of, unknown_programs
from etcdup.testing.switch import SWITCH_SCRIPTS, print_processes
from etcdup.testing.systemd import start_unit

OK: Answer = (0, "", "")
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
}


def is_changing(argv: tuple[str, ...]) -> bool:
    """Return whether a command may change the machine: tests kill etcdup only after such commands."""
    argv = own_command(argv)
    return not (
        argv[0] in READ_ONLY
        or not UNCHANGING.isdisjoint(argv)
        or argv[-1] == "--version"
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
        return _etcd_version(machine, argv)
    if argv[0].endswith("/etcdutl"):
        return _etcdutl(machine, argv)
    if argv[2:3] == (RESTORE,):
        return _restore_staged(machine, argv[4], argv[5:])
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


def _etcd_version(machine: FakeMachine, argv: tuple[str, ...]) -> Answer:
    node = machine.file(argv[0])
    if node is None:
        return (127, "", f"{argv[0]}: not found")
    return (0, f"etcd Version: {PurePosixPath(argv[0]).parent.name.strip('.').removesuffix('.new')}\n", "")


def _etcdutl(machine: FakeMachine, argv: tuple[str, ...]) -> Answer:
    """Run etcdutl: `snapshot restore`, or `check v2store` with the output of 3.5.33."""
    if machine.file(argv[0]) is None:
        return (127, "", f"{argv[0]}: not found")
    if argv[1:3] == ("snapshot", "restore"):
        return _restore(machine, argv)
    if argv[1:3] != ("check", "v2store"):
        return (1, "", f'Error: unknown command "{argv[1]}" for "etcdutl"')
    if machine.v2store:
        return (1, "", "Error: detected custom content in v2store")
    return (0, "No custom content found in both v2store and WAL records.\n", "")


def _restore(machine: FakeMachine, argv: tuple[str, ...]) -> Answer:
    """Restore a member of the cluster that token and URLs determine, with the keys of the file (rules 4, 56).

    The format of a snapshot here is that of FakeCluster.load.
    """
    options = dict(zip(argv[4::2], argv[5::2], strict=False))
    folder, node = options["--data-dir"], machine.file(argv[3])
    if node is None:
        return (1, "", f"Error: open {argv[3]}: no such file or directory")
    if machine.children(folder):
        return (1, "", f'Error: data-dir "{folder}" not empty or could not be read')
    initial: dict[str, tuple[str, ...]] = {}
    for part in options["--initial-cluster"].split(","):
        name, url = part.split("=", 1)
        initial[name] = (*initial.get(name, ()), url)
    etcd = machine.network.etcd
    cluster, member_id = etcd.bootstrap(options["--initial-cluster-token"], initial, options["--name"])
    cluster.load(node.content or b"")
    wal = f"{options['--wal-dir']}/0.wal" if "--wal-dir" in options else f"{folder}/member/wal/0.wal"
    machine.put(wal, f"{cluster.cluster_id} {member_id} 0".encode(), 0o600)
    machine.put(f"{folder}/member/snap/db", node.content or b"", 0o600)
    return OK


def _restore_staged(machine: FakeMachine, staged: str, argv: tuple[str, ...]) -> Answer:
    """Run the tool that restores to a new directory in the staged one, and move the data up."""
    before = set(machine.nodes)
    status, out, err = _etcdutl(machine, argv)
    for path in machine.nodes.keys() - before:
        node = machine.nodes[path]
        node.owner, node.mode = "etcd:etcd", 0o700 if node.content is None else 0o600
    if status == 0:
        machine.network.count(machine.name, ("restore", f"{staged}/new"))
        machine.move(f"{staged}/new/member", f"{staged}/member")
        machine.remove(f"{staged}/new")
    return (status, out, err)


def _kib(machine: FakeMachine, pairs: tuple[str, ...]) -> int:
    """Return the size of all sources that have no copy yet."""
    wanted = (s for s, copied in zip(pairs[::2], pairs[1::2], strict=True) if copied not in machine.nodes)
    below = tuple(f"{source}/" for source in wanted)
    found = [node.content or b"" for path, node in machine.nodes.items() if path.startswith(below)]
    return sum(len(content) // 1024 + 1 for content in found)


def _size(machine: FakeMachine, path: str) -> int:
    below = (node for each, node in machine.nodes.items() if each == path or each.startswith(path + "/"))
    return sum(len(node.content or b"") for node in below)


def _disk_usage(machine: FakeMachine, data: str, versions: str, used: tuple[str, ...]) -> str:
    """Return the output of the disk space script. Each machine has one disk here."""
    spare = [f"{versions}/{name}" for name in machine.children(versions) if name not in (*used, "current")]
    siblings = [
        f"{PurePosixPath(data).parent}/{name}" for name in machine.children(str(PurePosixPath(data).parent))
    ]
    copies = [
        path for path in siblings if path.startswith((f"{data}.cold-", f"{data}.aside-", f"{data}.salvage"))
    ]
    lines = [
        ("spare" if path in spare or path.endswith((".part", ".salvage")) else "kept", path)
        for path in (*spare, *copies)
    ]
    return "".join(f"{kind} {_size(machine, path) // 1024} {path}\n" for kind, path in lines)


def _archives(machine: FakeMachine, paths: tuple[str, ...]) -> str:
    """Return the output of the script that measures archives. All of them are as old as the epoch."""
    return "".join(f"{_size(machine, path) // 1024} 0 {path}\n" for path in paths)


def _paths(machine: FakeMachine, argv: tuple[str, ...]) -> list[str]:
    return [machine.path(each) for each in argv[1:] if not each.startswith("-")]


def _mkdir(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    for path in _paths(machine, argv):
        machine.make_dir(path)
    return OK


def _mv(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    source, target = _paths(machine, argv)
    if source not in machine.nodes:
        return (1, "", f"mv: cannot stat '{source}': No such file or directory")
    if machine.is_dir(target) and machine.nodes[target].link is None and machine.children(target):
        return (1, "", f"mv: cannot move '{source}' to '{target}': Directory not empty")
    machine.move(source, target)
    return OK


def _ln(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    *targets, where = (each for each in argv[1:] if not each.startswith("-"))
    into = len(targets) > 1 or (machine.is_dir(where) and machine.nodes[where].link is None)
    for target in targets:
        path = f"{where}/{PurePosixPath(target).name}" if into else where
        machine.nodes[path] = Node(link=target)
    return OK


def _tool_links(machine: FakeMachine, make: bool, versions: str, links: str, *tools: str) -> Answer:
    for tool in tools:
        path, node = f"{links}/{tool}", machine.nodes.get(f"{links}/{tool}")
        own = node is not None and (node.link or "").startswith(f"{versions}/")
        if make and (own or node is None):
            machine.nodes[path] = Node(link=f"{versions}/current/{tool}")
        elif own and not make:
            machine.remove(path)
    return OK


def _rm(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    for path in _paths(machine, argv):
        machine.free_bytes += _size(machine, path)
        machine.remove(path)
    return OK


def _remove_marker(machine: FakeMachine, path: str) -> Answer:
    machine.remove(path)
    folder = str(PurePosixPath(path).parent)
    if not machine.children(folder):
        machine.remove(folder)
    return OK


def _tar(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """Unpack the programs of etcd, whatever the archive contains."""
    folder = argv[argv.index("-C") + 1]
    if not stdin.startswith(b"\x1f\x8b"):
        return (2, "", "gzip: stdin: not in gzip format")
    if len(stdin) > machine.free_bytes:
        return (2, "", "tar: etcd: Cannot write: No space left on device")
    for tool in ("etcd", "etcdctl", "etcdutl"):
        machine.put(f"{folder}/{tool}", b"\x7fELF " + tool.encode(), 0o755)
    return OK


def _unpack(machine: FakeMachine, fresh: str, target: str, archive: bytes) -> Answer:
    """Run the commands of the script, and count each: tests kill etcdup between them."""
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


def _run_binary(machine: FakeMachine, folder: str, version: str) -> Answer:
    path = machine.real(f"{folder}/etcd")
    node = machine.file(path)
    if node is None or not (node.content or b"").startswith(b"\x7fELF"):
        return (1, "", f"{path}: cannot execute binary file: Exec format error")
    return OK if PurePosixPath(path).parent.name == version else (1, "", f"{path} is not etcd {version}")


def _keep(machine: FakeMachine, kept: str, current: str, pki: str, *files: str) -> Answer:
    """Run the commands of the script for each file, and count each: tests kill etcdup between them."""
    if kept in machine.nodes:
        return OK
    machine.remove(f"{kept}.new")
    machine.make_dir(f"{kept}.new/{PurePosixPath(pki).name}")
    machine.network.count(machine.name, ("mkdir", f"{kept}.new"))
    inside = [f"{pki}/{name}" for name in machine.children(pki)]
    for path in (current, *inside, *files):
        if path in machine.nodes:
            below = f"{PurePosixPath(pki).name}/" if path in inside else ""
            machine.nodes[f"{kept}.new/{below}{PurePosixPath(path).name}"] = copy(machine.nodes[path])
    machine.move(f"{kept}.new", kept)
    return OK


def _put_back(machine: FakeMachine, kept: str, current: str, pki: str, *files: str) -> Answer:
    """Run the commands of the script for each file, and count each: tests kill etcdup between them."""
    if kept not in machine.nodes:
        return OK
    certs = f"{kept}/{PurePosixPath(pki).name}"
    for name in machine.children(certs):
        machine.nodes[f"{pki}/{name}"] = copy(machine.nodes[f"{certs}/{name}"])
        machine.network.count(machine.name, ("mv", f"{pki}/{name}"))
    if machine.nodes[f"{kept}/{PurePosixPath(current).name}"].link != machine.nodes[current].link:
        return (OTHER_VERSION, "", "")
    for path in files:
        machine.nodes[path] = copy(machine.nodes[f"{kept}/{PurePosixPath(path).name}"])
        machine.network.count(machine.name, ("mv", path))
    machine.remove(kept)
    return OK


def _sysusers(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    machine.users.add("etcd")
    return OK


def _systemctl(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
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


def _tried_ports(machine: FakeMachine, pairs: tuple[str, ...]) -> str:
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


def _sh(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    script, arguments = argv[2], argv[4:]
    if script == PROBE:
        return (0, run_probe(machine, arguments), "")
    if script == PEER_PORTS:
        return (0, _tried_ports(machine, arguments[1:]), "")
    if script == UNPACK:
        _user, fresh, target, *_ = arguments
        return _unpack(machine, fresh, target, stdin)
    if script == RUN_BINARY:
        return _run_binary(machine, *arguments[1:])
    if script == KEEP:
        return _keep(machine, *arguments)
    if script == PUT_BACK:
        return _put_back(machine, *arguments)
    if script in SWITCH_SCRIPTS:
        return SWITCH_SCRIPTS[script](machine, *arguments)
    if script == PROCESSES:
        return (0, print_processes(machine), "")
    if script == REMOVE_MARKER:
        return _remove_marker(machine, *arguments)
    if script == OWN_FOLDER:
        error = own_folder(machine, *arguments[1:])
        return (1, "", error) if error else OK
    if script == ONLY_LOG:
        return OK
    if script in DATA_SCRIPTS:
        return DATA_SCRIPTS[script](machine, arguments, stdin)
    if script == SIZE_SCRIPT:
        return (0, f"{_kib(machine, arguments)}\n", "")
    if script == DISK_SPACE_SCRIPT:
        return (0, _disk_usage(machine, arguments[0], arguments[1], arguments[2:]), "")
    if script == ARCHIVES_SCRIPT:
        return (0, _archives(machine, arguments), "")
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
        return _tool_links(machine, script == LINK_TOOLS, *arguments)
    if script == CONNECTIONS:
        return (0, print_connections(machine), "")
    if script in (RESTART_UNIT, PAUSE_UNIT):
        _systemctl(machine, ("systemctl", "stop", "etcd.service"), stdin)
        return _systemctl(machine, ("systemctl", "start", "--no-block", "etcd.service"), stdin)
    if script.startswith("exit "):
        return (int(script.split()[1]), "", "")
    return (127, "", "the fake has no such shell script")


def _cat(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    if len(argv) == 1:
        return (0, stdin.decode(errors="replace"), "")
    node = machine.file(argv[-1])
    if node is None or node.content is None:
        return (1, "", f"cat: {argv[-1]}: No such file or directory")
    return (0, node.content.decode(errors="replace"), "")


def _printf(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """Support only `%s` and `%s\\n`, repeated for each argument as printf does."""
    form = argv[1].replace("\\n", "\n")
    if "%s" not in form:
        return (0, form, "")
    return (0, "".join(form.replace("%s", each) for each in argv[2:]), "")


def _log(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    if "--output=json" not in argv:
        return (0, "\n".join(machine.log), "")
    entries = (
        {"MESSAGE": line, "_SYSTEMD_INVOCATION_ID": invocation_id(bisect_right(machine.starts, number))}
        for number, line in enumerate(machine.log)
    )
    count = next(int(each.removeprefix("--lines=")) for each in argv if each.startswith("--lines="))
    return (0, "\n".join(map(json.dumps, list(entries)[-count:])), "")


COMMANDS: dict[str, Command] = {
    "mkdir": _mkdir,
    "mv": _mv,
    "ln": _ln,
    "rm": _rm,
    "tar": _tar,
    "systemd-sysusers": _sysusers,
    "systemctl": _systemctl,
    "sh": _sh,
    "cat": _cat,
    "head": _cat,
    "printf": _printf,
    "journalctl": _log,
    "tail": _log,
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
