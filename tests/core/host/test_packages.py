"""The output of package managers, and the commands that install etcd from packages (rules 52, 96)."""

import os
import subprocess
from pathlib import Path

import pytest

from etcdup.core.host.packages import (
    candidate_command,
    install_commands,
    manager_of,
    packages_of,
    parse_candidate,
    upstream_version,
)
from etcdup.core.spec.version import Version
from tests.support.texts import Texts

# Recorded output of `apt-cache policy etcd-server` on Debian 12.
BOOKWORM = """\
etcd-server:
  Installed: (none)
  Candidate: 3.4.23-4+b4
  Version table:
     3.4.23-4+b4 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
"""

# Recorded output of the same command, for a package that has no version.
APT_NONE = """\
etcd-server:
  Installed: (none)
  Candidate: (none)
  Version table:
"""

# Output of `dnf --quiet info etcd` as in the documentation of dnf 4: an installed version, and an update of it.
DNF4 = """\
Installed Packages
Name         : etcd
Version      : 3.5.15
Release      : 1.fc40
Architecture : x86_64
Size         : 60 M
Source       : etcd-3.5.15-1.fc40.src.rpm
Repository   : @System
From repo    : updates
Summary      : Distributed reliable key-value store

Available Packages
Name         : etcd
Version      : 3.5.16
Release      : 1.fc40
Architecture : x86_64
Size         : 15 M
Source       : etcd-3.5.16-1.fc40.src.rpm
Repository   : updates
Summary      : Distributed reliable key-value store
"""

# Output as in the documentation of dnf 5.
DNF5 = """\
Available packages
Name            : etcd
Epoch           : 0
Version         : 3.5.21
Release         : 1.fc42
Architecture    : x86_64
Download size   : 16.2 MiB
Repository      : fedora
"""

# Output of `zypper info` as in the manual of zypper.
ZYPPER = """\
Loading repository data...
Reading installed packages...


Information for package etcd:
-----------------------------
Repository     : Main Repository (OSS)
Name           : etcd
Version        : 3.6.6-1.1
Arch           : x86_64
Vendor         : openSUSE
Installed Size : 25.6 MiB
Installed      : No
Status         : not installed
"""

ZYPPER_NONE = "Loading repository data...\nReading installed packages...\n\npackage 'etcd' not found.\n"


@pytest.mark.parametrize(
    ("manager", "output", "text", "version"),
    [
        ("apt", BOOKWORM, "3.4.23-4+b4", Version(3, 4, 23)),
        ("dnf", DNF4, "3.5.16", Version(3, 5, 16)),
        ("yum", DNF4, "3.5.16", Version(3, 5, 16)),
        ("dnf", DNF5, "3.5.21", Version(3, 5, 21)),
        ("zypper", ZYPPER, "3.6.6-1.1", Version(3, 6, 6)),
    ],
)
def test_the_candidate_is_found(manager: str, output: str, text: str, version: Version) -> None:
    candidate = parse_candidate(manager, output)
    assert candidate is not None
    assert (candidate.text, candidate.version) == (text, version)


@pytest.mark.parametrize(
    ("manager", "output"), [("apt", APT_NONE), ("apt", ""), ("dnf", ""), ("zypper", ZYPPER_NONE)]
)
def test_without_an_etcd_package_there_is_no_candidate(manager: str, output: str) -> None:
    assert parse_candidate(manager, output) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.4.23-4+b4", Version(3, 4, 23)),
        ("3.4.23+dfsg-4+b5", Version(3, 4, 23)),
        ("1:3.5.16-4", Version(3, 5, 16)),
        ("3.5.16-4~bpo12+1", Version(3, 5, 16)),
        ("3.5.16-0ubuntu1", Version(3, 5, 16)),
        ("3.5.30", Version(3, 5, 30)),
        ("3.6.0~rc1-1", None),
        ("3.6.0-rc.4", None),
        ("3.6.0~", None),
        ("3.5", None),
        ("3.5.16.1-1", None),
        ("", None),
    ],
)
def test_only_a_release_has_an_upstream_version(text: str, version: Version | None) -> None:
    assert upstream_version(text) == version


@pytest.mark.parametrize(
    ("distribution", "manager"),
    [
        ("debian", "apt"),
        ("ubuntu", "apt"),
        ("fedora", "dnf"),
        ("rocky", "dnf"),
        ("amzn", "yum"),
        ("opensuse-leap", "zypper"),
        ("sles", "zypper"),
        ("arch", None),
        ("unknown", None),
    ],
)
def test_manager_of_a_distribution(distribution: str, manager: str | None) -> None:
    assert manager_of(distribution) == manager


@pytest.mark.parametrize("manager", ["apt", "dnf", "yum", "zypper"])
def test_etcd_is_masked_before_anything_is_installed(manager: str) -> None:
    """Rule 96: Debian's package starts a single member on its own."""
    commands = install_commands(manager, Version(3, 5, 16), "/opt/etcd", "etcd", unit_is_ours=False)
    assert commands[0][-3:] == ("systemctl", "mask", "etcd.service")


@pytest.mark.parametrize("manager", ["apt", "dnf", "yum", "zypper"])
def test_our_own_unit_is_not_masked_and_nothing_restarts_it(manager: str) -> None:
    """Rule 52: the scripts of a package restart etcd.service, which can be a running member."""
    commands = install_commands(manager, Version(3, 5, 16), "/opt/etcd", "etcd", unit_is_ours=True)
    assert not any("mask" in argv for argv in commands)
    *managing, _copy = commands
    assert all("SYSTEMD_OFFLINE=1" in argv for argv in managing)


def test_packages_by_manager() -> None:
    assert packages_of("apt", Version(3, 5, 16)) == ("etcd-server", "etcd-client")
    assert packages_of("dnf", Version(3, 5, 16)) == ("etcd",)
    assert packages_of("zypper", Version(3, 6, 6)) == ("etcd", "etcdctl", "etcdutl")
    assert packages_of("zypper", Version(3, 4, 43)) == ("etcd", "etcdctl")


def test_apt_installs_exactly_this_version_and_holds_it() -> None:
    commands = install_commands("apt", Version(3, 5, 16), "/opt/etcd", "etcd", unit_is_ours=False)
    assert any(argv[-2:] == ("etcd-server=3.5.16*", "etcd-client=3.5.16*") for argv in commands)
    assert any(argv[-4:] == ("apt-mark", "hold", "etcd-server", "etcd-client") for argv in commands)


def test_the_output_of_package_managers_is_not_translated() -> None:
    for manager in ("apt", "dnf", "yum", "zypper"):
        assert candidate_command(manager)[:2] == ("env", "LC_ALL=C")


@pytest.mark.parametrize("manager", ["apt", "dnf", "zypper"])
def test_shell_parts_are_valid_shell(manager: str) -> None:
    for argv in install_commands(manager, Version(3, 5, 16), "/opt/etcd", "etcd", unit_is_ours=False):
        if "-c" in argv:
            script = argv[argv.index("-c") + 1]
            subprocess.run(["sh", "-n"], input=script, text=True, check=True)


class TestCopy:
    """The last command, run on a temporary directory instead of /usr/bin."""

    @pytest.fixture
    def usr_bin(self, tmp_path: Path) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for tool in ("etcd", "etcdctl", "etcdutl"):
            (folder / tool).write_text("#!/bin/sh\necho 'etcd Version: 3.5.16'\necho more\n")
            (folder / tool).chmod(0o755)
        return folder

    def copy(self, usr_bin: Path, versions: Path, version: Version) -> subprocess.CompletedProcess[str]:
        argv = list(install_commands("apt", version, str(versions), "", unit_is_ours=True)[-1])
        argv[2] = argv[2].replace("/usr/bin/", f"{usr_bin}/")
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
        )

    def test_all_tools_are_copied_to_the_directory_of_the_version(
        self, usr_bin: Path, tmp_path: Path
    ) -> None:
        versions = tmp_path / "opt/etcd"
        for _again in range(2):
            done = self.copy(usr_bin, versions, Version(3, 5, 16))
            assert (done.returncode, done.stderr) == (0, "")
            assert sorted(path.name for path in versions.iterdir()) == ["3.5.16"]
            assert sorted(path.name for path in (versions / "3.5.16").iterdir()) == [
                "etcd",
                "etcdctl",
                "etcdutl",
            ]

    def test_another_version_is_refused(self, texts: Texts, usr_bin: Path, tmp_path: Path) -> None:
        done = self.copy(usr_bin, tmp_path / "opt", Version(3, 5, 30))
        assert done.returncode != 0
        texts(done.stderr)
        assert not (tmp_path / "opt/3.5.30").exists()

    def test_a_missing_tool_leaves_no_version(self, usr_bin: Path, tmp_path: Path) -> None:
        (usr_bin / "etcdutl").unlink()
        assert self.copy(usr_bin, tmp_path / "opt", Version(3, 5, 16)).returncode != 0
        assert not (tmp_path / "opt/3.5.16").exists()

    def test_the_rest_of_a_killed_run_is_replaced(self, usr_bin: Path, tmp_path: Path) -> None:
        left = tmp_path / "opt/.3.5.16.making"
        left.mkdir(parents=True)
        (left / "etcd").write_text("half")
        assert self.copy(usr_bin, tmp_path / "opt", Version(3, 5, 16)).returncode == 0
        assert (tmp_path / "opt/3.5.16/etcd").read_text().startswith("#!")
        assert not left.exists()
