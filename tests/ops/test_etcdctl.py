"""etcd's programs for this machine, found in a directory of $PATH."""

import shutil
from pathlib import Path

import pytest

from etcdup.core.spec.version import parse_version
from etcdup.ops.etcdctl import find_on_path
from tests.support.etcd_binaries import etcd_binaries, why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


@pytest.mark.parametrize(("version", "is_found"), [(VERSION, True), ("3.6.13", False)])
async def test_only_programs_of_the_same_version_are_used(
    version: str, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = etcd_binaries(VERSION)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert await find_on_path(parse_version(version)) == (folder if is_found else None)


async def test_a_directory_without_etcdutl_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etcd", "etcdctl"):
        shutil.copy(etcd_binaries(VERSION) / name, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert await find_on_path(parse_version(VERSION)) is None
