"""Programs that a host sends for other hosts: only those of the plan are used, and this machine runs none of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from etcdup.core.observed.binaries import Binaries, ProgramsSeen
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.etcdctl import find_etcdctl, find_tools
from etcdup.ops.install import from_host, install
from etcdup.remote.host import COMMAND_TIMEOUT_S, OUTPUT_BYTES, Result, Stdin
from etcdup.testing.host import FakeHost
from etcdup.testing.network import FakeNetwork
from tests.support.elf_programs import program_for
from tests.support.fake_world import machines_for, spec_of, world_of
from tests.support.texts import Texts

VERSION = Version(3, 6, 14)
TOOLS = ("etcd", "etcdctl", "etcdutl")
SPEC = spec_of(1, "install: {from: host}\n")


class HostWithAnswer(FakeHost):
    """A host that answers each command with the same text."""

    answer = ""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Stdin = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        most_bytes: int = OUTPUT_BYTES,
    ) -> Result:
        return Result(self.name, tuple(argv), 0, self.answer, "")


@pytest.fixture
def network() -> FakeNetwork:
    return machines_for(SPEC)


async def obtain(host: FakeHost, programs: bytes, cache: Path) -> None:
    paths = tuple(f"/opt/etcd/{VERSION}/{tool}" for tool in TOOLS)
    seen = ProgramsSeen(host.name, paths, hashlib.sha256(programs).hexdigest())
    binaries = Binaries(VERSION, "host", host.name, "", programs={"amd64": seen})
    amd64 = frozenset(("amd64",))
    await install.obtain(
        binaries, SPEC, Path(), amd64, cache=cache, report=lambda _: None, hosts={host.name: host}
    )


@pytest.mark.parametrize(
    ("sent", "planned", "why"),
    [
        (program_for("amd64"), program_for("amd64", b"x"), "not those of the plan"),
        (program_for("arm64"), program_for("arm64"), "not a Linux program for amd64"),
        (b"#!/bin/sh", b"#!/bin/sh", "not a Linux program for amd64"),
        (program_for("amd64"), program_for("amd64"), ""),
    ],
    ids=["another program", "another architecture", "a script", "the same program"],
)
async def test_programs_of_a_host_are_those_of_the_plan(
    texts: Texts, network: FakeNetwork, tmp_path: Path, sent: bytes, planned: bytes, why: str
) -> None:
    machine = network.machines["infra1"]
    for tool in TOOLS:
        machine.put(f"/opt/etcd/{VERSION}/{tool}", sent, 0o755)
    if not why:
        await obtain(FakeHost(machine, "infra1"), planned * 3, tmp_path)
        return
    with pytest.raises(InstallError) as caught:
        await obtain(FakeHost(machine, "infra1"), planned * 3, tmp_path)
    texts(caught.value)
    assert [*tmp_path.rglob("*.tar.gz")] == []  # noqa: ASYNC240


@pytest.mark.parametrize("answer", ["no base64", "QUJDRA=="])
async def test_an_answer_without_end_or_sense_is_an_error(
    texts: Texts, network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(from_host, "BLOCK_BYTES", 4)
    monkeypatch.setattr(from_host, "MOST_BYTES", 40)
    host = HostWithAnswer(network.machines["infra1"], "infra1")
    host.answer = answer
    with pytest.raises(InstallError) as caught:
        await obtain(host, b"", tmp_path)
    texts(caught.value)


async def test_this_machine_runs_no_program_of_a_host(
    texts: Texts, network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could send the key of the CA to the host that built the program."""
    monkeypatch.setenv("ETCDUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    world = world_of(SPEC, network, tmp_path)
    with pytest.raises(InstallError) as caught:
        await find_etcdctl(world, tmp_path, print)
    texts(caught.value)
    with pytest.raises(InstallError) as caught:
        await find_tools(world, tmp_path, VERSION, print)
    texts(caught.value)
    assert not network.commands
