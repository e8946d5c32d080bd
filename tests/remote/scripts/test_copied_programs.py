"""The scripts that read programs of etcd on a host, with a real sh: whole programs of exactly this version."""

import asyncio
import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from etcdup.core.host.copied_programs import (
    UnreadablePrograms,
    parse_programs,
    programs_argv,
    read_argv,
)
from etcdup.core.host.unproved import RUN_BINARY
from etcdup.core.observed.binaries import ProgramsSeen
from etcdup.core.spec.version import Version
from etcdup.remote.host import Result
from etcdup.remote.local import LocalHost
from tests.support.texts import Texts

VERSION = Version(3, 4, 2)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that each user can enter."""
    with TemporaryDirectory(dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def put(path: Path, version: str = str(VERSION)) -> bytes:
    content = f"#!/bin/sh\necho {path.name} version: {version}\necho API version: 3.4\n".encode()
    path.write_bytes(content)
    path.chmod(0o755)
    return content


def run(argv: tuple[str, ...]) -> Result:
    return asyncio.run(LocalHost("here").run(argv))


def programs_at(place: Path | int) -> ProgramsSeen:
    return parse_programs("here", VERSION, run(programs_argv(str(place), VERSION)).check().stdout)


@needs_root
def test_the_sum_is_of_all_programs(folder: Path) -> None:
    content = put(folder / "etcd") + put(folder / "etcdctl")
    found = programs_at(folder)
    assert found.paths == (f"{folder}/etcd", f"{folder}/etcdctl")
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@needs_root
@pytest.mark.parametrize("other", ["3.4.23", "3.4", "3.4.2-rc.0", ""])
def test_a_tool_of_another_version_is_missing(texts: Texts, folder: Path, other: str) -> None:
    put(folder / "etcd")
    put(folder / "etcdctl", other)
    with pytest.raises(UnreadablePrograms) as caught:
        programs_at(folder)
    texts(caught.value)


@needs_root
def test_the_program_of_a_process_and_the_tool_next_to_it(folder: Path) -> None:
    (folder / "etcd").write_bytes(Path("/bin/sleep").read_bytes())
    (folder / "etcd").chmod(0o755)
    tool = put(folder / "etcdctl")
    with subprocess.Popen([folder / "etcd", "60"]) as process:
        try:
            content = (folder / "etcd").read_bytes() + tool
            (folder / "etcd").unlink()  # a package was upgraded since the process started
            found = programs_at(process.pid)
        finally:
            process.kill()
    assert found.paths == (f"/proc/{process.pid}/exe", f"{folder}/etcdctl")
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@needs_root
def test_a_link_shows_no_file_of_root(texts: Texts, folder: Path) -> None:
    put(folder / "etcd")
    secret = folder / "secret"
    put(secret)
    secret.chmod(0o700)
    (folder / "etcdctl").symlink_to(secret)
    with pytest.raises(UnreadablePrograms) as caught:
        programs_at(folder)
    texts(caught.value)
    assert run(read_argv(f"{folder}/etcdctl", 0, 100)).stdout == ""


@needs_root
def test_blocks_are_the_whole_program(folder: Path) -> None:
    content = os.urandom(2500)
    (folder / "etcd").write_bytes(content)
    (folder / "etcd").chmod(0o755)
    blocks = [base64.b64decode(run(read_argv(f"{folder}/etcd", n, 1000)).stdout) for n in range(4)]
    assert list(map(len, blocks)) == [1000, 1000, 500, 0]
    assert b"".join(blocks) == content


@pytest.mark.parametrize(
    "output",
    [
        "missing etcdctl\n",
        "missing everything\n",
        "",
        f"/a/etcd\n/a/etcdctl\n{'g' * 64}  -\n",
        f"/a/etcd\n{'a' * 64}  -\n",
        f"/a/etcd\n-a/etcdctl\n{'a' * 64}  -\n",
        f"/a/etcd\n/a/\x1b[2J\n{'a' * 64}  -\n",
        f"/a/etcd\n/{'a' * 5000}\n{'a' * 64}  -\n",
    ],
    ids=["no tool", "another word", "nothing", "no sum", "one path", "no path", "escape", "long path"],
)
def test_any_other_answer_is_no_program(texts: Texts, output: str) -> None:
    with pytest.raises(UnreadablePrograms) as raised:
        parse_programs("here", VERSION, output)
    texts(raised.value)


@pytest.mark.parametrize(("shown", "status"), [("3.4.2", 0), ("3.4.23", 1), ("3.4.2-rc.0", 1)])
def test_only_exactly_this_version_is_proved(tmp_path: Path, shown: str, status: int) -> None:
    (tmp_path / "etcd").write_text(f"#!/bin/sh\necho etcd Version: {shown}\necho Git SHA: x\n")
    (tmp_path / "etcd").chmod(0o755)
    done = run(("sh", "-c", RUN_BINARY, "run-etcd", "", str(tmp_path), str(VERSION)))
    assert done.status == status, done.stderr
