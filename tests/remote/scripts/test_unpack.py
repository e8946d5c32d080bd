"""The script that unpacks etcd on a host, with a real sh: only a complete archive is installed."""

import asyncio
import gzip
import io
import tarfile
from pathlib import Path

import pytest

from etcdup.core.host.install_commands import UNPACK
from etcdup.core.host.unproved import RUN_BINARY
from etcdup.remote.host import Result
from etcdup.remote.local import LocalHost

TOOLS = ("etcd", "etcdctl", "etcdutl")
PROGRAM = b"#!/bin/sh\necho etcd Version: 3.6.14\n"
BLOCK = 512


def made_tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for tool in TOOLS:
            entry = tarfile.TarInfo(f"etcd-v3.6.14-linux-amd64/{tool}")
            entry.size, entry.mode = len(PROGRAM), 0o755
            tar.addfile(entry, io.BytesIO(PROGRAM))
    return made.getvalue()


def unpack(folder: Path, tar: bytes) -> Result:
    folders = (str(folder / ".3.6.14.new"), str(folder / "3.6.14"))
    words = ("", *folders, "3.6.14", RUN_BINARY, *TOOLS)
    return asyncio.run(
        LocalHost("here").run(("sh", "-c", UNPACK, "unpack", *words), stdin=gzip.compress(tar))
    )


def test_a_whole_archive_is_put_in_place(tmp_path: Path) -> None:
    done = unpack(tmp_path, made_tar())
    assert done.status == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "3.6.14").iterdir()) == sorted(TOOLS)
    assert not (tmp_path / ".3.6.14.new").exists()


@pytest.mark.parametrize("blocks", range(2 * len(TOOLS)))
def test_a_tar_that_ends_early_is_not(tmp_path: Path, blocks: int) -> None:
    """Each program has a block of header and a block of content: every second cut is between two files."""
    done = unpack(tmp_path, made_tar()[: blocks * BLOCK])
    assert done.status != 0
    assert done.stderr
    assert not (tmp_path / "3.6.14").exists()
