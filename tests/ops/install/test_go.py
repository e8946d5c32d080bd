"""`install.from: go`, without a build: refusals, the environment of `go`, and the cancellation of a build.

A real build takes minutes on two cores: tests/support/etcd_binaries.py does one for all other tests.
"""

import asyncio
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.install.archive import BinaryArchive
from etcdup.ops.install.cache import archive_path, archives_folder, store_archive
from etcdup.ops.install.go import build_environment
from etcdup.ops.install.install import cached_versions, obtain, resolve
from tests.support.texts import Texts

AMD64 = frozenset({"amd64"})

# A replacement of `go` that never ends and has a child process, as `go` has.
GO_FOREVER = """\
#!/bin/sh
sleep 300 &
echo $! >{folder}/child
wait
"""
GO_FAILS = """\
#!/bin/sh
echo 'go: go.etcd.io/etcd/server/v3@v3.6.99: unknown revision' >&2
exit 1
"""


def spec_of(version: str, source: str = "go") -> Spec:
    host = {"name": "infra1", "address": "127.0.0.1"}
    install = {"from": source, "mirror": "http://127.0.0.1:9"}
    return Spec.model_validate({"name": "t", "version": version, "hosts": [host], "install": install})


def put_go(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "go").write_text(script.format(folder=folder))
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def build(spec: Spec, cache: Path) -> dict[str, BinaryArchive]:
    binaries = await resolve(spec, Path(), AMD64, {}, {}, cache=cache, report=print)
    return await obtain(binaries, spec, Path(), AMD64, cache=cache, report=print)


async def test_versions_before_3_5_have_no_modules(texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(InstallError) as caught:
        await build(spec_of("3.4.43"), tmp_path)
    texts(caught.value)


async def test_without_go(texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallError) as caught:
        await build(spec_of("3.6.14"), tmp_path)
    texts(caught.value)


async def test_a_failed_build_reports_the_output_of_go(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_go(tmp_path, GO_FAILS, monkeypatch)
    with pytest.raises(InstallError) as caught:
        await build(spec_of("3.6.99"), tmp_path)
    texts(caught.value)
    assert [path.name for path in (tmp_path / "archives").iterdir() if not path.name.endswith(".lock")] == []


async def test_cancelling_ends_go_and_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_go(tmp_path, GO_FOREVER, monkeypatch)
    task = asyncio.ensure_future(build(spec_of("3.6.14"), tmp_path))
    child = await asyncio.to_thread(_wait_for_pid, tmp_path / "child")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert task.cancelled()
    assert not _is_running(child)


def test_the_build_uses_the_settings_of_the_user() -> None:
    env = build_environment({"GOPROXY": "https://proxy.corp", "GOFLAGS": "-buildvcs=false"}, "arm64")
    assert env == {
        "GOPROXY": "https://proxy.corp",
        "GOFLAGS": "-buildvcs=false -mod=mod",
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOARCH": "arm64",
        "GOWORK": "off",
    }


async def test_auto_also_uses_a_previous_build(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built from upstream's source. Packages and builds of the operator may contain patches."""
    path = archive_path(tmp_path, Version(3, 6, 14), "amd64", "+go")
    making = archives_folder(tmp_path) / "made"
    making.write_bytes(b"archive")
    store_archive(making, path, hashlib.sha256(b"archive").hexdigest())
    monkeypatch.setenv("PATH", str(tmp_path))
    for source, called in (("go", "go"), ("auto", "cache")):
        binaries = await resolve(
            spec_of("3.6.14", source), Path(), AMD64, {}, {}, cache=tmp_path, report=print
        )
        assert (binaries.source, binaries.is_vouched) == (called, False)
    assert (await build(spec_of("3.6.14"), tmp_path))["amd64"].path == path
    assert cached_versions(tmp_path) == [Version(3, 6, 14)]
    path.write_bytes(b"damaged")
    with pytest.raises(InstallError) as caught:
        await build(spec_of("3.6.14"), tmp_path)
    texts(caught.value)


def _wait_for_pid(path: Path) -> int:
    for _ in range(1000):
        with suppress(OSError, ValueError):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def _is_running(pid: int) -> bool:
    with suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False
