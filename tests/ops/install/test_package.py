"""`install.from: package`: the packages that hosts offer, and the real packages of this machine."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.directory import DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.install.command import run
from etcdup.ops.install.install import cached_versions, obtain, pack_local_package, resolve, this_arch
from etcdup.ops.install.package_here import query_local_package
from etcdup.remote.host import Host
from etcdup.remote.local import LocalHost
from tests.support.texts import Texts

APT_CACHE = """\
#!/bin/sh
echo asked >>{log}
printf 'etcd-server:\\n  Installed: (none)\\n  Candidate: %s\\n' "$(cat {candidate})"
"""
APT_GET = """\
#!/bin/sh
echo "$@" >>{log}
case "$*" in *update*) {update} ;; esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose apt offers the version in the file `candidate`. `apt-get update` copies `mirror` to `candidate`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "candidate").write_text("(none)")
    update = f"test -e {folder}/mirror && cp {folder}/mirror {folder}/candidate"
    places = {"log": folder / "log", "candidate": folder / "candidate", "update": update}
    for name, script in (("apt-cache", APT_CACHE), ("apt-get", APT_GET)):
        (folder / name).write_text(script.format(**places))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def seen_as(name: str, distribution: str = "debian", versions: tuple[str, ...] = ()) -> HostSeen:
    return HostSeen(
        host=name, arch=this_arch(), distribution=distribution, distribution_version="12", hostname=name,
        machine_id=name, systemd=True, clock_ahead_s=0.0, etcd_user=False, opt_free_bytes=1 << 30,
        data=DirSeen("/var/lib/etcd", None), wal=None, files={}, unit=UnitSeen(), versions=versions,
    )  # fmt: skip


def spec_of(version: str, names: tuple[str, ...] = ("infra1",), root: str | None = None) -> Spec:
    hosts = [
        {"name": name, "address": f"127.0.0.{number}", "local": True, "root": root}
        for number, name in enumerate(names, 1)
    ]
    return Spec.model_validate(
        {"name": "t", "version": version, "hosts": hosts, "install": {"from": "package"}}
    )


async def resolve_package_for(spec: Spec, cache: Path, *seen: HostSeen) -> Binaries:
    hosts: dict[str, Host] = {each.host: LocalHost(each.host) for each in seen}
    by_name = {each.host: each for each in seen}
    arches = frozenset({this_arch()})
    return await resolve(spec, Path(), arches, hosts, by_name, cache=cache, report=lambda _: None)


async def test_a_package_of_the_wanted_version_is_used(texts: Texts, apt: Path, tmp_path: Path) -> None:
    (apt / "candidate").write_text("3.5.16-4+b2")
    binaries = await resolve_package_for(spec_of("3.5.16"), tmp_path, seen_as("infra1"))
    assert (binaries.source, binaries.is_vouched, binaries.sha256) == ("package", True, {})
    texts(binaries)
    assert (apt / "log").read_text() == "asked\n"


async def test_package_lists_without_the_version_are_updated(apt: Path, tmp_path: Path) -> None:
    (apt / "mirror").write_text("3.5.16-4")
    assert (await resolve_package_for(spec_of("3.5.16"), tmp_path, seen_as("infra1"))).source == "package"
    assert "update" in (apt / "log").read_text()


async def test_another_version_is_refused_and_the_offers_are_reported(apt: Path, tmp_path: Path) -> None:
    (apt / "candidate").write_text("3.4.23-4+b4")
    with pytest.raises(InstallError) as caught:
        await resolve_package_for(
            spec_of("3.6.14", ("infra1", "infra2")), tmp_path, seen_as("infra1"), seen_as("infra2")
        )
    assert str(caught.value) == (
        "the hosts offer no packages of etcd 3.6.14: infra1 (debian 12): offers 3.4.23-4+b4; "
        "infra2 (debian 12): offers 3.4.23-4+b4"
    )
    assert caught.value.hint == "write `version: 3.4.23` into cluster.yaml: all of them offer it"


async def test_no_offer_and_no_package_manager(texts: Texts, apt: Path, tmp_path: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_package_for(
            spec_of("3.6.14", ("infra1", "infra2")), tmp_path, seen_as("infra1"), seen_as("infra2", "nixos")
        )
    texts(caught.value)
    assert caught.value.hint == ""


async def test_a_host_that_has_the_version_is_not_queried(apt: Path, tmp_path: Path) -> None:
    (apt / "candidate").write_text("3.5.16-4")
    has = seen_as("infra2", "nixos", versions=("3.5.16",))
    assert (
        await resolve_package_for(spec_of("3.5.16", ("infra1", "infra2")), tmp_path, seen_as("infra1"), has)
    ).sha256 == {}


async def test_hosts_download_packages_themselves(apt: Path, tmp_path: Path) -> None:
    (apt / "candidate").write_text("3.5.16-4")
    spec = spec_of("3.5.16")
    binaries = await resolve_package_for(spec, tmp_path, seen_as("infra1"))
    arches = frozenset({this_arch()})
    assert await obtain(binaries, spec, Path(), arches, cache=tmp_path, report=lambda _: None) == {}


async def test_packages_need_a_reachable_host(texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_package_for(spec_of("3.5.16"), tmp_path)
    texts(caught.value)


async def require_offer() -> Version:
    """Return the version that the apt of this machine offers. Skip the test if it offers none."""
    if not shutil.which("apt-get"):
        pytest.skip("this machine has no apt")
    try:
        candidate = await query_local_package(print)
    except InstallError as why:
        pytest.skip(str(why))
    assert candidate.version is not None
    return candidate.version


async def test_this_machines_packages_become_an_archive(tmp_path: Path) -> None:
    version = await require_offer()
    reported: list[str] = []
    got, archive = await pack_local_package(this_arch(), cache=tmp_path, report=reported.append)
    assert got == version
    with tarfile.open(archive.path) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    top = tmp_path / "out" / f"etcd-v{version}-linux-{this_arch()}"
    ran = await run([str(top / "etcd"), "--version"])
    assert ran.stdout.startswith(f"etcd Version: {version}\n")
    assert (top / "etcdctl").exists()
    assert cached_versions(tmp_path) == [], "a build of a distribution is not upstream's (rule 44)"
    reported.clear()
    assert await pack_local_package(this_arch(), cache=tmp_path, report=reported.append) == (got, archive)
    assert reported == []


async def test_local_members_use_the_packages_of_this_machine(tmp_path: Path) -> None:
    version = await require_offer()
    spec = spec_of(str(version), root=str(tmp_path / "member"))
    binaries = await resolve_package_for(spec, tmp_path, seen_as("infra1"))
    arches = frozenset({this_arch()})
    archives = await obtain(binaries, spec, Path(), arches, cache=tmp_path, report=lambda _: None)
    assert archives[this_arch()].version == version


async def test_package_lists_are_downloaded_if_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a minimal machine the lists are empty, and etcdup does not change them."""
    version = await require_offer()
    empty = tmp_path / "no-lists"
    (empty / "partial").mkdir(parents=True)
    config = tmp_path / "apt.conf"
    # apt reads the file of APT_CONFIG first, and the file that etcdup passes with -c last.
    config.write_text(
        f'Dir::State::lists "{empty}";\nDir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    reported: list[str] = []
    got, _ = await pack_local_package(this_arch(), cache=tmp_path / "cache", report=reported.append)
    assert got == version
    assert reported[0] == "downloading package lists for this machine"
    assert [path.name for path in empty.iterdir()] == ["partial"]


async def test_packages_of_another_architecture_are_refused(texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await pack_local_package("riscv64", cache=tmp_path, report=print)
    texts(caught.value)
