"""With whose rights a command runs on a FakeMachine, and in which directory (core/host/member_user.py)."""

from pathlib import PurePosixPath

from etcdup.core.host.member_user import AS_USER, IN_FOLDER, OWN_FOLDER
from etcdup.testing.machine import FakeMachine

Argv = tuple[str, ...]


def own_command(argv: Argv) -> Argv:
    """Return the command without the words that choose its user and its directory."""
    script = argv[2] if len(argv) > 2 else ""
    own = argv[5:] if script == AS_USER else argv[6:] if script == IN_FOLDER else argv
    return own[2:] if own[:2] == ("env", "-i") else own


def enter(machine: FakeMachine, argv: Argv) -> None:
    """Set the directory of a command. The directory is made if it is missing."""
    machine.cwd = "/"
    if argv[2:3] == (IN_FOLDER,):
        machine.cwd = argv[5]
        make_folder(machine, machine.cwd)


def make_folder(machine: FakeMachine, path: str) -> None:
    """Make a directory as `enter` does: a directory below one of user etcd belongs to user etcd."""
    for each in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
        if str(each) not in machine.nodes:
            machine.make_dir(str(each))
            if not only_root_writes(machine, str(each.parent)):
                machine.nodes[str(each)].owner = "etcd:etcd"


def own_folder(machine: FakeMachine, owner: str, mode: str, path: str) -> str:
    """Make a directory, or correct its owner and mode. Return the error, or an empty text."""
    if "etcd" in owner and "etcd" not in machine.users:
        return "id: 'etcd': no such user"
    make_folder(machine, path)
    node = machine.nodes[machine.real(path)]
    wanted = owner or node.owner
    if node.owner != wanted and not only_root_writes(machine, str(PurePosixPath(path).parent)):
        return "chown: changing ownership of '.': Operation not permitted"
    node.owner, node.mode = wanted, int(mode, 8)
    return ""


def only_root_writes(machine: FakeMachine, folder: str) -> bool:
    """Return whether only root can change names in this directory, and in the directories above it."""
    path = PurePosixPath(machine.real(folder))
    nodes = (machine.nodes.get(str(each)) for each in (path, *path.parents))
    return all(node is None or node.owner.startswith("root:") for node in nodes)


def require_safe_paths(machine: FakeMachine, argv: Argv) -> None:
    """Fail the test if root names a path in a directory where user etcd can change names."""
    if own_command(argv) != argv or OWN_FOLDER in argv:
        return
    for word in argv[1:]:
        if word.startswith("/") and not only_root_writes(machine, str(PurePosixPath(word).parent)):
            raise AssertionError(f"{machine.name}: root follows {word}, which user etcd can replace: {argv}")
