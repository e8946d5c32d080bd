"""The script that unpacks etcd on a host, run by a real shell: what arrives whole is put in place, all else is not."""

import asyncio
import gzip
import io
import tarfile
from pathlib import Path

import pytest

from etcdup.core.host.commands import UNPACK
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


def unpack(folder: Path, extract: str, sent: bytes) -> Result:
    words = (str(folder / ".3.6.14.new"), str(folder / "3.6.14"), extract, *TOOLS)
    return asyncio.run(LocalHost("here").run(("sh", "-c", UNPACK, "unpack", *words), stdin=sent))


@pytest.mark.parametrize("extract", ["-x", "-xz"])
def test_what_arrives_whole_is_put_in_place(tmp_path: Path, extract: str) -> None:
    tar = made_tar()
    done = unpack(tmp_path, extract, tar if extract == "-x" else gzip.compress(tar))
    assert (done.status, done.stdout) == (0, "etcd Version: 3.6.14\n")
    assert sorted(path.name for path in (tmp_path / "3.6.14").iterdir()) == sorted(TOOLS)
    assert not (tmp_path / ".3.6.14.new").exists()


@pytest.mark.parametrize("blocks", range(2 * len(TOOLS)))
def test_a_tar_that_ends_early_is_not(tmp_path: Path, blocks: int) -> None:
    """Each program is a block of header and one of content: every second cut is between two files."""
    done = unpack(tmp_path, "-x", made_tar()[: blocks * BLOCK])
    assert done.status != 0
    assert done.stderr
    assert not (tmp_path / "3.6.14").exists()
