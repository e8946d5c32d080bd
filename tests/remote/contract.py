"""What every Host does alike. A test module parametrises over these lists with its own `host`:

    @pytest.mark.parametrize("promise", CONTRACT, ids=named)
    async def test_contract(promise: Promise, host: Host, folder: str) -> None:
        await promise(host, folder)

CONTRACT needs no shell behind the Host, so the in-memory fake is held to it as well; `folder` is an existing,
empty folder on the host. REAL_MACHINE, in real_machine.py, runs real commands.
"""

import os
from collections.abc import Awaitable, Callable

import pytest

from etcdup.errors import CommandFailed
from etcdup.remote.host import Host

Promise = Callable[[Host, str], Awaitable[None]]

OWNER = "root:root" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
BINARY = bytes(range(256)) * 40 + b"\n\n\x00"


def named(promise: Promise) -> str:
    return promise.__name__


async def a_missing_file_reads_as_none(host: Host, folder: str) -> None:
    assert await host.read(f"{folder}/nothing") is None
    assert await host.read(f"{folder}/no/such/folder") is None


async def a_written_file_reads_back(host: Host, folder: str) -> None:
    for content in (b"", b"one line\n", b"no newline", BINARY):
        await host.write(f"{folder}/file", content, mode=0o644, owner=OWNER)
        assert await host.read(f"{folder}/file") == content


async def odd_file_names_are_only_names(host: Host, folder: str) -> None:
    for name in ("with space", "quo'te\"s", "$HOME", "a*?[b]", "-n", "new\nline", "ünïcode", ".hidden"):
        await host.write(f"{folder}/{name}", name.encode(), mode=0o600, owner=OWNER)
        assert await host.read(f"{folder}/{name}") == name.encode()


async def writing_into_a_missing_folder_is_an_error(host: Host, folder: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        await host.write(f"{folder}/missing/file", b"content", mode=0o644, owner=OWNER)
    assert caught.value.host == host.name
    assert await host.read(f"{folder}/missing/file") is None


async def closing_twice_is_safe(host: Host, folder: str) -> None:
    await host.close()
    await host.close()


CONTRACT: tuple[Promise, ...] = (
    a_missing_file_reads_as_none,
    a_written_file_reads_back,
    odd_file_names_are_only_names,
    writing_into_a_missing_folder_is_an_error,
    closing_twice_is_safe,
)
