"""`install.from: path`: folders and tarballs of the operator, checked by ELF header and by running them."""

import asyncio
import io
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from etcdup.core.host.packages import tools_of
from etcdup.core.observed.binaries import Binaries
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.install.archive import sha256_of
from etcdup.ops.install.elf import arch_of
from etcdup.ops.install.install import BinaryArchive, cached_versions, obtain, resolve, this_arch
from tests.support.elf_programs import program_for
from tests.support.etcd_binaries import NoBinaries, etcd_binaries
from tests.support.texts import Texts

OTHER = "arm64" if this_arch() == "amd64" else "amd64"
VERSION = Version(3, 6, 14)


def folder_of(folder: Path, arch: str, version: Version = VERSION) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in tools_of(version):
        (folder / name).write_bytes(program_for(arch, name.encode()))
    return folder


def tarball_of(folder: Path, tarball: Path, top: str, mode: str = "w:gz") -> Path:
    with tarfile.open(tarball, mode) as tar:  # type: ignore[call-overload]
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=f"{top}{path.name}")
    return tarball


def spec_of(
    path: str | None, version: Version = VERSION, sha256: Mapping[str, str] = MappingProxyType({})
) -> Spec:
    host = {"name": "infra1", "address": "127.0.0.1"}
    install = {"from": "path", "path": path, "sha256": dict(sha256)}
    return Spec.model_validate({"name": "t", "version": str(version), "hosts": [host], "install": install})


async def resolve_and_obtain(
    spec: Spec, folder: Path, *arches: str, cache: Path | None = None
) -> tuple[Binaries, dict[str, BinaryArchive]]:
    reported: list[str] = []
    cache = cache or folder / "cache"
    binaries = await resolve(spec, folder, frozenset(arches), {}, {}, cache=cache, report=reported.append)
    archives = await obtain(binaries, spec, folder, frozenset(arches), cache=cache, report=reported.append)
    assert binaries.sha256 == {arch: archive.sha256 for arch, archive in archives.items()}
    return binaries, archives


def content_of(archive: BinaryArchive) -> dict[str, bytes]:
    found = {}
    with tarfile.open(archive.path, "r:gz") as tar:
        for entry in tar:
            if entry.isfile():
                content = tar.extractfile(entry)
                assert content is not None
                assert (entry.uid, entry.gid, entry.mode) == (0, 0, 0o755)
                found[entry.name] = content.read()
    return found


def as_release(arch: str, version: Version = VERSION) -> dict[str, bytes]:
    return {
        f"etcd-v{version}-linux-{arch}/{name}": program_for(arch, name.encode()) for name in tools_of(version)
    }


async def test_a_folder_becomes_an_archive_with_the_layout_of_a_release(tmp_path: Path) -> None:
    folder_of(tmp_path / "given", OTHER)
    binaries, archives = await resolve_and_obtain(spec_of("./given"), tmp_path, OTHER)
    assert content_of(archives[OTHER]) == as_release(OTHER)
    assert (binaries.source, binaries.is_vouched) == ("path", True)
    assert binaries.origin == str(tmp_path / "given")


@pytest.mark.parametrize("top", ["", "./", "etcd-v3.6.14-linux-arm64/", "./any/"])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
async def test_a_tarball_with_or_without_a_top_folder(tmp_path: Path, top: str, mode: str) -> None:
    tarball_of(folder_of(tmp_path / "given", OTHER), tmp_path / "etcd.tar", top, mode)
    _, archives = await resolve_and_obtain(spec_of("etcd.tar"), tmp_path, OTHER)
    assert content_of(archives[OTHER]) == as_release(OTHER)


async def test_a_folder_of_upstream_tarballs(tmp_path: Path) -> None:
    folder = tmp_path / "tarballs"
    folder.mkdir()
    given = folder_of(tmp_path / "given", OTHER)
    tarball_of(given, folder / f"etcd-v{VERSION}-linux-{OTHER}.tar.gz", "any/")
    _, archives = await resolve_and_obtain(spec_of(str(folder)), tmp_path, OTHER)
    assert content_of(archives[OTHER]) == as_release(OTHER)


async def test_the_same_content_is_packed_once_and_new_content_again(tmp_path: Path) -> None:
    given = folder_of(tmp_path / "given", OTHER)
    _, first = await resolve_and_obtain(spec_of("given"), tmp_path, OTHER)
    written_at = first[OTHER].path.stat().st_mtime_ns
    _, again = await resolve_and_obtain(spec_of("given"), tmp_path, OTHER)
    assert (again, again[OTHER].path.stat().st_mtime_ns) == (first, written_at)
    (given / "etcdctl").write_bytes(program_for(OTHER, b"patched"))
    _, other = await resolve_and_obtain(spec_of("given"), tmp_path, OTHER)
    assert other[OTHER].path != first[OTHER].path
    assert other[OTHER].sha256 != first[OTHER].sha256


async def test_a_build_of_the_operator_is_never_taken_for_upstream(tmp_path: Path) -> None:
    """It may contain patches: `from: auto` of another cluster must not use it (rule 44)."""
    folder_of(tmp_path / "given", OTHER)
    await resolve_and_obtain(spec_of("given"), tmp_path, OTHER)
    assert cached_versions(tmp_path / "cache") == []


async def test_another_architecture_is_refused(texts: Texts, tmp_path: Path) -> None:
    """The message names both architectures."""
    folder_of(tmp_path / "given", "arm64")
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("given"), tmp_path, "amd64")
    texts(caught.value)


async def test_two_architectures_from_one_path(tmp_path: Path) -> None:
    ours = await asyncio.to_thread(real_etcd, "3.4.23")
    (tmp_path / this_arch()).symlink_to(ours)
    folder_of(tmp_path / OTHER, OTHER, Version(3, 4, 23))
    _, archives = await resolve_and_obtain(spec_of("{arch}", Version(3, 4, 23)), tmp_path, this_arch(), OTHER)
    assert content_of(archives[OTHER]) == as_release(OTHER, Version(3, 4, 23))
    assert archives[this_arch()].sha256 != archives[OTHER].sha256


async def test_a_file_that_is_not_a_program_is_refused(texts: Texts, tmp_path: Path) -> None:
    given = folder_of(tmp_path / "given", "amd64")
    (given / "etcdctl").write_text("#!/bin/sh\n")
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("given"), tmp_path, "amd64")
    texts(caught.value)


@pytest.mark.parametrize("program", ["true", "false"])
async def test_another_program_is_refused(texts: Texts, tmp_path: Path, program: str) -> None:
    """etcdup runs the program to read its version."""
    given = tmp_path / "given"
    given.mkdir()
    for name in tools_of(VERSION):
        shutil.copy(shutil.which(program) or program, given / name)
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("given"), tmp_path, this_arch())
    texts(caught.value)


async def test_a_given_tarball_is_compared_with_its_checksum(texts: Texts, tmp_path: Path) -> None:
    tarball = tarball_of(folder_of(tmp_path / "given", OTHER), tmp_path / "etcd.tar.gz", "top/")
    spec = spec_of("etcd.tar.gz", sha256={OTHER: sha256_of(tarball).upper()})
    binaries, _ = await resolve_and_obtain(spec, tmp_path, OTHER)
    texts(binaries)
    tarball.write_bytes(tarball.read_bytes() + b"\0")
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec, tmp_path, OTHER)
    texts(caught.value)
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("given", sha256={OTHER: "0" * 64}), tmp_path, OTHER)
    texts(caught.value)


@pytest.mark.parametrize("kind", ["folder", "tarball"])
async def test_missing_programs_are_named(texts: Texts, tmp_path: Path, kind: str) -> None:
    given = folder_of(tmp_path / "given", OTHER)
    (given / "etcdctl").unlink()
    (given / "etcdutl").unlink()
    path = given if kind == "folder" else tarball_of(given, tmp_path / "etcd.tar.gz", "")
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of(str(path)), tmp_path, OTHER)
    texts(caught.value)


async def test_versions_before_3_5_need_no_etcdutl(tmp_path: Path) -> None:
    """Rule 59."""
    folder_of(tmp_path / "given", OTHER, Version(3, 4, 43))
    _, archives = await resolve_and_obtain(spec_of("given", Version(3, 4, 43)), tmp_path, OTHER)
    assert content_of(archives[OTHER]) == as_release(OTHER, Version(3, 4, 43))


@pytest.mark.parametrize("content", [b"", b"no tarball", b"\x1f\x8b\x08\x00half of a gzip"])
async def test_a_file_that_is_not_a_tarball(texts: Texts, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "etcd.tar.gz").write_bytes(content)
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("etcd.tar.gz"), tmp_path, OTHER)
    texts(caught.value)


async def test_a_truncated_tarball(tmp_path: Path) -> None:
    tarball = tarball_of(folder_of(tmp_path / "given", OTHER), tmp_path / "etcd.tar.gz", "")
    tarball.write_bytes(tarball.read_bytes()[:-40])
    with pytest.raises(InstallError):
        await resolve_and_obtain(spec_of("etcd.tar.gz"), tmp_path, OTHER)


async def test_no_entry_of_a_tarball_decides_a_path(texts: Texts, tmp_path: Path) -> None:
    tarball = tmp_path / "etcd.tar.gz"
    with tarfile.open(tarball, "w:gz") as tar:
        for name in ("../etcd", "/etcd", "a/b/etcd"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("etcd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("etcd.tar.gz"), tmp_path, OTHER)
    texts(caught.value)
    assert not (tmp_path / "cache/archives/etcd").exists()
    assert not (tmp_path / "cache/etcd").exists()


async def test_a_path_that_does_not_exist_or_is_not_set(texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of("nowhere"), tmp_path, OTHER)
    texts(caught.value)
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of(None), tmp_path, OTHER)
    texts(caught.value)


async def test_binaries_that_changed_after_the_plan_are_refused(texts: Texts, tmp_path: Path) -> None:
    given = folder_of(tmp_path / "given", OTHER)
    spec = spec_of("given")
    binaries, _ = await resolve_and_obtain(spec, tmp_path, OTHER)
    (given / "etcd").write_bytes(program_for(OTHER, b"swapped"))
    with pytest.raises(InstallError) as caught:
        await obtain(
            binaries, spec, tmp_path, frozenset({OTHER}), cache=tmp_path / "cache", report=lambda _: None
        )
    texts(caught.value)
    assert caught.value.hint == "run the command again, which makes a new plan"


def real_etcd(version: str) -> Path:
    try:
        return etcd_binaries(version)
    except NoBinaries as why:
        pytest.skip(str(why))


async def test_real_binaries_from_a_folder_and_from_a_tarball(texts: Texts, tmp_path: Path) -> None:
    given = await asyncio.to_thread(real_etcd, "3.4.23")
    version = Version(3, 4, 23)
    _, one = await resolve_and_obtain(spec_of(str(given), version), tmp_path, this_arch())
    tarball = tarball_of(given, tmp_path / "etcd.tar.gz", "etcd-v3.4.23/")
    _, two = await resolve_and_obtain(spec_of(str(tarball), version), tmp_path, this_arch())
    assert one[this_arch()].sha256 == two[this_arch()].sha256
    assert arch_of(given / "etcd") == this_arch()
    with pytest.raises(InstallError) as caught:
        await resolve_and_obtain(spec_of(str(given), Version(3, 4, 24)), tmp_path, this_arch())
    texts(caught.value)
