"""The state of a switch on a host, and what cannot be taken over."""

from dataclasses import replace
from itertools import chain, combinations

import pytest

from etcdup.core.adopt.foreign_unit import ForeignMember, foreign_member, switch_of
from etcdup.core.adopt.model import HostProcesses, Process, Unit
from etcdup.core.adopt.switch_script import Switch, switch_script, switch_unit
from etcdup.core.adopt.switch_state import SwitchState, UnreadableSwitch, decide, parse_state
from etcdup.core.spec.layout import layout_of
from etcdup.errors import EtcdupError
from tests.support.fake_world import spec_of

SPEC = spec_of(3)
HOST = SPEC.hosts[0]
LAYOUT = layout_of(SPEC, HOST)
FLAGS = ("begun", "back", "new.done", "old.done")
UNIT = Unit("etcd.service", {"MainPID": "7", "FragmentPath": "/etc/systemd/system/etcd.service"})
PROCESS = Process(
    7, "/usr/local/bin/etcd", "/", "root", 0, ("etcd",),
    {"ETCD_NAME": "infra1", "ETCD_DATA_DIR": "/var/lib/etcd"}, UNIT,
)  # fmt: skip


def test_every_set_of_files_has_one_member_that_must_run() -> None:
    """Without `begun`, nothing has begun. `back` counts more than the end of an earlier direction."""
    for files in chain.from_iterable(combinations(FLAGS, size) for size in range(len(FLAGS) + 1)):
        state = decide(frozenset(files))
        assert state.must_run == ("new" if "begun" in files and "back" not in files else "old")
        if "begun" not in files:
            assert state.stage == "none"
        elif "back" in files:
            assert state.has_ended == ("old.done" in files)
        else:
            assert state.has_ended == ("new.done" in files)


def test_the_output_of_a_host_is_parsed_strictly() -> None:
    assert parse_state("file begun\n") == SwitchState("switching")
    assert parse_state("file begun\nfile back\nwhy etcd ended\n").why == "etcd ended"
    assert len(parse_state(f"why {'x' * 9999}\n").why) < 400
    for text in ("file other\n", "hello\n", "file begun \x1b[2J\n"):
        with pytest.raises(UnreadableSwitch):
            parse_state(text)


def found(process: Process, *more: Process) -> ForeignMember | tuple[object, ...]:
    return foreign_member(
        HOST, LAYOUT, HostProcesses("infra1", "infra1", (process, *more)), SwitchState("none")
    )


def test_a_unit_is_taken_over() -> None:
    member = found(PROCESS)
    assert isinstance(member, ForeignMember)
    assert (member.unit, member.pid, member.user) == ("etcd.service", 7, "root")


def with_unit(name: str = "etcd.service", **properties: str) -> Process:
    return replace(PROCESS, unit=Unit(name, {**UNIT.properties, **properties}))


@pytest.mark.parametrize(
    "process",
    [
        replace(PROCESS, container="/kubepods/burstable/pod1/abc"),
        replace(PROCESS, container="/system.slice/docker-abc.scope"),
        replace(PROCESS, unit=None),
        with_unit(MainPID="8"),
        with_unit(FragmentPath="/run/systemd/transient/etcd.service"),
        with_unit(DropInPaths="/usr/lib/systemd/system/etcd.service.d/limits.conf"),
        with_unit("etcd$(reboot).service"),
        replace(PROCESS, variables={**PROCESS.variables, "ETCD_NAME": "other"}),
        replace(PROCESS, variables={**PROCESS.variables, "ETCD_DATA_DIR": "/data"}),
        replace(PROCESS, variables={**PROCESS.variables, "ETCD_WAL_DIR": "/wal"}),
        replace(PROCESS, argv=("etcd", "not-a-flag")),
    ],
    ids=[
        "pod",
        "container",
        "no-unit",
        "wrapper",
        "transient",
        "drop-in",
        "name",
        "member",
        "data",
        "wal",
        "argv",
    ],
)
def test_what_cannot_be_taken_over_is_refused_with_a_hint(process: Process) -> None:
    refused = found(process)
    assert isinstance(refused, tuple)
    assert all(each.hint for each in refused)  # type: ignore[attr-defined]


def test_two_processes_are_refused() -> None:
    assert isinstance(found(PROCESS, PROCESS), tuple)


def test_a_begun_switch_needs_no_process() -> None:
    empty = HostProcesses("infra1", "infra1", ())
    for stage in ("switching", "returning", "new"):
        member = foreign_member(HOST, LAYOUT, empty, SwitchState(stage))
        assert isinstance(member, ForeignMember)
        assert member.has_begun


def test_a_unit_of_another_name_is_renamed_and_a_drop_in_only_of_the_same_name() -> None:
    member = found(PROCESS)
    assert isinstance(member, ForeignMember)
    assert switch_of(member).renamed == (("etcd.service.d", "/etc/systemd/system/etcd.service.d"),)
    other = switch_of(replace(member, unit="etcd-member.service"))
    assert other.renamed == (("unit", "/etc/systemd/system/etcd-member.service"),)


def test_no_value_of_a_host_is_expanded_in_the_script() -> None:
    text = switch_script(Switch("etcd.service", ()), LAYOUT)
    assert "unit=etcd.service " in text
    assert LAYOUT.data_dir in switch_unit(LAYOUT)
    for name in ("a b", "a;reboot", "$(reboot)", "a\nb"):
        with pytest.raises(EtcdupError):
            switch_script(Switch(name, ()), LAYOUT)
