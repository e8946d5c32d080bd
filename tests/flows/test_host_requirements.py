"""What a host does not have or allow is found before the first change, or no step of the plan needs it."""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

import pytest

from etcdup.core.host.host_case import HostCase
from etcdup.core.host.path_faults import MIB, refuse_full_disks
from etcdup.core.observed.directory import Space
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.verdict import judge
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.ops.world.observe import observe
from etcdup.testing.machine import FakeMachine, Node
from etcdup.testing.network import FakeNetwork
from tests.flows.random_sequences.verbs import (
    RENEW_ALL_DAYS,
    Operator,
    Verb,
    apply_file,
    recover_without,
    renew_certs,
    replace_member,
    restore_backup,
    rotate_ca,
    undo_restore,
)
from tests.flows.test_destroy import destroy
from tests.flows.test_restart import ALL, drain_of, restart_of
from tests.support.fake_world import bring_up, machines_for, make_plan, running_network, spec_of, world_of
from tests.support.kill_everywhere import prepare_start
from tests.support.texts import Texts

PROGRAMS = ("flock", "setpriv", "systemd-sysusers", "tar", "gzip")


async def destroy_cluster(operator: Operator) -> None:
    await destroy(operator.spec, operator.network, operator.folder, operator.run)


async def restart_all(operator: Operator) -> None:
    await restart_of(*ALL)(operator.spec, operator.network, operator.folder)


async def drain(operator: Operator) -> None:
    await drain_of("infra2")(operator.spec, operator.network, operator.folder)


def nothing(network: FakeNetwork) -> None:
    """Change nothing before the verb runs."""


def crash_two(network: FakeNetwork) -> None:
    network.crash("infra2")
    network.crash("infra3")


def lose_quorum_and_process(network: FakeNetwork) -> None:
    crash_two(network)
    network.machines["infra1"].process = None


def wipe(network: FakeNetwork) -> None:
    network.crash("infra2")
    network.add("infra2")


def stop(network: FakeNetwork) -> None:
    network.machines["infra2"].process = None


THREE = spec_of(3)


@dataclass(frozen=True)
class Case:
    """A verb on a cluster of `before`, and the host that does not have a program."""

    verb: Verb
    after: Spec
    before: Spec | None = THREE
    host: str = "infra2"
    happen: Callable[[FakeNetwork], None] = nothing


SLOWER = "etcd: {heartbeat_ms: 110}\n"
CASES = {
    "bootstrap": Case(apply_file, spec_of(3), None),
    "settings": Case(apply_file, spec_of(3, SLOWER)),
    "patch": Case(apply_file, spec_of(3), spec_of(3, version="3.6.13")),
    "minor": Case(apply_file, spec_of(3, version="3.6.14"), spec_of(3, version="3.5.33")),
    "to 3.7": Case(apply_file, spec_of(3, version="3.7.1"), spec_of(3, version="3.6.14")),
    "two more": Case(apply_file, spec_of(5), host="infra4"),
    "two more, an old host": Case(apply_file, spec_of(5)),
    "two less": Case(apply_file, spec_of(3), spec_of(5), host="infra4"),
    "one other": Case(apply_file, spec_of([1, 3, 4])),
    "start": Case(apply_file, spec_of(3), happen=stop),
    "replace": Case(replace_member("infra2"), spec_of(3)),
    "replace a machine": Case(replace_member("infra2"), spec_of(3), happen=wipe),
    "renew": Case(renew_certs(RENEW_ALL_DAYS), spec_of(3)),
    "rotate": Case(rotate_ca, spec_of(3)),
    "restore": Case(restore_backup, spec_of(3)),
    "recover": Case(recover_without(("infra2", "infra3")), spec_of(3), host="infra1", happen=crash_two),
    "salvage": Case(
        recover_without(("infra2", "infra3")), spec_of(3), host="infra1", happen=lose_quorum_and_process
    ),
    "restart": Case(restart_all, spec_of(3)),
    "drain": Case(drain, spec_of(3)),
    "destroy": Case(destroy_cluster, spec_of(3)),
}


async def error_of(run: Awaitable[object]) -> EtcdupError | None:
    try:
        await run
    except EtcdupError as error:
        return error
    return None


def traces(network: FakeNetwork) -> dict[str, dict[str, bytes | None]]:
    return {
        name: {path: node.content for path, node in machine.nodes.items()}
        for name, machine in network.machines.items()
    }


async def prepare(case: Case, folder: Path) -> Operator:
    if case.before is None:
        (folder / "operator").mkdir()
        return Operator(case.after, machines_for(case.after), folder / "operator", 1)
    start = await prepare_start(case.before, case.after, folder)
    case.happen(start.network)
    start.network.commands.clear()
    return Operator(case.after, start.network, start.folder, 1)


def copy_of(operator: Operator, name: str) -> Operator:
    folder = Path(copytree(operator.folder, operator.folder.with_name(name)))
    return Operator(operator.spec, deepcopy(operator.network), folder, 1)


@pytest.mark.parametrize("name", CASES)
async def test_a_missing_program_stops_no_verb_half_way(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    start = await prepare(case, tmp_path)
    for program in PROGRAMS:
        operator = copy_of(start, program)
        operator.network.machines[case.host].missing_programs = {program}
        before = traces(operator.network)
        error = await error_of(case.verb(operator))
        assert not isinstance(error, PartlyApplied), f"{program}: {error.message}"
        if error is not None:
            assert program in f"{error.message} {error.detail}", program
            assert traces(operator.network) == before, program


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("settings", {"setpriv", "systemd-sysusers", "tar", "gzip"}),
        ("start", {"setpriv", "systemd-sysusers", "tar", "gzip"}),
        ("renew", {"setpriv", "systemd-sysusers", "tar", "gzip"}),
        ("rotate", {"setpriv", "systemd-sysusers", "tar", "gzip"}),
        ("destroy", {"systemd-sysusers", "tar", "gzip"}),
        ("two more, an old host", {"setpriv", "systemd-sysusers", "tar", "gzip"}),
    ],
)
async def test_a_plan_that_needs_no_program_is_not_refused(
    tmp_path: Path, name: str, programs: set[str]
) -> None:
    case = CASES[name]
    operator = await prepare(case, tmp_path)
    operator.network.machines[case.host].missing_programs = programs
    await case.verb(operator)


async def test_a_missing_program_that_no_step_needs_is_noted(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    network.machines["infra2"].missing_programs = {"setpriv", "zypper"}
    plan = await make_plan(spec_of(3), network, tmp_path)
    assert isinstance(plan, Plan)
    assert plan.steps == ()
    texts(plan.notes)


async def test_an_undo_without_a_program_stops_nothing(tmp_path: Path) -> None:
    start = await prepare(CASES["restore"], tmp_path)
    await restore_backup(start)
    start.network.commands.clear()
    for program in PROGRAMS:
        operator = copy_of(start, program)
        operator.network.machines["infra2"].missing_programs = {program}
        before = traces(operator.network)
        error = await error_of(undo_restore(operator))
        assert not isinstance(error, PartlyApplied), f"{program}: {error.message}"
        assert error is None or traces(operator.network) == before, program


def on_faulty_disk(line: str) -> Callable[[FakeMachine], None]:
    def change(machine: FakeMachine) -> None:
        machine.path_faults = [line]

    return change


def without_address(machine: FakeMachine) -> None:
    machine.has_listen_address = False


def take_port(machine: FakeMachine) -> None:
    machine.ports_taken = {2380: "nginx"}


def without_inodes(machine: FakeMachine) -> None:
    machine.free_inodes = 3


FAULTS = {
    "no address": without_address,
    "a taken port": take_port,
    "no inodes": without_inodes,
    "a file above": on_faulty_disk("not-directory /opt/etcd /opt/etcd"),
    "another current": on_faulty_disk("not-link /opt/etcd/current"),
    "user etcd is root": on_faulty_disk("root-user etcd"),
    "user etcd is another user": on_faulty_disk("shared-user etcd svc"),
    "no user can be made": on_faulty_disk("locked /etc/passwd"),
    "a limit of files": on_faulty_disk("file-limit 2000"),
    "no etcd": on_faulty_disk("no-etcd /opt/etcd/3.6.14"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_host_that_cannot_run_a_member_is_refused(texts: Texts, tmp_path: Path, fault: str) -> None:
    network = machines_for(spec_of())
    FAULTS[fault](network.machines["infra2"])
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {"infra2"}
    texts(refusal)
    assert network.commands == []


async def test_another_version_without_etcd_does_not_matter(tmp_path: Path) -> None:
    network = machines_for(spec_of())
    network.machines["infra2"].path_faults = ["no-etcd /opt/etcd/backup"]
    assert isinstance(await make_plan(spec_of(), network, tmp_path), Plan)


@pytest.mark.parametrize("change", [without_address, take_port])
async def test_a_start_that_must_fail_is_refused(
    tmp_path: Path, change: Callable[[FakeMachine], None]
) -> None:
    network = await running_network(spec_of(), tmp_path)
    stop(network)
    change(network.machines["infra2"])
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {"infra2"}


async def test_without_a_quorum_the_members_that_can_start_are_started(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    for machine in network.machines.values():
        machine.process = None
    take_port(network.machines["infra2"])
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    assert [step.kind for step in plan.steps if step.kind == "StartMember"] == ["StartMember"] * 3


async def test_a_running_member_keeps_its_address(tmp_path: Path) -> None:
    """The kernel of a host can hide addresses, and etcd can still run."""
    network = await running_network(spec_of(), tmp_path)
    without_address(network.machines["infra2"])
    assert isinstance(await make_plan(spec_of(3, SLOWER), network, tmp_path), Plan)


async def test_a_low_port_is_not_open_because_a_longer_number_begins_with_it(
    texts: Texts, tmp_path: Path
) -> None:
    network = await running_network(spec_of(), tmp_path)
    refusal = await make_plan(spec_of(3, "etcd: {client_port: 237}\n"), network, tmp_path)
    assert isinstance(refusal, Refusal)
    texts(refusal)


async def test_an_address_is_not_used_because_a_longer_address_begins_with_it(
    texts: Texts, tmp_path: Path
) -> None:
    network = await running_network(spec_of(), tmp_path)
    without_address(network.machines["infra2"])
    hosts = [
        host.model_copy(update={"listen_address": host.address[:-1]} if host.name == "infra2" else {})
        for host in spec_of().hosts
    ]
    refusal = await make_plan(spec_of().model_copy(update={"hosts": tuple(hosts)}), network, tmp_path)
    assert isinstance(refusal, Refusal)
    texts(refusal)


async def test_a_separate_log_directory_needs_space_too(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(3, "etcd: {wal_dir: /srv/log/wal}\n")
    found = await observe(world_of(spec, machines_for(spec), tmp_path))
    seen = found.reachable()["infra2"]
    full = replace(seen, spaces={**seen.spaces, "/srv/log/wal": Space(10 * MIB)})
    (refused,) = refuse_full_disks(HostCase(spec, spec.host("infra2"), full))
    texts(refused)


async def test_what_apply_changes_or_a_reboot_deletes_is_noted_first(texts: Texts, tmp_path: Path) -> None:
    """The directories of another program get other rights, and a drop-in stays: the plan has a note of each."""
    network = machines_for(spec_of())
    machine = network.machines["infra2"]
    machine.nodes["/etc/etcd"] = Node(mode=0o700, owner="other:other")
    machine.drop_ins = {"/etc/systemd/system/etcd.service.d/limits.conf": "[Service]\nMemoryMax=20M\n"}
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    texts(plan.notes)


async def test_another_program_in_the_place_of_etcd_is_never_started(texts: Texts, tmp_path: Path) -> None:
    """A directory of a version can be from another program. No member starts before its etcd reports its version."""
    network = machines_for(spec_of())
    machine = network.machines["infra2"]
    machine.make_dir("/opt/etcd/3.6.14")
    machine.nodes["/opt/etcd/3.6.14/etcd"] = Node(content=b"no etcd", mode=0o755)
    error = await error_of(bring_up(spec_of(), network, tmp_path))
    assert error is not None
    texts(error)
    assert not any(each.starts for each in network.machines.values())


def owned_by_root(network: FakeNetwork) -> None:
    for path in ("member", "member/wal", "member/snap", "member/snap/db"):
        node = network.machines["infra2"].nodes.get(f"/var/lib/etcd/{path}")
        if node is not None:
            node.owner = "root:root"


def without_rights(network: FakeNetwork) -> None:
    network.machines["infra2"].nodes["/var/lib/etcd/member"].mode = 0


def mounted_with_noexec(network: FakeNetwork) -> None:
    network.machines["infra2"].path_faults = ["noexec /opt/etcd /opt"]


def mounted_read_only(network: FakeNetwork) -> None:
    network.machines["infra2"].path_faults = ["read-only /var/lib/etcd /var/lib/etcd"]


def immutable(network: FakeNetwork) -> None:
    network.machines["infra2"].path_faults = ["unwritable /var/lib/etcd /var/lib/etcd"]


@pytest.mark.parametrize(
    "change", [owned_by_root, without_rights, mounted_with_noexec, mounted_read_only, immutable]
)
async def test_a_member_with_unusable_data_or_programs_is_not_started(
    texts: Texts, tmp_path: Path, change: Callable[[FakeNetwork], None]
) -> None:
    """The plan is refused with the command that helps. After that command, apply starts the member."""
    network = await running_network(spec_of(), tmp_path)
    stop(network)
    before = deepcopy(network.machines["infra2"].nodes)
    change(network)
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {"infra2"}
    texts(refusal.reasons[0])
    (cause,) = judge(spec_of(), await observe(world_of(spec_of(), network, tmp_path))).causes
    assert cause.code == "start-prevented"
    texts(cause.what)
    network.machines["infra2"].nodes, network.machines["infra2"].path_faults = before, []
    assert all(result.ok for result in await bring_up(spec_of(), network, tmp_path))


async def test_a_running_member_is_not_asked_for_what_a_start_needs(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    mounted_with_noexec(network)
    plan = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(plan, Plan)
    assert plan.is_empty


async def test_deleted_programs_are_installed_into_the_directory_that_is_left(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    network.machines["infra2"].remove("/opt/etcd/3.6.14/etcd")
    starts = len(network.machines["infra2"].starts)
    assert all(result.ok for result in await bring_up(spec_of(), network, tmp_path))
    assert network.machines["infra2"].file("/opt/etcd/3.6.14/etcd") is not None
    assert len(network.machines["infra2"].starts) == starts
