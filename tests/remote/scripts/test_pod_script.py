"""Where the kubelet has its static pods, and the programs of a container, with a real sh."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from etcdup.core.adopt.scripts import processes_argv
from etcdup.core.adopt.switch_commands import COPY_RUNNING
from tests.support.etcd_binaries import etcd_binaries, why_not

FUNCTIONS = processes_argv()[2].partition("\nnewline=")[0]
VERSION = "3.6.14"
ARGV = ("etcd", "--name=infra1", "--data-dir=/var/lib/etcd")


def run(body: str, *arguments: Path | str) -> list[str]:
    argv = ["sh", "-c", f"{FUNCTIONS}\n{body}", "pods", *map(str, arguments)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def process(folder: Path, *argv: str) -> Path:
    """Write what /proc has of a process."""
    folder.mkdir()
    (folder / "cmdline").write_text("".join(f"{word}\0" for word in argv))
    (folder / "cgroup").write_text("0::/system.slice/kubelet.service\n")
    return folder


def static_pods(tmp_path: Path, *argv: str) -> list[str]:
    return run("kubelet=$1; static_pods", process(tmp_path / "kubelet", "kubelet", *argv))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            "kind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\n",
            "/etc/kubernetes/manifests",
        ),
        ("staticPodPath: /a # the comment\n", "/a"),
        ('staticPodPath: "/a/"\n', "/a"),
        ("staticPodPath: '/a'\r\n", "/a"),
        ('{"kind": "KubeletConfiguration", "staticPodPath": "/a"}', "/a"),
        ('{\n  "staticPodPath":"/a",\n  "port": 1\n}\n', "/a"),
        ("#staticPodPath: /a\n", None),
        ("staticPodURL: http://a\n", None),
        ("", None),
    ],
)
def test_the_directory_is_that_of_the_configuration_file(tmp_path: Path, text: str, path: str | None) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert static_pods(tmp_path, f"--config={config}") == ([path] if path else [])


def test_a_relative_directory_begins_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("staticPodPath: pods\n")
    assert static_pods(tmp_path, "--config", f"{tmp_path}/config.yaml") == [f"{tmp_path}/pods"]


def test_a_drop_in_and_a_flag_are_stronger(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("staticPodPath: /a\n")
    (tmp_path / "drop-ins").mkdir()
    (tmp_path / "drop-ins/10.conf").write_text("staticPodPath: /b\n")
    (tmp_path / "drop-ins/20.conf").write_text("kind: KubeletConfiguration\n")
    options = (f"--config={tmp_path}/config.yaml", f"--config-dir={tmp_path}/drop-ins")
    assert static_pods(tmp_path, *options) == ["/b"]
    shutil.rmtree(tmp_path / "kubelet")
    assert static_pods(tmp_path, *options, "--pod-manifest-path=/c") == ["/c"]


def test_a_kubelet_without_static_pods_has_no_directory(tmp_path: Path) -> None:
    assert static_pods(tmp_path) == []
    shutil.rmtree(tmp_path / "kubelet")
    assert static_pods(tmp_path, "--config=/nowhere/config.yaml") == []


def test_a_manifest_has_all_arguments_of_the_process(tmp_path: Path) -> None:
    pods = tmp_path / "pods"
    pods.mkdir()
    listed = "".join(f"    - {word}\n" for word in ARGV)
    for name, text in {
        "etcd.yaml": listed,
        "copy of etcd.yaml": listed,
        ".hidden.yaml": listed,
        "other.yaml": listed.replace("infra1", "infra2"),
        "large.yaml": listed + "#" * 300_000,
    }.items():
        (pods / name).write_text(text)
    (pods / "folder").mkdir()
    kubelet, etcd = process(tmp_path / "kubelet", "kubelet"), process(tmp_path / "etcd", *ARGV)
    body = "kubelet=$1 pods=$2; describe_pod $3"
    both = [f"{pods}/copy of etcd.yaml", f"{pods}/etcd.yaml"]
    assert run(body, kubelet, pods, etcd) == ["kubelet.service", *both]
    assert run(body, kubelet, f"{pods}/etcd.yaml", etcd) == ["kubelet.service", both[1]]
    (etcd / "cmdline").write_text("etcd\0")
    assert run(body, kubelet, pods, etcd) == ["kubelet.service"], "no argument fits each file"
    (etcd / "cmdline").write_text("etcd\0--name=$(reboot)\0")
    assert run(body, kubelet, pods, etcd) == ["kubelet.service"]


@pytest.mark.skipif(
    not os.access("/proc/1/ns/mnt", os.R_OK), reason="the namespaces of process 1 are not readable"
)
def test_a_process_of_another_user_is_no_kubelet(tmp_path: Path) -> None:
    kubelet = tmp_path / "kubelet"
    shutil.copy("/bin/sleep", kubelet)
    kubelet.chmod(0o755)
    tmp_path.chmod(0o755)
    body = 'find_kubelet && [ "$kubelet" = "/proc/$1" ] && echo found || true'
    for user, found in ((0, ["found"]), (65534, [])):
        with subprocess.Popen([kubelet, "60"], user=user, cwd="/") as running:
            try:
                assert run(body, str(running.pid)) == found
            finally:
                running.kill()


@pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")
def test_programs_of_a_container_are_copied_and_no_other_file(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    secret.write_text("secret")
    with subprocess.Popen(["/bin/sleep", "60"]) as running:
        near = Path(f"/proc/{running.pid}/exe").readlink().parent
        inside = root / near.relative_to("/")
        inside.mkdir(parents=True)
        shutil.copy(etcd_binaries(VERSION) / "etcdctl", inside)
        (inside / "etcdutl").symlink_to(secret)
        (inside / "text").write_text("#!/bin/sh\necho version: 3.6.14\n")
        (inside / "text").chmod(0o755)
        arguments = (
            "",
            f"{tmp_path}/new",
            f"{tmp_path}/placed",
            VERSION,
            "true",
            str(running.pid),
            str(root),
        )
        try:
            argv = ["sh", "-c", COPY_RUNNING, "copy", *arguments, "etcdctl", "etcdutl", "text"]
            subprocess.run(argv, check=True)
        finally:
            running.kill()
    assert sorted(each.name for each in (tmp_path / "placed").iterdir()) == ["etcd", "etcdctl"]
