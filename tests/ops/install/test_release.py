"""Release tarballs from a mirror over HTTP: checksums, network faults, two etcdup processes at once."""

import asyncio
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from etcdup.core.host.packages import tools_of
from etcdup.core.observed.binaries import Binaries
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.install.install import BinaryArchive, cached_versions, obtain, resolve
from etcdup.ops.install.release import obtain_release, resolve_release
from etcdup.ops.install.wanted import SourceRequest, Timeouts
from tests.support.elf_programs import program_for, release_of
from tests.support.release_mirror import Mirror, serve
from tests.support.texts import Texts

UNPINNED = Version(3, 9, 1)
PINNED = Version(3, 6, 14)
with TemporaryDirectory() as _folder:
    CONTENT = release_of(Path(_folder), UNPINNED, "amd64", padding=3 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
AMD64 = frozenset({"amd64"})


def tarball(version: Version, arch: str = "amd64") -> str:
    return f"v{version}/etcd-v{version}-linux-{arch}.tar.gz"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(tmp_path / "mirror") as served:
        for version in (UNPINNED, PINNED):
            served.put(tarball(version), CONTENT)
        yield served


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def spec_of(
    mirror: str, version: Version = UNPINNED, source: str = "release", sha256: str | None = SHA256
) -> Spec:
    """Return a Spec whose `install.sha256` is the checksum of the tarball on the mirror, unless it is None."""
    host = {"name": "infra1", "address": "127.0.0.1"}
    install = {"from": source, "mirror": mirror, "sha256": {"amd64": sha256} if sha256 else {}}
    return Spec.model_validate({"name": "t", "version": str(version), "hosts": [host], "install": install})


def request_from(
    mirror: Mirror, cache: Path, reported: list[str] | None = None, stall_s: float = 20.0
) -> SourceRequest:
    """Return a request that trusts the checksum of the tarball on the mirror."""
    reported = [] if reported is None else reported
    return SourceRequest(
        "release",
        PINNED,
        ("amd64",),
        cache,
        mirror.url,
        None,
        reported.append,
        {"amd64": SHA256},
        Timeouts(connect_s=5, stall_s=stall_s),
    )


async def resolve_release_for(spec: Spec, cache: Path, arches: frozenset[str] = AMD64) -> Binaries:
    return await resolve(spec, Path(), arches, {}, {}, cache=cache, report=lambda _: None)


async def obtain_amd64(binaries: Binaries, spec: Spec, cache: Path) -> BinaryArchive:
    archives = await obtain(binaries, spec, Path(), AMD64, cache=cache, report=lambda _: None)
    return archives["amd64"]


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "archives").glob("*") if not path.name.endswith(".lock"))


async def test_a_pinned_release_is_checked_then_downloaded_once(mirror: Mirror, cache: Path) -> None:
    reported: list[str] = []
    wanted = request_from(mirror, cache, reported)
    binaries = await resolve_release(wanted)
    assert (binaries.source, binaries.origin, binaries.sha256) == ("release", mirror.url, {"amd64": SHA256})
    assert binaries.why == "the mirror has it; its checksum is `install.sha256` of cluster.yaml"
    assert mirror.requests == [f"HEAD /{tarball(PINNED)}"]
    for _again in range(2):
        archive = await obtain_release(wanted, "amd64", SHA256)
        assert archive.path.read_bytes() == CONTENT
    assert mirror.requests[1:] == [f"GET /{tarball(PINNED)}"]
    assert reported[-1] == "etcd-v3.6.14-linux-amd64.tar.gz: 3.0 of 3.0 MiB (100%)"
    assert leftovers(cache) == ["etcd-v3.6.14-linux-amd64.tar.gz", "etcd-v3.6.14-linux-amd64.tar.gz.sha256"]


async def test_a_checksum_of_another_version_is_refused(texts: Texts, cache: Path) -> None:
    """The operator changed `version` and not `install.sha256`."""
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of("http://127.0.0.1:9", PINNED), cache)
    texts(caught.value)
    assert spec_of("http://127.0.0.1:9").at(PINNED).install.sha256 == {}


@pytest.mark.parametrize("fault", ["script", "other architecture", "no etcdctl", "no tarball"])
async def test_a_tarball_without_programs_for_the_hosts_is_refused(
    mirror: Mirror, cache: Path, tmp_path: Path, fault: str
) -> None:
    contents = {
        "script": tarball_with({"etcd": b"#!/bin/sh\n"}),
        "other architecture": release_of(tmp_path / "arm64", UNPINNED, "arm64"),
        "no etcdctl": tarball_with({}, without="etcdctl"),
        "no tarball": b"\x1f\x8b no gzip",
    }
    content = contents[fault]
    mirror.put(tarball(UNPINNED), content)
    spec = spec_of(mirror.url, sha256=hashlib.sha256(content).hexdigest())
    binaries = await resolve_release_for(spec, cache)
    with pytest.raises(InstallError):
        await obtain_amd64(binaries, spec, cache)
    assert leftovers(cache) == []


def tarball_with(programs: dict[str, bytes], without: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name in tools_of(UNPINNED):
            content = programs.get(name, program_for("amd64"))
            entry = tarfile.TarInfo(f"top/{name}")
            entry.size = len(content)
            if name != without:
                tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


async def test_a_cached_archive_needs_no_network(mirror: Mirror, cache: Path) -> None:
    spec = spec_of(mirror.url, source="auto")
    await obtain_amd64(await resolve_release_for(spec, cache), spec, cache)
    mirror.requests.clear()
    binaries = await resolve_release_for(spec, cache)
    assert (binaries.source, binaries.sha256) == ("cache", {"amd64": SHA256})
    assert (await obtain_amd64(binaries, spec, cache)).sha256 == SHA256
    assert mirror.requests == []


async def test_a_file_mirror(texts: Texts, mirror: Mirror, cache: Path) -> None:
    spec = spec_of(mirror.root.as_uri())
    assert (
        await obtain_amd64(await resolve_release_for(spec, cache), spec, cache)
    ).path.read_bytes() == CONTENT
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of(mirror.root.as_uri(), Version(3, 6, 13), sha256=None), cache)
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)


async def test_a_tarball_without_the_pinned_checksum_is_refused_and_deleted(
    mirror: Mirror, cache: Path
) -> None:
    """The file of this mirror does not have the pinned checksum of 3.6.14."""
    spec = spec_of(mirror.url, PINNED, sha256=None)
    binaries = await resolve_release_for(spec, cache)
    with pytest.raises(InstallError) as caught:
        await obtain_amd64(binaries, spec, cache)
    message = str(caught.value)
    assert f"{mirror.url}/{tarball(PINNED)}" in message
    assert SHA256 in message
    assert binaries.sha256["amd64"] in message
    assert caught.value.hint
    assert leftovers(cache) == []


async def test_a_byte_that_changed_in_the_transfer_is_detected(
    texts: Texts, mirror: Mirror, cache: Path
) -> None:
    spec = spec_of(mirror.url)
    binaries = await resolve_release_for(spec, cache)
    mirror.lie.add(".tar.gz")
    with pytest.raises(InstallError) as caught:
        await obtain_amd64(binaries, spec, cache)
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)
    assert leftovers(cache) == []


async def test_a_missing_tarball_is_reported_before_planning(
    texts: Texts, mirror: Mirror, cache: Path
) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of(mirror.url, Version(3, 6, 13), sha256=None), cache)
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)


async def test_a_mirror_without_head(texts: Texts, mirror: Mirror, cache: Path) -> None:
    mirror.no_head = True
    assert (await resolve_release(request_from(mirror, cache))).source == "release"
    mirror.fail[".tar.gz"] = 404
    with pytest.raises(InstallError) as caught:
        await resolve_release(request_from(mirror, cache))
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)


async def test_a_mirror_that_refuses_connections(texts: Texts, cache: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of("http://127.0.0.1:9"), cache)
    texts(caught.value)


async def test_a_mirror_with_an_unsupported_scheme(texts: Texts, cache: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of("ftp://127.0.0.1"), cache)
    texts(caught.value)


async def test_a_transfer_that_ends_early(texts: Texts, mirror: Mirror, cache: Path) -> None:
    mirror.truncate[".tar.gz"] = 1024 * 1024
    with pytest.raises(InstallError) as caught:
        await obtain_release(request_from(mirror, cache), "amd64", SHA256)
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)
    assert leftovers(cache) == []
    mirror.truncate.clear()
    assert (await obtain_release(request_from(mirror, cache), "amd64", SHA256)).sha256 == SHA256


async def test_a_transfer_that_stalls(texts: Texts, mirror: Mirror, cache: Path) -> None:
    mirror.stall[".tar.gz"] = 1024 * 1024
    with pytest.raises(InstallError) as caught:
        await obtain_release(request_from(mirror, cache, stall_s=0.3), "amd64", SHA256)
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)
    assert leftovers(cache) == []


async def test_a_slow_transfer_does_not_time_out(mirror: Mirror, cache: Path) -> None:
    mirror.chunk_delay_s = 0.02
    assert (await obtain_release(request_from(mirror, cache, stall_s=0.3), "amd64", SHA256)).sha256 == SHA256


async def test_cancelling_ends_a_stalled_transfer_at_once(mirror: Mirror, cache: Path) -> None:
    mirror.stall[".tar.gz"] = 1024 * 1024
    begun = asyncio.Event()
    wanted = replace(request_from(mirror, cache), report=lambda _: begun.set())
    task = asyncio.ensure_future(obtain_release(wanted, "amd64", SHA256))
    await begun.wait()
    threads = threading.active_count()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert task.cancelled()
    assert leftovers(cache) == []
    assert threading.active_count() <= threads


async def test_a_damaged_cached_archive_is_detected_and_downloaded_again(mirror: Mirror, cache: Path) -> None:
    spec = spec_of(mirror.url, source="auto")
    archive = await obtain_amd64(await resolve_release_for(spec, cache), spec, cache)
    archive.path.write_bytes(CONTENT[:-1])
    binaries = await resolve_release_for(spec, cache)
    assert binaries.source == "release"
    assert (await obtain_amd64(binaries, spec, cache)).path.read_bytes() == CONTENT


async def test_a_cached_archive_must_have_the_pinned_checksum(texts: Texts, cache: Path) -> None:
    """The checksum file next to it is not enough."""
    path = cache / "archives" / "etcd-v3.6.14-linux-amd64.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    path.with_name(path.name + ".sha256").write_text(f"{SHA256}  {path.name}\n")
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of("http://127.0.0.1:9", PINNED, sha256=None), cache)
    texts(caught.value)


async def test_a_cached_archive_must_be_the_one_of_the_plan(
    texts: Texts, mirror: Mirror, cache: Path
) -> None:
    spec = spec_of(mirror.url, source="auto")
    await obtain_amd64(await resolve_release_for(spec, cache), spec, cache)
    binaries = await resolve_release_for(spec, cache)
    (cache / "archives" / "etcd-v3.9.1-linux-amd64.tar.gz").unlink()
    with pytest.raises(InstallError) as caught:
        await obtain_amd64(binaries, spec, cache)
    texts(caught.value, MIRROR=mirror.url, WANTED=SHA256)
    assert caught.value.hint == "run the command again, which makes a new plan"


async def test_auto_reports_all_sources_that_were_tried(texts: Texts, cache: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await resolve_release_for(spec_of("http://127.0.0.1:9", source="auto"), cache)
    texts(caught.value)
    lines = caught.value.detail.splitlines()
    assert [line.split(":")[0] for line in lines] == ["cache", "release", "package"]


OBTAIN_SCRIPT = """
import asyncio, pathlib, sys
from etcdup.core.spec.version import Version
from etcdup.ops.install.release import obtain_release
from etcdup.ops.install.wanted import SourceRequest
url, cache, sha256 = sys.argv[1:]
wanted = SourceRequest("release", Version(3, 9, 1), ("amd64",), pathlib.Path(cache), url, None, print)
print(asyncio.run(obtain_release(wanted, "amd64", sha256)).sha256)
"""


def test_two_processes_download_an_archive_once(mirror: Mirror, cache: Path) -> None:
    mirror.chunk_delay_s = 0.02
    argv = [sys.executable, "-c", OBTAIN_SCRIPT, mirror.url, str(cache), SHA256]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [each.splitlines()[-1] for each in outputs] == [SHA256, SHA256]
    assert mirror.requests == [f"GET /{tarball(UNPINNED)}"]


def test_a_kill_during_the_download_leaves_no_archive(mirror: Mirror, cache: Path) -> None:
    mirror.stall[".tar.gz"] = 1024 * 1024
    argv = [sys.executable, "-u", "-c", OBTAIN_SCRIPT, mirror.url, str(cache), SHA256]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "MiB" in process.stdout.readline()
        process.kill()
    assert cached_versions(cache) == []
    mirror.stall.clear()
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == SHA256
    assert leftovers(cache) == ["etcd-v3.9.1-linux-amd64.tar.gz", "etcd-v3.9.1-linux-amd64.tar.gz.sha256"]
