"""All hosts at the same time: a dead host has its own timeout and does not delay the others."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from etcdup.core.spec.model import HostSpec, Spec
from etcdup.errors import ConnectFailed, RefusedError, RemoteError, SudoFailed, UnreachableError
from etcdup.remote.fleet import open_fleet
from etcdup.remote.host import Host
from etcdup.remote.secrets import Secrets
from tests.support.sshd import Sshd
from tests.support.sudo_users import Users

NO_SECRETS = Secrets(environ={})


def spec(sshd: Sshd, *hosts: HostSpec, **ssh: object) -> Spec:
    return Spec(name="test", version="3.6.14", hosts=hosts, ssh=sshd.ssh(**ssh))


def host(name: str, address: str = "127.0.0.1", **more: bool) -> HostSpec:
    return HostSpec(name=name, address=address, **more)


async def echo_name(reached: Host) -> str:
    return (await reached.run(["echo", reached.name])).check().stdout


async def test_every_host_answers(sshd: Sshd) -> None:
    three = spec(sshd, host("infra1"), host("infra2"), host("infra3", local=True))
    async with open_fleet(three, NO_SECRETS) as fleet:
        assert sorted(fleet.hosts) == ["infra1", "infra2", "infra3"]
        assert fleet.unreachable == {}
        answers = await fleet.each(fleet.hosts, echo_name)
    assert answers == {"infra1": "infra1\n", "infra2": "infra2\n", "infra3": "infra3\n"}


async def test_a_silent_host_delays_no_other_host(sshd: Sshd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "config"
        config.write_text(f"Host quiet\n  HostName 127.0.0.1\n  Port {silent.getsockname()[1]}\n")
        config.write_text(config.read_text() + f"Host *\n  Port {sshd.port}\n")
        two = spec(
            sshd,
            host("infra1"),
            host("infra2", "quiet"),
            port=None,
            config_file=str(config),
            connect_timeout="1s",
        )
        started = time.monotonic()
        async with open_fleet(two, NO_SECRETS) as fleet:
            assert time.monotonic() - started < 8, "the 10 s of the others do not count either"
            assert list(fleet.hosts) == ["infra1"]
            assert type(fleet.unreachable["infra2"]) is ConnectFailed
            answers = await fleet.each(["infra1", "infra2"], echo_name)
    assert answers["infra1"] == "infra1\n"
    assert isinstance(answers["infra2"], UnreachableError)


async def test_a_host_without_root_is_not_reached(sshd: Sshd, users: Users) -> None:
    async with open_fleet(
        spec(sshd, host("infra1"), user=users.without_sudo, sudo=True), NO_SECRETS
    ) as fleet:
        assert fleet.hosts == {}
        assert type(fleet.unreachable["infra1"]) is SudoFailed


async def test_a_remote_error_is_the_result_of_its_host(sshd: Sshd) -> None:
    async def work(reached: Host) -> int:
        if reached.name == "infra1":
            (await reached.run(["false"])).check()
        return 1

    async with open_fleet(spec(sshd, host("infra1"), host("infra2")), NO_SECRETS) as fleet:
        answers = await fleet.each(["infra1", "infra2"], work)
    assert isinstance(answers["infra1"], RemoteError)
    assert answers["infra2"] == 1


async def test_another_error_ends_the_work_and_is_in_no_group(sshd: Sshd) -> None:
    ended: list[str] = []

    async def work(reached: Host) -> None:
        if reached.name == "infra1":
            raise RefusedError("no")
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(reached.name)

    async with open_fleet(spec(sshd, host("infra1"), host("infra2")), NO_SECRETS) as fleet:
        with pytest.raises(RefusedError):
            await fleet.each(["infra1", "infra2"], work)
    assert ended == ["infra2"]


async def test_open_connections_are_closed_if_the_others_are_cancelled(sshd: Sshd) -> None:
    closed: list[str] = []
    opened = asyncio.Event()

    class Closing:
        name = "infra1"

        async def close(self) -> None:
            closed.append(self.name)

    async def connect(spec: HostSpec, *_: object) -> Host:
        if spec.name == "infra1":
            opened.set()
            return Closing()  # type: ignore[return-value]
        await asyncio.sleep(30)
        raise AssertionError

    async def work() -> None:
        two = spec(sshd, host("infra1"), host("infra2"))
        async with open_fleet(two, NO_SECRETS, connect=connect):
            raise AssertionError

    task = asyncio.create_task(work())
    await opened.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == ["infra1"]
