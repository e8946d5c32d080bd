"""Binaries from a mirror: nothing is used without a checksum that the operator trusts, and root runs none of them."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from etcdup.core.observed.binaries import Binaries
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.install import install
from etcdup.ops.install.cache import cached_versions
from etcdup.ops.install.command import run_without_rights
from tests.support.elf_programs import release_of
from tests.support.release_mirror import Mirror, serve
from tests.support.texts import Texts

UNPINNED = Version(3, 9, 1)
with TemporaryDirectory() as _folder:
    CONTENT = release_of(Path(_folder), UNPINNED, "amd64")
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(tmp_path / "mirror") as served:
        served.put(f"v{UNPINNED}/etcd-v{UNPINNED}-linux-amd64.tar.gz", CONTENT)
        yield served


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def spec_of(mirror: str, source: str = "release", *, trusted: bool = False) -> Spec:
    sha256 = {"amd64": SHA256} if trusted else {}
    hosts = [{"name": "infra1", "address": "127.0.0.1"}]
    wanted = {"from": source, "mirror": mirror, "sha256": sha256}
    return Spec.model_validate({"name": "t", "version": str(UNPINNED), "hosts": hosts, "install": wanted})


async def resolve_binaries(spec: Spec, cache: Path, *arches: str) -> Binaries:
    wanted = frozenset(arches or ("amd64",))
    return await install.resolve(spec, Path(), wanted, {}, {}, cache=cache, report=lambda _: None)


async def obtain(spec: Spec, cache: Path) -> str:
    """Download the archive and return its checksum."""
    binaries = await resolve_binaries(spec, cache)
    amd64 = frozenset(("amd64",))
    found = await install.obtain(binaries, spec, Path(), amd64, cache=cache, report=lambda _: None)
    return found["amd64"].sha256


async def test_a_release_without_a_trusted_checksum_is_never_requested(
    texts: Texts, mirror: Mirror, cache: Path
) -> None:
    """The mirror could publish a checksum of its own binaries. The hint has the line to write, and where the sum is."""
    mirror.put(f"v{UNPINNED}/SHA256SUMS", f"{SHA256}  etcd-v{UNPINNED}-linux-amd64.tar.gz\n".encode())
    spec = spec_of(mirror.url)
    with pytest.raises(InstallError) as caught:
        await resolve_binaries(spec, cache, "amd64", "arm64")
    texts(caught.value, MIRROR=mirror.url)
    assert mirror.requests == []


async def test_a_cached_archive_without_a_trusted_checksum_is_not_used(
    texts: Texts, mirror: Mirror, cache: Path
) -> None:
    """An earlier etcdup may have downloaded it from a mirror that no operator vouches for."""
    await obtain(spec_of(mirror.url, trusted=True), cache)
    assert cached_versions(cache) == []
    with pytest.raises(InstallError) as caught:
        await resolve_binaries(spec_of("http://127.0.0.1:9", source="auto"), cache)
    texts(caught.value, MIRROR=mirror.url)


async def test_the_pin_decides_on_redirects(
    texts: Texts, mirror: Mirror, cache: Path, tmp_path: Path
) -> None:
    """With a trusted checksum, the way of the tarball does not matter."""
    with serve(tmp_path / "other") as other:
        other.redirect = mirror.url
        assert await obtain(spec_of(other.url, trusted=True), cache) == SHA256
    with serve(tmp_path / "other") as other:
        other.redirect = mirror.root.as_uri()
        with pytest.raises(InstallError) as caught:
            await resolve_binaries(spec_of(other.url, trusted=True), tmp_path / "empty")
        texts(caught.value, MIRROR=other.url)


async def test_root_runs_no_given_program(tmp_path: Path) -> None:
    """A user without rights runs it, also if only root can enter the directory of the program."""
    program = Path(shutil.copy(shutil.which("id") or "/usr/bin/id", tmp_path / "etcd"))
    tmp_path.chmod(0o700)  # noqa: ASYNC240
    ran = await run_without_rights(program, "-u")
    assert ran.stdout.strip() == str(65534 if os.geteuid() == 0 else os.geteuid())
