"""The commands that a FakeMachine knows: those that etcdup runs, and a few that the contract suite needs."""

from pathlib import PurePosixPath

from etcdup.core.commands import MOVE_IF_THERE, UNPACK
from etcdup.core.probe import PROBE
from etcdup.errors import CommandFailed
from etcdup.remote.fake import Answer, Command, FakeMachine, Node
from etcdup.remote.fake_etcd import Data, FakeProcess

OK: Answer = (0, "", "")
UNIT = "/etc/systemd/system/etcd.service"
READ_ONLY = frozenset({"cat", "printf", "sleep", "true", "false", "journalctl", "tail", "sha256sum"})


def changes(argv: tuple[str, ...]) -> bool:
    """Whether a command may change the machine: only such commands count as places to be cut at."""
    return not (argv[0] in READ_ONLY or PROBE in argv or argv[-1] == "--version")


async def execute(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes, timeout_s: float) -> Answer:
    """Runs a command; one that is not known ends with 127."""
    if argv[0] == "sleep":
        return await _sleep(machine, argv, timeout_s)
    if argv[-1] == "--version" and argv[0].endswith("/etcd"):
        return _etcd_version(machine, argv)
    command = COMMANDS.get(argv[0])
    if command is None:
        return (127, "", f"{argv[0]}: command not found")
    return command(machine, argv, stdin)


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


def _paths(argv: tuple[str, ...]) -> list[str]:
    return [each for each in argv[1:] if not each.startswith("-")]


def _mkdir(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    for path in _paths(argv):
        machine.make_dir(path)
    return OK


def _chmod(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    mode, *paths = _paths(argv)
    for path in paths:
        machine.nodes[machine.real(path)].mode = int(mode, 8)
    return OK


def _chown(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    owner, *paths = _paths(argv)
    if "etcd" in owner and "etcd" not in machine.users:
        return (1, "", f"chown: invalid user: '{owner}'")
    for path in paths:
        machine.nodes[machine.real(path)].owner = owner
    return OK


def _mv(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    source, target = _paths(argv)
    if source not in machine.nodes:
        return (1, "", f"mv: cannot stat '{source}': No such file or directory")
    if machine.is_dir(target) and machine.nodes[target].link is None and machine.children(target):
        return (1, "", f"mv: cannot move '{source}' to '{target}': Directory not empty")
    machine.move(source, target)
    return OK


def _ln(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    *targets, where = _paths(argv)
    into = len(targets) > 1 or (machine.is_dir(where) and machine.nodes[where].link is None)
    for target in targets:
        path = f"{where}/{PurePosixPath(target).name}" if into else where
        machine.nodes[path] = Node(link=target)
    return OK


def _rm(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    for path in _paths(argv):
        machine.remove(path)
    return OK


def _tar(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """Unpacks nothing but what an archive of etcd holds."""
    folder = argv[argv.index("-C") + 1]
    if len(stdin) > machine.free_bytes:
        return (2, "", "tar: etcd: Cannot write: No space left on device")
    for tool in ("etcd", "etcdctl", "etcdutl"):
        machine.put(f"{folder}/{tool}", b"\x7fELF " + tool.encode(), 0o755)
    return OK


def _unpack(machine: FakeMachine, fresh: str, target: str, archive: bytes) -> Answer:
    """The script's own commands, each a place to be cut at."""
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
    return OK


def _install(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """`install -d -m MODE [-o USER -g GROUP] FOLDER...`."""
    words = list(argv[2:])
    options = {}
    while words[0].startswith("-"):
        flag, value = words.pop(0), words.pop(0)
        options[flag] = value
    owner = f"{options.get('-o', 'root')}:{options.get('-g', 'root')}"
    if "etcd" in owner and "etcd" not in machine.users:
        return (1, "", "install: invalid user: 'etcd'")
    for path in words:
        machine.make_dir(path)
        node = machine.nodes[machine.real(path)]
        node.mode, node.owner = int(options["-m"], 8), owner
    return OK


def _sysusers(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    machine.users.add("etcd")
    return OK


def _systemctl(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    verb = argv[1]
    node = machine.file(UNIT)
    # systemd reads a unit when it is first asked for; from then on only daemon-reload makes it look again.
    if node is not None and (verb == "daemon-reload" or machine.loaded_unit is None):
        machine.loaded_unit = node.content
    if verb == "daemon-reload":
        machine.loaded_unit = node.content if node else None
        return OK
    if machine.loaded_unit is None:
        return (5, "", "Unit etcd.service not found.")
    if verb == "enable":
        machine.enabled = True
        if "--no-reload" not in argv:
            machine.loaded_unit = node.content if node else None
    elif verb == "disable":
        machine.enabled = False
    elif verb == "stop":
        machine.process = None
    elif verb in ("start", "restart"):
        start_unit(machine)
    return OK


def start_unit(machine: FakeMachine) -> None:
    """What systemd and etcd do between `start` and running: the settings are read, the data opened or made."""
    machine.process, machine.failed = None, False
    conf, join = machine.file("/etc/etcd/etcd.conf"), machine.file("/run/etcdup/join.env")
    exe = machine.real("/opt/etcd/current/etcd")
    if conf is None or machine.file(exe) is None:
        machine.failed = True
        return
    environment = _variables(conf) | (_variables(join) if join else {})
    unit = (machine.loaded_unit or b"").decode()
    environment["ETCDUP_UNIT"] = unit.partition("ETCDUP_UNIT=")[2].partition("\n")[0]
    wal = f"{environment['ETCD_DATA_DIR']}/member/wal/0.wal"
    try:
        if machine.file(wal) is None:
            _first_start(machine, environment, wal, joining=join is not None)
    except ValueError as error:
        machine.failed = True
        machine.log.append(str(error))
        return
    machine.process = FakeProcess(exe, environment, machine.network.time)


def _first_start(machine: FakeMachine, environment: dict[str, str], wal: str, *, joining: bool) -> None:
    if not joining:
        raise ValueError(f"{environment['ETCD_DATA_DIR']} holds no member: is its disk mounted?")
    if environment["ETCD_INITIAL_CLUSTER_STATE"] != "new":
        raise ValueError("cannot fetch cluster info from peer urls")
    name = environment["ETCD_NAME"]
    cluster = machine.network.etcd.bootstrap(
        environment["ETCD_INITIAL_CLUSTER_TOKEN"], environment["ETCD_INITIAL_CLUSTER"], name
    )
    machine.put(wal, Data(cluster, name).encode(), 0o600, "etcd:etcd")


def _variables(node: Node) -> dict[str, str]:
    lines = (node.content or b"").decode().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in pairs}


def _sh(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    script, arguments = argv[2], argv[4:]
    if script == PROBE:
        from etcdup.remote.fake_probe import probed

        return (0, probed(machine, arguments), "")
    if script == UNPACK:
        fresh, target = arguments
        return _unpack(machine, fresh, target, stdin)
    if script == MOVE_IF_THERE:
        path, folder = arguments
        if path in machine.nodes:
            machine.move(path, f"{folder}/{PurePosixPath(path).name}")
        return OK
    if script.startswith("exit "):
        return (int(script.split()[1]), "", "")
    return (127, "", "the fake knows no shell")


def _cat(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    if len(argv) == 1:
        return (0, stdin.decode(errors="replace"), "")
    node = machine.file(argv[-1])
    if node is None or node.content is None:
        return (1, "", f"cat: {argv[-1]}: No such file or directory")
    return (0, node.content.decode(errors="replace"), "")


def _printf(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """Only `%s` and `%s\\n`, repeated for each argument as printf does."""
    form = argv[1].replace("\\n", "\n")
    if "%s" not in form:
        return (0, form, "")
    return (0, "".join(form.replace("%s", each) for each in argv[2:]), "")


def _log(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    return (0, "\n".join(machine.log), "")


COMMANDS: dict[str, Command] = {
    "mkdir": _mkdir,
    "install": _install,
    "chmod": _chmod,
    "chown": _chown,
    "mv": _mv,
    "ln": _ln,
    "rm": _rm,
    "tar": _tar,
    "systemd-sysusers": _sysusers,
    "systemctl": _systemctl,
    "sh": _sh,
    "cat": _cat,
    "printf": _printf,
    "journalctl": _log,
    "tail": _log,
    "true": lambda machine, argv, stdin: OK,
    "false": lambda machine, argv, stdin: (1, "", ""),
}


def held_lines(machine: FakeMachine, argv: tuple[str, ...]) -> tuple[list[str], str]:
    """What the lock's script says, and the key by which it is released; other commands say nothing."""
    if len(argv) < 7 or argv[3] != "etcdup-lock":
        return [], ""
    path, who = argv[4], argv[5]
    if path in machine.locks:
        return ["held", machine.locks[path]], ""
    machine.locks[path] = who
    return ["locked"], path


def release(machine: FakeMachine, key: str) -> None:
    machine.locks.pop(key, None)
