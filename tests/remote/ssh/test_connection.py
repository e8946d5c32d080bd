"""Faults of a connection in use: it is cut, silent, may not forward, or has few sessions."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from etcdup.core.spec.model import HostSpec
from etcdup.errors import ConnectionLost, ForwardForbidden, RemoteError
from etcdup.ops.world.ports import resolve_port
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.ssh import SshHost, connect
from tests.support.echo_server import echo_server
from tests.support.sshd import Sshd, run_sshd, wait_for_file
from tests.support.texts import Texts

NOBODY_TO_ASK = Secrets(environ={})


async def test_a_connection_cut_in_the_middle_of_a_command_is_lost(texts: Texts, tmp_path: Path) -> None:
    with run_sshd(tmp_path / "own") as own:
        reached = await connect(own.host(), own.ssh(), secrets=NOBODY_TO_ASK)
        try:
            running = asyncio.create_task(reached.run(["sleep", "30"]))
            held_lost = asyncio.create_task(_hold_until_lost(reached))
            await asyncio.sleep(0.5)
            own.cut()
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionLost) as caught:
                    await running
                await held_lost
            texts(caught.value)
            with pytest.raises(ConnectionLost):
                await reached.run(["true"])
            with pytest.raises(ConnectionLost):
                await reached.forward("127.0.0.1", 1)
        finally:
            await reached.close()


async def _hold_until_lost(reached: SshHost) -> None:
    async with reached.hold(["sh", "-c", "echo ready; cat"]) as held:
        lines = held.lines()
        assert await anext(lines) == "ready"
        with pytest.raises(ConnectionLost):
            await anext(lines)


async def test_a_write_cut_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with run_sshd(tmp_path / "own") as own:
        reached = await connect(own.host(), own.ssh(), secrets=NOBODY_TO_ASK)
        try:
            writing = asyncio.create_task(
                reached.write(str(target), b"n" * 400_000_000, mode=0o644, owner=f"{os.getuid()}")
            )
            await asyncio.to_thread(wait_for_file, tmp_path, ".etcdup.*/file")
            own.cut()
            with pytest.raises(ConnectionLost):
                await writing
        finally:
            await reached.close()
        assert target.read_text() == "old"


async def test_forbidden_forwarding_is_an_error_at_once(texts: Texts, tmp_path: Path) -> None:
    with run_sshd(tmp_path / "own", options="AllowTcpForwarding no") as own:
        reached = await connect(own.host(), own.ssh(), secrets=NOBODY_TO_ASK)
        try:
            with pytest.raises(RemoteError) as caught:
                await reached.forward("127.0.0.1", own.port)
            texts(caught.value, PORT=own.port)
        finally:
            await reached.close()


async def test_a_port_may_be_forwarded_before_anything_listens(sshd: Sshd) -> None:
    reached = await connect(sshd.host(), sshd.ssh(), secrets=NOBODY_TO_ASK)
    try:
        async with echo_server() as port:
            pass
        address, local_port = await reached.forward("127.0.0.1", port)
        reader, writer = await asyncio.open_connection(address, local_port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
    finally:
        await reached.close()


async def test_few_sessions_are_enough(tmp_path: Path) -> None:
    with run_sshd(tmp_path / "own", options="MaxSessions 3") as own:
        reached = await connect(own.host(), own.ssh(), secrets=NOBODY_TO_ASK)
        try:
            ended = await asyncio.gather(*(reached.run(["echo", str(n)]) for n in range(12)))
            assert [result.stdout for result in ended] == [f"{n}\n" for n in range(12)]
        finally:
            await reached.close()


async def test_a_silent_peer_is_lost_after_fifteen_seconds(tmp_path: Path) -> None:
    with run_sshd(tmp_path / "own") as own:
        reached = await connect(own.host(), own.ssh(), secrets=NOBODY_TO_ASK)
        own.freeze()
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            await reached.run(["true"])
        assert 9 < time.monotonic() - started < 60
        await reached.close()
        assert time.monotonic() - started < 60


async def test_without_forwarding_the_port_of_the_member_is_used_directly(
    texts: Texts, tmp_path: Path
) -> None:
    with run_sshd(tmp_path / "own", options="AllowTcpForwarding no") as own:
        reached = await connect(own.host(), own.ssh(), secrets=NOBODY_TO_ASK)
        try:
            async with echo_server() as port:
                assert await resolve_port(own.host(), port, reached) == ("127.0.0.1", port)
            with pytest.raises(ForwardForbidden) as caught:
                await resolve_port(own.host(), port, reached)
            assert not caught.value.lasting  # a member that starts will listen there
            away = HostSpec(name="infra1", address="infra1.invalid")  # no network resolves it (RFC 6761)
            with pytest.raises(ForwardForbidden) as caught:
                await resolve_port(away, port, reached)
            assert caught.value.lasting
            texts(caught.value, PORT=port)
        finally:
            await reached.close()
