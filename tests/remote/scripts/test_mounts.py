"""The probe with a real sh on mounts: the mount point of a directory that cannot be written, or where nothing runs."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.observed.directory import PathFault
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.spec.layout import layout_of
from tests.support.fake_world import spec_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

# Each is in a mount namespace of its own. `$1` is a directory with the subdirectories data, opt and other.
MOUNTS = {
    "a directory of the same file system": "mount --bind other data; mount -o remount,ro,bind data",
    "a file system": "mount -t tmpfs -o ro tmpfs data",
    "an overlay": "mkdir l u w; mount -t tmpfs tmpfs l; mkdir l/u l/w l/l; "
    "mount -t overlay -o lowerdir=l/l,upperdir=l/u,workdir=l/w overlay data; mount -o remount,ro data",
    "a mount on a mount": "mount -t tmpfs tmpfs data; mount --bind other data; mount -o remount,ro,bind data",
}


def probe(folder: Path, mounts: str, data: str = "data") -> HostSeen:
    """Return a host whose data and programs are in this folder, after these mounts."""
    spec = spec_of(1)
    for name in ("data", "opt", "other"):
        (folder / name).mkdir(parents=True)
    layout = replace(
        layout_of(spec, spec.hosts[0]), data_dir=str(folder / data), versions=str(folder / "opt")
    )
    script = f'cd "$1"; shift; mount --make-rprivate /; {mounts}; exec "$@"'
    command = ("unshare", "-m", "sh", "-ec", script, "sh", str(folder), *probe_argv(layout, (), ()))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return parse_probe("infra1", done.stdout, layout, 0.0, 0.0)


@pytest.mark.parametrize("mounts", MOUNTS.values(), ids=MOUNTS)
def test_a_read_only_mount_is_named(tmp_path: Path, mounts: str) -> None:
    seen, data = probe(tmp_path, mounts), str(tmp_path / "data")
    assert [each for each in seen.path_faults if each.kind == "read-only"] == [
        PathFault("read-only", data, data)
    ]
    assert seen.data.mount


def test_the_nearest_mount_of_a_new_directory(tmp_path: Path) -> None:
    """The data directory does not exist yet, so its parent counts, and not a mount below it."""
    mounts = "mount --bind other data; mkdir data/etcd; mount -t tmpfs tmpfs data/etcd; mount -o remount,ro,bind data"
    seen = probe(tmp_path, mounts, data="data/new")
    assert PathFault("read-only", f"{tmp_path}/data/new", f"{tmp_path}/data") in seen.path_faults


def test_a_directory_without_a_mount(tmp_path: Path) -> None:
    seen = probe(tmp_path, ":")
    assert not seen.data.mount
    assert not [each for each in seen.path_faults if each.kind in ("read-only", "noexec")]


@pytest.mark.parametrize("name", ["plain", "with a space"])
def test_programs_on_a_mount_with_noexec(tmp_path: Path, name: str) -> None:
    """A host can have a link to a directory with spaces in its path. In the list of mounts they are `\\040`."""
    disk = tmp_path / name
    mounts = f'mkdir "{disk}"; mount -t tmpfs -o noexec tmpfs "{disk}"; mkdir "{disk}/etcd"; '
    mounts += f'rmdir opt; ln -s "{disk}/etcd" opt'
    seen = probe(tmp_path, mounts)
    (fault,) = (each for each in seen.path_faults if each.kind == "noexec")
    assert fault == PathFault("noexec", str(tmp_path / "opt"), str(disk))


def test_an_immutable_directory_is_no_mount(tmp_path: Path) -> None:
    done = subprocess.run(["chattr", "+i", tmp_path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this file system has no attributes: {done.stderr}")
    subprocess.run(["chattr", "-i", tmp_path], check=True)
    try:
        seen = probe(tmp_path, "chattr +i data")
    finally:
        subprocess.run(["chattr", "-i", tmp_path / "data"], check=True)
    data = str(tmp_path / "data")
    assert PathFault("unwritable", data, data) in seen.path_faults
    assert not [each for each in seen.path_faults if each.kind == "read-only"]
