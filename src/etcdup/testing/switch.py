"""The scripts of a take-over on a FakeMachine. Its switch has ended when the command that begins it returns.

What the real script does between two of its lines is tried on real machines (tests/lab/test_take_over.py).
"""

from collections.abc import Callable

from etcdup.core.adopt.switch_commands import BEGIN, CHECK, COPY_RUNNING, END, FORGET, GIVE_BACK
from etcdup.core.adopt.switch_state import STATE
from etcdup.testing.copied_programs import program
from etcdup.testing.machine import CONTAINER, MANIFEST, STATIC_POD, UNIT, Answer, FakeMachine
from etcdup.testing.systemd import start_unit

OK: Answer = (0, "", "")
_FLAGS = ("begun", "back", "new.done", "old.done")
_PID = 100
CONTAINER_ID = "5e" * 32
POD_ID = "ce" * 16


def print_processes(machine: FakeMachine) -> str:
    """Return what the script of an inspection prints: the etcd that etcd.service, docker or a kubelet starts."""
    lines = ["@machine", "=0", f"={machine.name}", "=0", "=100"]
    if machine.process is not None:
        exe = machine.process.exe
        lines += [f"@process {_PID}", f"={exe}", "=/", "=root", "=0", "=host-network"]
        lines += [f"@argv {_PID}", f"={exe}", f"@variables {_PID}"]
        lines += [f"={name}={value}" for name, value in sorted(machine.process.environment.items())]
        starters = {CONTAINER: _of_container, STATIC_POD: _of_pod}
        lines += starters.get(machine.loaded_unit or b"", _of_unit)()
    return "\n".join([*lines, "@end", ""])


def _of_unit() -> list[str]:
    return [f"@unit {_PID}", "=etcd.service", f"=FragmentPath={UNIT}", f"=MainPID={_PID}", "=DropInPaths="]


def _of_container() -> list[str]:
    lines = [f"@cgroup {_PID}", f"=0::/system.slice/docker-{CONTAINER_ID}.scope", f"@container {_PID}"]
    lines += ["=docker", f"={CONTAINER_ID}", "=etcd", "=always", "=0", "=false", "=update"]
    return [*lines, *_mounts("/var/lib/etcd /var/lib/etcd")]


def _of_pod() -> list[str]:
    lines = [f"@cgroup {_PID}", f"=0::/kubepods/burstable/pod{POD_ID}/{CONTAINER_ID}"]
    lines += [f"@pod {_PID}", "=kubelet.service", f"={MANIFEST}"]
    log = f"/var/lib/kubelet/pods/{POD_ID}/containers/etcd/0a /dev/termination-log"
    return [*lines, *_mounts("/var/lib/etcd /var/lib/etcd", log)]


def _mounts(*mounts: str) -> list[str]:
    lines = [f"=2 1 8:1 {each} rw - ext4 /dev/sda rw" for each in mounts]
    return [f"@mounts {_PID}", *lines, "@host-mounts", "=1 0 8:1 / / rw - ext4 /dev/sda rw"]


def print_state(machine: FakeMachine, folder: str) -> Answer:
    lines = [f"file {flag}" for flag in _FLAGS if f"{folder}/{flag}" in machine.nodes]
    why = machine.file(f"{folder}/why")
    return (0, "\n".join([*lines, *([f"why {(why.content or b'').decode()}"] if why else []), ""]), "")


def _forget(machine: FakeMachine, folder: str) -> Answer:
    for name in (*_FLAGS, "why"):
        machine.remove(f"{folder}/{name}")
    for name in ("new", "old"):
        machine.make_dir(f"{folder}/{name}")
    return OK


def _copy(machine: FakeMachine, _user: str, _new: str, place: str, _version: str, *_rest: str) -> Answer:
    for tool in ("etcd", "etcdctl", "etcdutl"):
        machine.put(f"{place}/{tool}", program(tool), 0o755)
    return OK


def _begin(machine: FakeMachine, folder: str, _unit: str) -> Answer:
    machine.put(f"{folder}/begun", b"")
    if f"{folder}/back" in machine.nodes:
        _backward(machine, folder)
    elif f"{folder}/new.done" not in machine.nodes:
        _forward(machine, folder)
    return OK


def _give_back(machine: FakeMachine, folder: str, _unit: str) -> Answer:
    machine.put(f"{folder}/back", b"")
    _backward(machine, folder)
    return OK


def _end(machine: FakeMachine, folder: str, unit: str) -> Answer:
    for path in (f"{folder}/begun", f"{folder}/switch", unit):
        machine.remove(path)
    return OK


def _forward(machine: FakeMachine, folder: str) -> None:
    if f"{folder}/manifest" in machine.nodes:
        _move(machine, MANIFEST, f"{folder}/old/static-pod")
    for name, path in _files(machine, folder):
        _move(machine, path, f"{folder}/old/{name}")
        _move(machine, f"{folder}/new/{name}", path)
    _own_data(machine, "etcd:etcd")
    machine.loaded_unit, machine.enabled = machine.nodes[UNIT].content, True
    start_unit(machine)
    if machine.process is not None:
        machine.put(f"{folder}/new.done", b"")
        return
    machine.put(f"{folder}/why", b"etcd ended after its start")
    machine.put(f"{folder}/back", b"")
    _backward(machine, folder)


def _backward(machine: FakeMachine, folder: str) -> None:
    machine.process, machine.failed_at = None, None
    for name, path in _files(machine, folder):
        _move(machine, path, f"{folder}/new/{name}")
        _move(machine, f"{folder}/old/{name}", path)
    _move(machine, f"{folder}/old/static-pod", MANIFEST)
    unit = machine.file(UNIT)
    machine.loaded_unit = unit.content if unit else STATIC_POD if machine.file(MANIFEST) else CONTAINER
    start_unit(machine)
    machine.put(f"{folder}/old.done", b"")


def _files(machine: FakeMachine, folder: str) -> list[tuple[str, str]]:
    text = (machine.nodes[f"{folder}/files"].content or b"").decode()
    pairs = (line.split(" ") for line in text.splitlines())
    return [(name, path) for name, path in pairs]


def _move(machine: FakeMachine, source: str, target: str) -> None:
    if source in machine.nodes:
        machine.move(source, target)


def _own_data(machine: FakeMachine, owner: str) -> None:
    assert machine.old_process is not None, "the unit of another tool runs etcd"
    data = machine.old_process.environment["ETCD_DATA_DIR"]
    for path, node in machine.nodes.items():
        if path == data or path.startswith(f"{data}/"):
            node.owner = owner


SWITCH_SCRIPTS: dict[str, Callable[..., Answer]] = {
    STATE: print_state,
    FORGET: _forget,
    COPY_RUNNING: _copy,
    CHECK: lambda _machine, *_rest: OK,
    BEGIN: _begin,
    GIVE_BACK: _give_back,
    END: _end,
}
