"""The commands of a FakeMachine that run programs of etcd, or install them."""

import tarfile
from copy import copy
from io import BytesIO
from pathlib import PurePosixPath

from etcdup.core.host.unproved import OTHER_VERSION
from etcdup.testing.copied_programs import program
from etcdup.testing.file_commands import OK
from etcdup.testing.machine import Answer, FakeMachine
from etcdup.testing.systemctl import run_systemctl


def show_etcd_version(machine: FakeMachine, argv: tuple[str, ...]) -> Answer:
    node = machine.file(argv[0])
    if node is None:
        return (127, "", f"{argv[0]}: not found")
    return (0, f"etcd Version: {PurePosixPath(argv[0]).parent.name.strip('.').removesuffix('.new')}\n", "")


def run_etcdutl(machine: FakeMachine, argv: tuple[str, ...]) -> Answer:
    """Run etcdutl: `snapshot restore`, `version`, or `check v2store` with the output of 3.5.33."""
    if machine.file(argv[0]) is None:
        return (127, "", f"{argv[0]}: not found")
    if argv[1:3] == ("snapshot", "restore"):
        return _restore(machine, argv)
    if argv[1:] == ("version",):
        return (0, f"etcdutl version: {PurePosixPath(argv[0]).parent.name}\n", "")
    if argv[1:3] != ("check", "v2store"):
        return (1, "", f'Error: unknown command "{argv[1]}" for "etcdutl"')
    if machine.v2store:
        return (1, "", "Error: detected custom content in v2store")
    return (0, "No custom content found in both v2store and WAL records.\n", "")


async def defragment_stopped(machine: FakeMachine, tool: tuple[str, ...]) -> Answer:
    """Stop etcd, defragment its database and start it. Each is counted: tests kill the script between them.

    The file is replaced at the end: a machine that loses its power meanwhile has the old one.
    """
    process, boots = machine.process, machine.boots
    run_systemctl(machine, ("systemctl", "stop", "etcd.service"), b"")
    machine.network.count(machine.name, ("systemctl", "stop"))
    if not machine.powered:
        return (1, "", "")
    await machine.network.sleep(machine.defrag_s)
    if machine.boots != boots or machine.process is not None:
        return (1, "", "etcd.service was started meanwhile, which ended the tool")
    status = 1 if machine.file(tool[0]) is None or machine.defrag_fails else 0
    if status == 0 and process is not None:
        process.cluster.defragmented[process.member_id] = process.cluster.db_in_use
        machine.network.count(machine.name, ("etcdutl", "defrag"))
    run_systemctl(machine, ("systemctl", "start", "--no-block", "etcd.service"), b"")
    return (status, "", "Error: no space left on device" if status else "")


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


def restore_staged(machine: FakeMachine, staged: str, argv: tuple[str, ...]) -> Answer:
    """Run the tool that restores to a new directory in the staged one, and move the data up."""
    before = set(machine.nodes)
    status, out, err = run_etcdutl(machine, argv)
    for path in machine.nodes.keys() - before:
        node = machine.nodes[path]
        node.owner, node.mode = "etcd:etcd", 0o700 if node.content is None else 0o600
    if status == 0:
        machine.network.count(machine.name, ("restore", f"{staged}/new"))
        machine.move(f"{staged}/new/member", f"{staged}/member")
        machine.remove(f"{staged}/new")
    return (status, out, err)


def run_tar(machine: FakeMachine, argv: tuple[str, ...], stdin: bytes) -> Answer:
    """Unpack the programs of etcd. A test without binaries sends a gzip file that is no tar."""
    folder = argv[argv.index("-C") + 1]
    if not stdin.startswith(b"\x1f\x8b"):
        return (2, "", "gzip: stdin: not in gzip format")
    if len(stdin) > machine.free_bytes:
        return (2, "", "tar: etcd: Cannot write: No space left on device")
    for tool in ("etcd", "etcdctl", "etcdutl"):
        machine.put(f"{folder}/{tool}", _unpacked(stdin, tool), 0o755)
    return OK


def _unpacked(archive: bytes, tool: str) -> bytes:
    try:
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            found = tar.extractfile(next(each for each in tar if each.name.endswith(f"/{tool}")))
            return found.read() if found else program(tool)
    except tarfile.TarError:
        return program(tool)


def run_etcd_binary(machine: FakeMachine, folder: str, version: str) -> Answer:
    path = machine.real(f"{folder}/etcd")
    node = machine.file(path)
    if node is None or not (node.content or b"").startswith(b"\x7fELF"):
        return (1, "", f"{path}: cannot execute binary file: Exec format error")
    return OK if PurePosixPath(path).parent.name == version else (1, "", f"{path} is not etcd {version}")


def keep_files(machine: FakeMachine, kept: str, current: str, pki: str, *files: str) -> Answer:
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


def put_files_back(machine: FakeMachine, kept: str, current: str, pki: str, *files: str) -> Answer:
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
