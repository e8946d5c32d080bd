"""The contract of all Hosts. A test module parametrises over these lists with its own `host`:

    @pytest.mark.parametrize("promise", CONTRACT, ids=named)
    async def test_contract(promise: Promise, host: Host, folder: str) -> None:
        await promise(host, folder)

CONTRACT needs no real shell behind the Host, so the in-memory fake is held to it as well; `folder` is an
existing, empty folder on the host. REAL_MACHINE, in real_machine.py, runs real commands.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from etcdup.errors import CommandFailed, NotLocked
from etcdup.remote.host import Held, Host, HostCommand, HostFile, HostLock, HostTask
from etcdup.remote.lock_scripts import lock_argv

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


async def special_characters_in_file_names_have_no_effect(host: Host, folder: str) -> None:
    for name in ("with space", "quo'te\"s", "$HOME", "a*?[b]", "-n", "new\nline", "ünïcode", ".hidden"):
        await host.write(f"{folder}/{name}", name.encode(), mode=0o600, owner=OWNER)
        assert await host.read(f"{folder}/{name}") == name.encode()


async def writing_into_a_missing_folder_is_an_error(host: Host, folder: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        await host.write(f"{folder}/missing/file", b"content", mode=0o644, owner=OWNER)
    assert caught.value.host == host.name
    assert await host.read(f"{folder}/missing/file") is None


async def several_files_are_written_in_one_round_trip(host: Host, folder: str) -> None:
    contents = {"key": BINARY, "empty": b"", "cert": b"no newline"}
    files = [HostFile(f"{folder}/{name}", content, 0o600, OWNER) for name, content in contents.items()]
    await host.write_all(files)
    for name, content in contents.items():
        assert await host.read(f"{folder}/{name}") == content


async def if_one_file_cannot_be_written_none_is(host: Host, folder: str) -> None:
    await host.write(f"{folder}/first", b"old", mode=0o600, owner=OWNER)
    new = [
        HostFile(f"{folder}/first", b"new", 0o600, OWNER),
        HostFile(f"{folder}/no/second", b"", 0o600, OWNER),
    ]
    with pytest.raises(CommandFailed):
        await host.write_all(new)
    assert await host.read(f"{folder}/first") == b"old"


async def several_tasks_are_done_in_order(host: Host, folder: str) -> None:
    key = HostFile(f"{folder}/sub/key", BINARY, 0o600, OWNER)
    cert = HostFile(f"{folder}/sub/cert", b"no newline", 0o644, OWNER)
    tasks: list[HostTask] = [
        HostCommand(("mkdir", f"{folder}/sub")),
        (key, cert),
        HostCommand(("cat", cert.path)),
        HostCommand(("cat",)),
    ]
    results = await host.run_all(tasks, stdin=b"the last one's")
    assert [result.status for result in results] == [0, 0, 0, 0]
    assert [result.stdout for result in results] == ["", "", "no newline", "the last one's"]
    assert [result.argv[0] for result in results] == ["mkdir", "write", "cat", "cat"]
    assert await host.read(key.path) == BINARY


async def the_first_task_that_fails_is_the_last(host: Host, folder: str) -> None:
    file = HostFile(f"{folder}/file", b"", 0o600, OWNER)
    lost = HostFile(f"{folder}/missing/file", b"", 0o600, OWNER)
    for fails, status in (
        (HostCommand(("sh", "-c", "exit 7")), 7),
        ((lost,), 1),
        (HostCommand(("no-such-command",)), 127),
    ):
        results = await host.run_all([HostCommand(("true",)), fails, (file,)])
        assert [result.status for result in results] == [0, status]
        assert await host.read(file.path) is None


async def only_the_last_task_reads_stdin(host: Host, folder: str) -> None:
    results = await host.run_all([HostCommand(("cat",)), HostCommand(("cat",))], stdin=b"once")
    assert [result.stdout for result in results] == ["", "once"]


async def any_exit_status_is_a_result(host: Host, folder: str) -> None:
    assert (await host.run(["true"])).status == 0
    assert (await host.run(["false"])).status == 1
    assert (await host.run(["sh", "-c", "exit 7"])).status == 7
    assert (await host.run(["no-such-command-here"])).status == 127


async def arguments_are_passed_unchanged(host: Host, folder: str) -> None:
    words = ["with space", "quo'te\"s", "$HOME", "*", "", "ünïcode", "new\nline"]
    result = await host.run(["printf", "%s\\n", *words])
    assert result.stdout == "".join(f"{word}\n" for word in words)
    assert (result.host, result.argv[0], result.stderr) == (host.name, "printf", "")


async def stdin_reaches_the_command(host: Host, folder: str) -> None:
    for text in ("", "line\n" * 1000, "no newline"):
        assert (await host.run(["cat"], stdin=text.encode())).stdout == text


async def a_timeout_ends_the_command(host: Host, folder: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        await host.run(["sleep", "60"], timeout_s=0.3)
    assert caught.value.status is None


async def only_one_holds_the_lock_at_a_time(host: Host, folder: str) -> None:
    def locking(who: str) -> AbstractAsyncContextManager[Held]:
        return host.hold(lock_argv(HostLock(f"{folder}/run/lock", who)))

    async with locking("first") as held:
        assert await anext(held.lines()) == "locked"
        async with locking("second") as refused:
            assert [line async for line in refused.lines()] == ["held", "first"]
    async with locking("third") as held:
        assert await anext(held.lines()) == "locked"


async def a_command_with_a_lock_runs_only_while_the_lock_is_held(host: Host, folder: str) -> None:
    first, second = (HostLock(f"{folder}/run/lock", who) for who in ("first", "second"))
    tasks: list[HostTask] = [HostCommand(("mkdir", "-p", f"{folder}/made"))]

    async def check_refused(lock: HostLock, holder: str) -> None:
        with pytest.raises(NotLocked) as refused:
            await host.run_all(tasks, lock=lock)
        assert refused.value.holder == holder

    await check_refused(first, "")
    async with host.hold(lock_argv(first)) as held:
        assert await anext(held.lines()) == "locked"
        assert [result.status for result in await host.run_all(tasks, lock=first)] == [0]
        await check_refused(second, "first")
    await check_refused(first, "")
    async with host.hold(lock_argv(second)) as held:
        assert await anext(held.lines()) == "locked"
        await check_refused(first, "second")


async def closing_twice_is_safe(host: Host, folder: str) -> None:
    await host.close()
    await host.close()


HOST_PROMISES: tuple[Promise, ...] = (
    a_missing_file_reads_as_none,
    a_written_file_reads_back,
    special_characters_in_file_names_have_no_effect,
    writing_into_a_missing_folder_is_an_error,
    several_files_are_written_in_one_round_trip,
    if_one_file_cannot_be_written_none_is,
    several_tasks_are_done_in_order,
    the_first_task_that_fails_is_the_last,
    only_the_last_task_reads_stdin,
    any_exit_status_is_a_result,
    arguments_are_passed_unchanged,
    stdin_reaches_the_command,
    a_timeout_ends_the_command,
    only_one_holds_the_lock_at_a_time,
    a_command_with_a_lock_runs_only_while_the_lock_is_held,
    closing_twice_is_safe,
)
