"""The scripts of core/host/unproved.py, run by sh on this machine."""

import subprocess
from pathlib import Path

import pytest

from etcdup.core.host.unproved import KEEP, OTHER_VERSION, PUT_BACK, RUN_BINARY

FILES = ("pki/server.pem", "pki/server-key.pem", "etcd.conf", "etcd.service")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "pki").mkdir()
    for name in FILES:
        (tmp_path / name).write_text(f"old {name}")
        (tmp_path / name).chmod(0o640)
    (tmp_path / "current").symlink_to("3.6.13")
    return tmp_path


def run(script: str, etc: Path) -> int:
    paths = [str(etc / name) for name in ("unproved", "current", "pki", "etcd.conf", "etcd.service")]
    return subprocess.run(["sh", "-c", script, "script", *paths], timeout=10, check=False).returncode


def write_new(etc: Path) -> None:
    for name in FILES:
        (etc / name).write_text(f"new {name}")


def content(etc: Path) -> list[str]:
    return [(etc / name).read_text().split()[0] for name in FILES]


def test_the_previous_files_are_put_back_with_their_modes(etc: Path) -> None:
    assert run(KEEP, etc) == 0
    assert (etc / "unproved").stat().st_mode & 0o777 == 0o700
    write_new(etc)
    (etc / "etcd.conf").chmod(0o600)
    assert run(PUT_BACK, etc) == 0
    assert content(etc) == ["old"] * 4
    assert (etc / "etcd.conf").stat().st_mode & 0o777 == 0o640
    assert not (etc / "unproved").exists()
    assert run(PUT_BACK, etc) == 0, "a second run changes nothing"


def test_files_that_are_kept_are_not_replaced_by_newer_ones(etc: Path) -> None:
    assert run(KEEP, etc) == 0
    write_new(etc)
    assert run(KEEP, etc) == 0
    assert run(PUT_BACK, etc) == 0
    assert content(etc) == ["old"] * 4


def test_a_copy_that_a_killed_run_left_is_made_again(etc: Path) -> None:
    (etc / "unproved.new").mkdir()
    (etc / "unproved.new/etcd.conf").write_text("a part")
    assert run(KEEP, etc) == 0
    assert (etc / "unproved/etcd.conf").read_text() == "old etcd.conf"


def test_settings_of_another_version_stay(etc: Path) -> None:
    assert run(KEEP, etc) == 0
    write_new(etc)
    (etc / "current").unlink()
    (etc / "current").symlink_to("3.6.14")
    assert run(PUT_BACK, etc) == OTHER_VERSION
    assert content(etc) == ["old", "old", "new", "new"]
    assert (etc / "unproved").is_dir()


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("#!/bin/sh\necho etcd Version: 3.6.14\necho Git SHA: 1\n", True),
        ("#!/bin/sh\necho etcd Version: 3.6.13\n", False),
        ("#!/bin/sh\necho etcd Version: 3.6.14\nexit 1\n", False),
        ("\x7fELF damaged", False),
    ],
)
def test_a_binary_must_run_and_report_its_version(tmp_path: Path, text: str, *, works: bool) -> None:
    etcd = tmp_path / "etcd"
    etcd.write_text(text)
    etcd.chmod(0o755)
    argv = ["sh", "-c", RUN_BINARY, "run-etcd", "", str(tmp_path), "3.6.14"]
    done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
    assert (done.returncode == 0) == works, done.stderr
