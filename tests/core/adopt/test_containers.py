"""Containers of docker and podman: what an inspection reads of them, where their data is, what can be taken over."""

from dataclasses import replace

import pytest

from etcdup.core.adopt.foreign_unit import ForeignMember, foreign_member, switch_of
from etcdup.core.adopt.member import host_path, member_of, member_processes
from etcdup.core.adopt.model import Container, HostProcesses, Process, Unit, Unreadable
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.switch_script import switch_script
from etcdup.core.adopt.switch_state import SwitchState
from etcdup.core.spec.layout import layout_of
from tests.support.adopt_shapes import GUIDE, inspected
from tests.support.fake_world import spec_of

ID = "0a" * 32
SPEC = spec_of(3)
HOST = SPEC.hosts[0]
LAYOUT = layout_of(SPEC, HOST)
ENGINE = Container("docker", ID, "etcd", "always", prevents="update")
PROCESS = Process(
    7, "/usr/local/bin/etcd", "/", "root", 0, ("etcd", "--name=infra1", "--data-dir=/data"),
    container=f"/system.slice/docker-{ID}.scope", engine=ENGINE, mounts=(("/", "/"), ("/var/lib/etcd", "/data")),
)  # fmt: skip
UNIT = Unit("etcd.service", {"MainPID": "3", "FragmentPath": "/etc/systemd/system/etcd.service"})
OUTPUT = f"""\
@machine
=0
=host1
=0
=100
@process 7
=/usr/local/bin/etcd
=/
=root
=0
=host-network
@cgroup 7
=0::/system.slice/docker-{ID}.scope
@container 7
=docker
={ID}
=etcd
=on-failure
=5
=false
=update
@starters 7
=etcd.service
@mounts 7
=1 0 0:50 / / rw - overlay overlay rw
=2 1 8:1 /var/lib/etcd /data rw - ext4 /dev/sda rw
=3 1 8:2 / /wal rw - ext4 /dev/sdb rw
=4 1 8:2 /deep/pki /pki rw - ext4 /dev/sdb rw
=5 1 8:9 /volume /lost rw - ext4 /dev/sdc rw
@host-mounts
=1 0 8:1 / / rw - ext4 /dev/sda rw
=2 1 8:2 / /mnt/wal rw - ext4 /dev/sdb rw
=3 1 8:2 /deep /srv/deep rw - ext4 /dev/sdb rw
@end
"""


def found(process: Process) -> ForeignMember | tuple[object, ...]:
    return foreign_member(HOST, LAYOUT, HostProcesses("infra1", "infra1", (process,)), SwitchState("none"))


def test_the_output_of_the_script_is_read() -> None:
    (process,) = parse_processes("infra1", OUTPUT).processes
    assert process.engine == Container(
        "docker", ID, "etcd", "on-failure:5", False, "update", ("etcd.service",)
    )
    assert process.container_name == "etcd of docker"
    assert {point: source for source, point in process.mounts} == {
        "/": "", "/data": "/var/lib/etcd", "/wal": "/mnt/wal", "/pki": "/srv/deep/pki", "/lost": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [("=docker\n", "=lxc\n"), (f"={ID}\n", "=0123\n"), ("=etcd\n", "=a b\n"), ("=on-failure\n", "=$(reboot)\n"),
     ("=5\n", "=five\n"), ("=false\n", "=\n"), ("=update\n", "=always\n")],
)  # fmt: skip
def test_what_no_engine_prints_is_not_readable(old: str, new: str) -> None:
    with pytest.raises(Unreadable):
        parse_processes("infra1", OUTPUT.replace(old, new, 1))


def test_a_path_of_a_container_is_a_path_of_the_host() -> None:
    assert host_path(PROCESS, "/data/member") == "/var/lib/etcd/member"
    assert host_path(PROCESS, "/database") is None
    assert host_path(replace(PROCESS, mounts=(("/", "/data"),)), "/data") == "/"
    assert host_path(replace(PROCESS, mounts=(("", "/data"),)), "/data") == ""
    assert host_path(replace(PROCESS, container=""), "/data") == "/data"


def test_the_draft_has_the_directories_of_the_host() -> None:
    seen = inspected(GUIDE)[0]
    mounts = (("/srv/etcd", "/var/lib"),)
    inside = replace(seen, process=replace(seen.process, container="/docker/0123", mounts=mounts))
    assert (member_of(seen).data_dir, member_of(inside).data_dir) == ("/var/lib/etcd", "/srv/etcd/etcd")


def test_a_script_that_starts_a_container_is_no_member() -> None:
    script = replace(
        PROCESS, pid=3, exe="/usr/bin/bash", argv=("/bin/bash", "/usr/local/bin/etcd"), engine=None
    )
    assert member_processes(HostProcesses("infra1", "infra1", (script, PROCESS))) == (PROCESS,)


def test_a_container_is_taken_over_with_the_data_where_the_host_has_it() -> None:
    member = found(PROCESS)
    assert isinstance(member, ForeignMember)
    assert (member.unit, member.folders) == ("", (("/var/lib/etcd", "/data"),))
    switch = switch_of(member)
    assert (switch.unit, switch.renamed, switch.restart, switch.inside) == ("", (), "always", "/data")
    assert f"engine=docker container={ID} restart=always inside=/data\n" in switch_script(switch, LAYOUT)


def test_a_unit_that_starts_a_container_is_renamed_too() -> None:
    member = found(
        replace(PROCESS, unit=UNIT, engine=replace(ENGINE, units=("etcd.service",), is_removed=True))
    )
    assert isinstance(member, ForeignMember)
    switch = switch_of(member)
    assert (switch.unit, switch.restart) == ("etcd.service", ""), (
        "the policy of a deleted container does not change"
    )
    assert switch.renamed


def test_podman_without_a_change_of_the_policy_only_stops_a_container() -> None:
    member = found(replace(PROCESS, engine=replace(ENGINE, engine="podman", prevents="stop")))
    assert isinstance(member, ForeignMember)
    assert switch_of(member).restart == ""


@pytest.mark.parametrize(
    "process",
    [
        replace(PROCESS, engine=None),
        replace(PROCESS, engine=Container("docker", ID)),
        replace(PROCESS, has_own_network=True),
        replace(PROCESS, engine=replace(ENGINE, units=("etcd.service", "other.service"))),
        replace(PROCESS, engine=replace(ENGINE, is_removed=True)),
        replace(PROCESS, engine=replace(ENGINE, prevents="boot")),
        replace(PROCESS, unit=UNIT, engine=replace(ENGINE, units=("etcd.service",), prevents="boot")),
        replace(PROCESS, mounts=(("/", "/"),)),
        replace(PROCESS, mounts=(("", "/data"),)),
        replace(PROCESS, mounts=(("/srv/etcd", "/data"),)),
        replace(PROCESS, unit=Unit("etcd.service", {"FragmentPath": "/run/systemd/generator/etcd.service"}),
                engine=replace(ENGINE, units=("etcd.service",))),
    ],
    ids=["other-engine", "unknown", "network", "units", "removed", "boot", "unit-boot", "inside", "nowhere", "other",
         "quadlet"],
)  # fmt: skip
def test_what_cannot_be_taken_over_is_refused_with_a_hint(process: Process) -> None:
    refused = found(process)
    assert isinstance(refused, tuple)
    assert all(each.hint for each in refused)  # type: ignore[attr-defined]
