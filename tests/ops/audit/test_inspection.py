"""The inspection script on this machine, in some tests with fake programs before the real ones in PATH."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.audit.findings import HostInspection
from etcdup.core.audit.inspection import inspection_argv, parse_inspection
from etcdup.core.spec.layout import Layout, layout_of
from tests.support.fake_world import spec_of

# The output of `chronyc tracking`, version 4.3.
TRACKING = """\
Reference ID    : C0A80801 (192.168.8.1)
Stratum         : 3
System time     : 0.000001501 seconds slow of NTP time
Leap status     : {}
"""


def put_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("timedatectl", "leap", "synchronised"),
    [
        ("echo yes", None, True),
        ("echo no", "Normal", False),
        ("exit 1", "Normal", True),
        ("exit 1", "Insert second", True),
        ("exit 1", "Not synchronised", False),
        ("exit 1", None, None),
        ("sleep 60", None, None),
    ],
)
def test_timedatectl_or_chronyc_reports_whether_the_clock_is_synchronised(
    tmp_path: Path, timedatectl: str, leap: str | None, synchronised: bool | None
) -> None:
    put_program(tmp_path, "timedatectl", timedatectl)
    put_program(tmp_path, "chronyc", f"cat <<'END'\n{TRACKING.format(leap)}END" if leap else "exit 1")
    spec = spec_of(1)
    argv = inspection_argv(layout_of(spec, spec.hosts[0]), [], disk=False)
    environment = {"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=30)
    assert parse_inspection("infra1", done.stdout).synchronised is synchronised


@pytest.mark.parametrize(
    ("kernel", "feature", "reported"),
    [
        ("5.10.0-28-amd64", "fast_commit", True),
        ("5.16.1", "fast_commit", True),
        ("5.17.0", "fast_commit", False),
        ("6.1.0-13-amd64", "fast_commit", False),
        ("5.10.0-28-amd64", "has_journal", False),
    ],
)
def test_a_file_system_that_loses_writes_is_found(
    tmp_path: Path, kernel: str, feature: str, reported: bool
) -> None:
    """The features are those of a real file system, in an image."""
    image = tmp_path / "image"
    image.write_bytes(bytes(16 << 20))
    made = subprocess.run(["mkfs.ext4", "-q", "-O", feature, str(image)], capture_output=True)
    if made.returncode:
        pytest.skip("mkfs.ext4 of this machine cannot make such a file system")
    (programs := tmp_path / "programs").mkdir()
    put_program(programs, "uname", f"echo {kernel}")
    put_program(programs, "df", f"printf 'Filesystem\n{image}\n'")
    spec = spec_of(1)
    layout = replace(layout_of(spec, spec.hosts[0]), data_dir=str(tmp_path))
    environment = {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        inspection_argv(layout, [], disk=False), env=environment, check=True, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert parse_inspection("infra1", done.stdout).fast_commits == ((str(tmp_path),) if reported else ())


def run_inspection(layout: Layout, *, disk: bool = False) -> HostInspection:
    argv = inspection_argv(layout, [], disk=disk)
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    return parse_inspection("infra1", done.stdout)


def layout_in(folder: Path) -> Layout:
    """Return the layout of a member with a separate WAL directory."""
    spec = spec_of(1)
    paths = {"run": str(folder), "data_dir": str(folder / "data"), "wal_dir": str(folder / "log/wal")}
    return replace(layout_of(spec, spec.hosts[0]), supervisor="process", **paths)


@pytest.mark.parametrize(
    ("flags", "data", "wal"),
    [
        ((), "own/data", "own/wal"),
        (("--data-dir=DIR/flag",), "flag", "own/wal"),
        (("--data-dir", "DIR/two words", "-wal-dir=DIR/log"), "two words", "log"),
        (("--data-dir", "relative"), "relative", "own/wal"),
    ],
)
def test_disks_are_those_that_the_running_process_uses(
    tmp_path: Path, flags: tuple[str, ...], data: str, wal: str
) -> None:
    """The flags of the process override its variables, and both override cluster.yaml."""
    environment = {"ETCD_DATA_DIR": f"{tmp_path}/own/data", "ETCD_WAL_DIR": f"{tmp_path}/own/wal"}
    argv = ["sh", "-c", "read -r _", *(flag.replace("DIR", str(tmp_path)) for flag in flags)]
    with subprocess.Popen(argv, env=environment, cwd=tmp_path, stdin=subprocess.PIPE) as running:
        (tmp_path / "etcd.pid").write_text(f"{running.pid}\n")
        seen = run_inspection(layout_in(tmp_path), disk=True)
        running.communicate(b"\n")
    assert [disk.path for disk in seen.disks] == [f"{tmp_path}/{data}", f"{tmp_path}/{wal}"]
    shown = subprocess.run(
        ["df", "-B1", "--output=fstype,target", tmp_path], check=True, capture_output=True, text=True
    ).stdout.splitlines()[-1]
    assert {f"{disk.filesystem} {disk.mount}" for disk in seen.disks} == {" ".join(shown.split())}
    assert (seen.fsyncs_ms, seen.writes_untried) == ((), "etcd runs")


@pytest.mark.parametrize("flags", [("--key-file=KEY",), ("--key-file", "KEY"), ("-key-file", "KEY")])
def test_the_mode_of_a_key_is_read_for_each_form_of_the_flag(tmp_path: Path, flags: tuple[str, ...]) -> None:
    key = tmp_path / "key.pem"
    key.touch(mode=0o640)
    argv = ["sh", "-c", "read -r _", *(flag.replace("KEY", str(key)) for flag in flags)]
    with subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.PIPE) as running:
        (tmp_path / "etcd.pid").write_text(f"{running.pid}\n")
        seen = run_inspection(layout_in(tmp_path))
        running.communicate(b"\n")
    assert seen.rights[seen.settings["key-file"]].mode == 0o640


def test_the_disk_test_writes_next_to_the_wal_and_never_if_a_member_exists(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    (tmp_path / "log").mkdir()
    before = (tmp_path / "log").stat().st_mtime_ns
    seen = run_inspection(layout, disk=True)
    assert [disk.path for disk in seen.disks] == [layout.data_dir, layout.wal_dir]
    assert (len(seen.fsyncs_ms), seen.writes_untried) == (100, "")
    assert (tmp_path / "log").stat().st_mtime_ns > before, "the disk test wrote there"
    assert list((tmp_path / "log").iterdir()) == [], "the disk test removed its file"
    assert run_inspection(layout).fsyncs_ms == (), "without `disk` there is no test"
    for kept in (tmp_path / "log/wal/0.wal", tmp_path / "data/member"):
        kept.parent.mkdir(exist_ok=True)
        kept.touch()
        untried = run_inspection(layout, disk=True)
        assert (untried.fsyncs_ms, untried.writes_untried) == ((), "a member has data there")
        kept.unlink()


@pytest.mark.parametrize("others", [[], [("infra2", "127.0.0.1", ())]])
def test_missing_programs_are_named(tmp_path: Path, others: list[tuple[str, str, tuple[int, ...]]]) -> None:
    for name in ("sh", "tr", "sort", "tail", "df", "timeout", "stat", "readlink", "sha256sum"):
        put_program(tmp_path, name, f'exec {shutil.which(name)} "$@"')
    spec = spec_of(1)
    argv = inspection_argv(layout_of(spec, spec.hosts[0]), others, disk=False)
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=30)
    assert parse_inspection("infra1", done.stdout).missing_programs == (("ping", "ip") if others else ())


def test_another_etcd_unit_is_found(tmp_path: Path) -> None:
    put_program(tmp_path, "systemctl", 'case $1 in show) echo 0 ;; list-units) printf "%s loaded active running x\\n" '
        "etcd.service etcd-events.service ;; esac")  # fmt: skip
    spec = spec_of(1)
    argv = inspection_argv(layout_of(spec, spec.hosts[0]), [], disk=False)
    environment = {"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=30)
    assert parse_inspection("infra1", done.stdout).other_units == ("etcd-events.service",)
