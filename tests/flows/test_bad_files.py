"""A bad file reaches one member at most: a certificate, a configuration or a binary is proved there first."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from etcdup.core.host.actions import RESTART_UNIT
from etcdup.core.plan.host_steps import ProveFiles
from etcdup.core.plan.plan import Plan
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.testing.network import FakeNetwork, Killed
from tests.support.cases import quick_first
from tests.support.fake_world import bring_up, machines_for, make_plan, spec_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_points, prepare_start
from tests.support.openssl import Ca, make_ca, make_cert, make_key
from tests.support.texts import Texts
from tests.support.unparsable_cert import with_unparsable_uri

PROVIDED = "tls: {mode: provided, ca: ca.pem, cert: '{name}.pem', key: '{name}-key.pem'}\n"
KEPT = "/etc/etcd/unproved"
SPEC = spec_of()
BAD_SETTING = "etcd: {extra: {max-txn-ops: many}}\n"
GOOD_SETTING = "etcd: {extra: {max-txn-ops: 256}}\n"


def has_bad_file(network: FakeNetwork, name: str) -> bool:
    """Return whether a file of etcd on the host is bad, by its content."""
    machine = network.machines[name]
    live = [node for path, node in machine.nodes.items() if not path.startswith((KEPT, f"{KEPT}.new"))]
    bad_certs = [machine.why_unusable(kind) for kind in ("server", "peer")]
    return any(bad_certs) or any(b'="many"' in (node.content or b"") for node in live)


def bad_hosts(network: FakeNetwork) -> list[str]:
    return [name for name in network.machines if has_bad_file(network, name)]


def kept_hosts(network: FakeNetwork) -> list[str]:
    return [name for name, machine in network.machines.items() if machine.is_dir(KEPT)]


async def fail(spec: Spec, network: FakeNetwork, folder: Path) -> EtcdupError:
    with pytest.raises(EtcdupError) as caught:
        await bring_up(spec, network, folder)
    return caught.value


async def kill_and_repeat(start: Start, bad: Spec, good: Spec, repair: Callable[[Path], None]) -> int:
    """Kill a run with a bad file after every command. Repeat it, correct the file, and apply again."""
    whole, folder = start.copy_to("whole")
    await fail(bad, whole, folder)
    total = 0
    for cut in kill_points(len(whole.commands) + 1):
        network, folder = start.copy_to(str(cut))
        network.cut_after = cut
        with pytest.raises((Killed, EtcdupError)):
            await bring_up(bad, network, folder)
        assert len(bad_hosts(network)) <= 1
        network.restart_etcdup()
        if cut % 2:
            stopped = [name for name, machine in network.machines.items() if machine.process is None]
            await fail(bad, network, folder)
            # A member that does not run has no proved files to return to. No other member gets the file.
            assert bad_hosts(network) in ([], stopped)
            assert kept_hosts(network) == []
            network.restart_etcdup()
        repair(folder)
        await apply_and_check(good, network, folder)
        assert kept_hosts(network) == []
        total += 1
    return total


def provided_spec(size: int = 3) -> Spec:
    return spec_of(size, more=PROVIDED)


def write_leaves(folder: Path, spec: Spec) -> None:
    """Write a new pair for each host."""
    addresses = tuple(host.address for host in spec.hosts)
    for host in spec.hosts:
        key = make_key(folder / f"{host.name}-key.pem")
        make_cert(Ca(folder / "ca"), folder / f"{host.name}.pem", key, addresses=addresses)


def spoil(path: Path) -> None:
    path.with_suffix(".good").write_bytes(path.read_bytes())
    ca_key = Ca(path.parent / "ca").key.read_bytes()
    path.write_bytes(with_unparsable_uri(path.read_bytes(), ca_key))


def correct(folder: Path) -> None:
    for path in folder.glob("infra*.good"):
        path.with_suffix(".pem").write_bytes(path.read_bytes())


async def prepare_provided(tmp_path: Path, size: int = 3) -> Start:
    """Return a cluster with provided certificates, and new pairs that are not installed yet."""
    folder, spec = tmp_path / "operator", provided_spec(size)
    folder.mkdir()
    shutil.copy(make_ca(folder / "ca").cert, folder / "ca.pem")
    write_leaves(folder, spec)
    network = machines_for(spec)
    await bring_up(spec, network, folder)
    write_leaves(folder, spec)
    network.commands.clear()
    return Start(network, folder)


BAD_FILES = {
    "all certificates": [f"infra{number}.pem" for number in (1, 2, 3)],
    "one certificate": ["infra2.pem"],
}


@pytest.mark.parametrize("bad", BAD_FILES.values(), ids=BAD_FILES)
async def test_a_bad_certificate_is_put_back_on_the_first_member(
    texts: Texts, tmp_path: Path, bad: list[str]
) -> None:
    start, spec = await prepare_provided(tmp_path), provided_spec()
    for name in bad:
        spoil(start.folder / name)
    network, folder = start.copy_to("bad")
    before = {name: deepcopy(machine.nodes) for name, machine in network.machines.items()}
    error = await fail(spec, network, folder)
    assert isinstance(error, PartlyApplied)
    host = bad[0].partition(".")[0]
    texts(error)
    for name in ("infra1", "infra2", "infra3"):
        same = network.machines[name].nodes == before[name]
        assert same == (name >= host), (
            "the bad file is gone, later hosts got nothing, earlier hosts got good files"
        )
    correct(folder)
    await apply_and_check(spec, network, folder)


@pytest.mark.parametrize("bad", quick_first(["infra1.pem"], ["infra2.pem"]))
async def test_a_kill_at_any_command_leaves_one_bad_certificate_at_most(
    tmp_path: Path, bad: list[str]
) -> None:
    start, spec = await prepare_provided(tmp_path), provided_spec()
    for name in bad:
        spoil(start.folder / name)
    assert await kill_and_repeat(start, spec, spec, correct) > 0


async def test_renewed_certificates_of_our_ca_are_proved_one_by_one(tmp_path: Path) -> None:
    """No host gets its file before the previous host served its own."""
    start = await prepare_start(SPEC, SPEC, tmp_path)
    network, folder = start.copy_to("renewed")
    for name in ("infra1", "infra2", "infra3"):
        (folder / f"pki/members/{name}/server.pem").unlink()
    await bring_up(SPEC, network, folder)
    written = [(name, argv[0]) for name, argv in network.commands if "server.pem" in argv[-1] or KEPT in argv]
    order = [f"infra{number}" for number in (1, 2, 3)]
    assert list(dict.fromkeys(name for name, _ in written)) == order
    assert written == sorted(written, key=lambda each: each[0])
    assert [name for name, word in written if word == "rm"] == order
    assert kept_hosts(network) == []


@pytest.mark.parametrize("size", [1, 3, 5])
async def test_a_setting_that_etcd_rejects_is_put_back(texts: Texts, tmp_path: Path, size: int) -> None:
    start = await prepare_start(spec_of(size), spec_of(size), tmp_path)
    network, folder = start.copy_to("bad")
    error = await fail(spec_of(size, more=BAD_SETTING), network, folder)
    assert isinstance(error, PartlyApplied)
    texts(error)
    assert bad_hosts(network) == kept_hosts(network) == []
    restarted = [name for name, argv in network.commands if RESTART_UNIT in argv]
    assert len(restarted) == 2, "with the new files, and with the previous ones"
    assert len(set(restarted)) == 1
    await apply_and_check(spec_of(size), network, folder)


@pytest.mark.parametrize("size", quick_first(3, 5))
async def test_a_kill_at_any_command_leaves_one_bad_setting_at_most(tmp_path: Path, size: int) -> None:
    start = await prepare_start(spec_of(size), spec_of(size), tmp_path)
    bad, good = spec_of(size, more=BAD_SETTING), spec_of(size, more=GOOD_SETTING)
    assert await kill_and_repeat(start, bad, good, lambda _: None) > 0


async def test_a_crash_with_an_unproved_setting_leaves_one_bad_setting_at_most(tmp_path: Path) -> None:
    """The host reboots with the new files. The next run starts it, and puts the previous files back."""
    start = await prepare_start(SPEC, SPEC, tmp_path)
    bad = spec_of(more=BAD_SETTING)
    for cut in kill_points(20):
        network, folder = start.copy_to(f"crash-{cut}")
        network.cut_after = cut
        with pytest.raises((Killed, EtcdupError)):
            await bring_up(bad, network, folder)
        network.restart_etcdup()
        for name in kept_hosts(network):
            network.reboot(name)
        await fail(bad, network, folder)
        assert len(bad_hosts(network)) <= 1
        network.restart_etcdup()
        await fail(bad, network, folder)
        assert bad_hosts(network) == []
        network.restart_etcdup()
        await apply_and_check(SPEC, network, folder)


async def test_files_of_a_killed_run_are_proved_by_the_next_one(tmp_path: Path) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    network, folder = start.copy_to("left")
    machine = network.machines["infra2"]
    machine.make_dir(f"{KEPT}/pki")
    machine.nodes[f"{KEPT}/current"] = deepcopy(machine.nodes["/opt/etcd/current"])
    answer = await make_plan(SPEC, network, folder)
    assert isinstance(answer, Plan)
    assert [(type(step), step.host) for step in answer.steps if isinstance(step, ProveFiles)] == [
        (ProveFiles, "infra2")
    ]
    await apply_and_check(SPEC, network, folder)
    assert kept_hosts(network) == []


@pytest.mark.parametrize("switched", [False, True])
async def test_no_member_is_stopped_before_its_new_binary_ran(
    texts: Texts, tmp_path: Path, *, switched: bool
) -> None:
    """The binary of infra1 was damaged after it was installed, before or after the switch to it."""
    after = spec_of(version="3.6.13")
    start = await prepare_start(SPEC, after, tmp_path)
    network, folder = start.copy_to("damaged")
    for machine in network.machines.values():
        for tool in ("etcd", "etcdctl", "etcdutl"):
            machine.put(f"/opt/etcd/3.6.13/{tool}", b"\x7fELF", 0o755)
        machine.put("/opt/etcd/3.6.13/etcd", b"damaged", 0o755)
        if switched:
            machine.nodes["/opt/etcd/current"].link = "3.6.13"
    processes = {name: machine.process for name, machine in network.machines.items()}
    error = await fail(after, network, folder)
    texts(error)
    assert {name: machine.process for name, machine in network.machines.items()} == processes
