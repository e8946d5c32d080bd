"""Static pods of a kubelet: what an inspection reads of them, and which can be taken over."""

from dataclasses import replace

import pytest

from etcdup.core.adopt.foreign_unit import ForeignMember, foreign_member, switch_of
from etcdup.core.adopt.model import Container, HostProcesses, Owners, Process, StaticPod, Unit
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.refusals import refuse_host
from etcdup.core.adopt.switch_commands import check_command
from etcdup.core.adopt.switch_script import switch_script
from etcdup.core.adopt.switch_state import SwitchState
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from tests.support.fake_world import spec_of

ID = "0a" * 32
SPEC = spec_of(3)
HOST = SPEC.hosts[0]
LAYOUT = layout_of(SPEC, HOST)
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
GROUP = f"/kubepods/burstable/pod{'ce' * 16}/{ID}"
FOLDER = f"/var/lib/kubelet/pods/{'ce' * 16}"
POD = StaticPod("kubelet.service", (MANIFEST,), FOLDER, GROUP)
PROCESS = Process(
    7, "/usr/local/bin/etcd", "/", "root", 0, ("etcd", "--name=infra1", "--data-dir=/var/lib/etcd"),
    container=GROUP, pod=POD, mounts=(("/", "/"), ("/var/lib/etcd", "/var/lib/etcd")),
)  # fmt: skip
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
=0::{GROUP}
@pod 7
=kubelet.service
={MANIFEST}
@mounts 7
=1 0 0:50 / / rw - overlay overlay rw
=2 1 8:1 /var/lib/etcd /var/lib/etcd rw - ext4 /dev/sda rw
=3 1 8:2 /pods/{"ce" * 16}/containers/etcd/5fe0c445 /dev/termination-log rw - ext4 /dev/sdb rw
@host-mounts
=1 0 8:1 / / rw - ext4 /dev/sda rw
=2 1 8:2 / /var/lib/kubelet rw - ext4 /dev/sdb rw
@end
"""


def found(process: Process, *manifests: str) -> ForeignMember | tuple[Refused, ...]:
    first = HostProcesses("infra1", "infra1", (process,), Owners(manifests=manifests or (MANIFEST,)))
    return foreign_member(HOST, LAYOUT, first, SwitchState("none"))


def test_the_output_of_the_script_is_read() -> None:
    (process,) = parse_processes("infra1", OUTPUT).processes
    assert process.pod == POD
    assert process.is_pod


def test_a_pod_without_a_kubelet_is_a_pod() -> None:
    text = OUTPUT.replace(f"=kubelet.service\n={MANIFEST}\n", "")
    (process,) = parse_processes("infra1", text).processes
    assert process.pod == replace(POD, kubelet="", manifests=())


def test_a_static_pod_is_taken_over() -> None:
    member = found(PROCESS)
    assert isinstance(member, ForeignMember)
    assert (member.unit, member.container, member.pod) == ("", None, POD)
    switch = switch_of(member)
    assert (switch.unit, switch.renamed, switch.inside) == ("", (), "/var/lib/etcd")
    script = switch_script(switch, LAYOUT)
    assert f"kubelet_unit=kubelet.service manifest={MANIFEST} pod={FOLDER}\n" in script
    assert [MANIFEST in check_command(LAYOUT, member).argv, GROUP in check_command(LAYOUT, member).argv]


def test_a_pod_of_docker_and_the_unit_of_its_group_are_not_what_starts_it() -> None:
    """cri-dockerd runs pods in containers of docker. Some runtimes put pods into the group of their unit."""
    unit = Unit(
        "containerd.service", {"MainPID": "3", "FragmentPath": "/usr/lib/systemd/system/containerd.service"}
    )
    member = found(replace(PROCESS, engine=Container("docker", ID), unit=unit))
    assert isinstance(member, ForeignMember)
    assert (member.unit, member.container) == ("", None)


@pytest.mark.parametrize(
    "process",
    [
        replace(PROCESS, pod=None),
        replace(PROCESS, pod=replace(POD, kubelet="")),
        replace(PROCESS, pod=replace(POD, kubelet="kubelet$(reboot).service")),
        replace(PROCESS, pod=replace(POD, manifests=())),
        replace(PROCESS, pod=replace(POD, manifests=(MANIFEST, f"{MANIFEST}.bak"))),
        replace(PROCESS, pod=replace(POD, manifests=("/etc/kubernetes/manifests/etcd $(reboot).yaml",))),
        replace(PROCESS, pod=replace(POD, folder="")),
        replace(PROCESS, has_own_network=True),
        replace(PROCESS, mounts=(("/", "/"),)),
        replace(PROCESS, argv=("etcd", "--name=other", "--data-dir=/var/lib/etcd")),
    ],
    ids=["unknown", "kubelet", "unit", "manifest", "copy", "path", "folder", "network", "data", "member"],
)  # fmt: skip
def test_what_cannot_be_taken_over_is_refused_with_a_hint(process: Process) -> None:
    refused = found(process)
    assert isinstance(refused, tuple)
    assert len(refused) == 1
    assert all(each.hint for each in refused)


def test_a_member_of_a_control_plane_stays_refused() -> None:
    manifests = (MANIFEST, "/etc/kubernetes/manifests/kube-apiserver.yaml")
    refused = found(PROCESS, *manifests)
    assert isinstance(refused, tuple)
    first = HostProcesses("infra1", "infra1", (PROCESS,), Owners(manifests=manifests))
    assert refused == refuse_host(first)
