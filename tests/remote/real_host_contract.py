"""The part of the contract that needs real commands: any program, signals, and files on the disk."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from etcdup.errors import CommandFailed, RemoteError
from etcdup.remote import scripts
from etcdup.remote.host import Blob, Host, HostCommand, HostFile
from tests.remote.host_contract import OWNER, Promise
from tests.support.echo_server import echo_server

TEN_MB = os.urandom(1024) * 10 * 1024


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def mode_of(path: str) -> int:
    return Path(path).stat().st_mode & 0o7777


def owner_of(path: str) -> str:
    return f"{Path(path).owner()}:{Path(path).group()}"


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def reading_a_folder_is_an_error(host: Host, folder: str) -> None:
    with pytest.raises(RemoteError):
        await host.read(folder)


async def status_stdout_and_stderr_are_separate(host: Host, folder: str) -> None:
    result = await host.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.host, result.status, result.stdout, result.stderr) == (host.name, 7, "out\n", "err\n")
    assert result.argv == ("sh", "-c", "echo out; echo err >&2; exit 7")
    assert result.duration_s > 0
    with pytest.raises(CommandFailed) as caught:
        result.check()
    assert caught.value.status == 7


async def a_killed_command_has_the_shells_status(host: Host, folder: str) -> None:
    assert (await host.run(["sh", "-c", "kill -9 $$"])).status == 137


async def output_is_utf8_with_replacement(host: Host, folder: str) -> None:
    assert (await host.run(["printf", "%s", "gr\u00fc\u00df \u2603"])).stdout == "gr\u00fc\u00df \u2603"
    assert (await host.run(["printf", r"a\377b"])).stdout == "a\ufffdb"


async def messages_are_in_english(host: Host, folder: str) -> None:
    assert (await host.run(["sh", "-c", "echo $LC_ALL $SYSTEMD_COLORS"])).stdout == "C 0\n"


async def a_missing_command_ends_with_127(host: Host, folder: str) -> None:
    result = await host.run(["no-such-command-here"], stdin=b"input that is not read")
    assert result.status == 127
    assert "no-such-command-here" in result.stderr


async def any_characters_in_arguments_are_passed_unchanged(host: Host, folder: str) -> None:
    odd = [
        "",
        " ",
        "a b",
        "it's",
        '"',
        "new\nline",
        "$HOME",
        "`id`",
        "*",
        "\\",
        "!",
        "-n",
        "\u2603",
        "~",
        ";",
        "|&",
    ]
    result = await host.run(["sh", "-c", 'printf "%s\\0" "$@"', "sh", *odd])
    assert result.stdout.split("\0")[:-1] == odd


async def stdin_arrives_whole(host: Host, folder: str) -> None:
    assert (await host.run(["wc", "-c"])).stdout.strip() == "0"
    await host.run(["sh", "-c", 'cat > "$1"', "sh", f"{folder}/copy"], stdin=TEN_MB)
    assert await host.read(f"{folder}/copy") == TEN_MB


async def a_blob_is_streamed(host: Host, folder: str) -> None:
    blob = Path(folder) / "blob"
    blob.write_bytes(TEN_MB)
    result = await host.run(["sha256sum"], stdin=Blob(blob))
    assert result.stdout == (await host.run(["sha256sum"], stdin=TEN_MB)).stdout


async def a_command_may_ignore_its_stdin(host: Host, folder: str) -> None:
    assert (await host.run(["head", "-c", "3"], stdin=b"abc" + TEN_MB)).stdout == "abc"


async def a_command_may_write_while_it_reads(host: Host, folder: str) -> None:
    assert len((await host.run(["cat"], stdin=b"x" * len(TEN_MB))).stdout) == len(TEN_MB)


async def a_timeout_ends_the_command(host: Host, folder: str) -> None:
    script = 'echo begun; sleep 0.2; echo $$ > "$1"; sleep 60; echo late'
    started = time.monotonic()
    with pytest.raises(CommandFailed) as caught:
        await host.run(["sh", "-c", script, "sh", f"{folder}/pid"], timeout_s=0.6)
    assert 0.6 <= time.monotonic() - started < 4
    assert caught.value.status is None
    assert "begun" in caught.value.stdout
    pid = int(await host.read(f"{folder}/pid") or b"0")
    assert not is_running(pid)


async def a_command_that_ignores_sigterm_is_killed(host: Host, folder: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        await host.run(["sh", "-c", 'trap "" TERM; sleep 30; sleep 30'], timeout_s=0.2)
    assert caught.value.status is None


async def status_124_before_the_timeout_is_the_status_of_the_command(host: Host, folder: str) -> None:
    assert (await host.run(["sh", "-c", "exit 124"])).status == 124


async def each_of_several_tasks_has_its_own_output(host: Host, folder: str) -> None:
    odd = ("", "a b", "it's", '"', "new\nline", "$HOME", "`id`", "*", "\\", ";", "$1", "}")
    say = HostCommand(("sh", "-c", 'printf "%s\\0" "$@"; echo complaint >&2; sleep 0.2', "sh", *odd))
    blob = Path(folder) / "blob"
    blob.write_bytes(TEN_MB)
    put = (HostFile(f"{folder}/file", b"x" * 70_000, 0o640, OWNER),)
    said, wrote, failed = await host.run_all(
        [say, put, HostCommand(("sh", "-c", "wc -c; echo why >&2; exit 3"))], stdin=Blob(blob)
    )
    assert (said.stdout.split("\0")[:-1], said.stderr, said.duration_s > 0.18) == (
        [*odd],
        "complaint\n",
        True,
    )
    assert (wrote.argv, wrote.stdout, wrote.stderr) == (("write", f"{folder}/file"), "", "")
    assert (failed.stdout.strip(), failed.stderr, failed.status) == (str(len(TEN_MB)), "why\n", 3)
    assert mode_of(f"{folder}/file") == 0o640


async def each_of_several_tasks_has_its_own_timeout(host: Host, folder: str) -> None:
    begun = time.monotonic()
    with pytest.raises(CommandFailed) as caught:
        await host.run_all(
            [
                HostCommand(("true",)),
                HostCommand(("sleep", "60"), 0.3),
                HostCommand(("touch", f"{folder}/late")),
            ]
        )
    assert (caught.value.command, caught.value.status) == ("sleep 60", None)
    assert time.monotonic() - begun < 10
    assert names_in(folder) == []


async def no_task_begins_after_a_round_trip_is_cancelled(host: Host, folder: str) -> None:
    late = HostCommand(("touch", f"{folder}/late"))
    task = asyncio.create_task(host.run_all([HostCommand(("sleep", "1")), late]))
    await asyncio.sleep(0.4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(1.2)
    assert names_in(folder) == []


async def fifty_commands_run_at_once(host: Host, folder: str) -> None:
    results = await asyncio.gather(*(host.run(["echo", str(n)], stdin=b"x") for n in range(50)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(50)]


async def a_cancelled_command_leaves_the_host_usable(host: Host, folder: str) -> None:
    task = asyncio.create_task(host.run(["sleep", "5"], stdin=b""))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await host.run(["echo", "still here"])).stdout == "still here\n"


async def mode_and_owner_are_set(host: Host, folder: str) -> None:
    for mode in (0o600, 0o640, 0o644, 0o755, 0o400):
        await host.write(f"{folder}/file", b"x", mode=mode, owner=OWNER)
        assert mode_of(f"{folder}/file") == mode
        if os.geteuid() == 0:
            assert owner_of(f"{folder}/file") == "root:root"


async def another_user_can_own_a_file(host: Host, folder: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    await host.write(f"{folder}/file", b"x", mode=0o640, owner="nobody:daemon")
    assert owner_of(f"{folder}/file") == "nobody:daemon"


async def an_unknown_owner_is_an_error(host: Host, folder: str) -> None:
    await host.write(f"{folder}/file", b"old", mode=0o644, owner=OWNER)
    with pytest.raises(CommandFailed) as caught:
        await host.write(f"{folder}/file", b"new", mode=0o644, owner="no-such-user:root")
    assert "create that user or group" in caught.value.hint
    assert await host.read(f"{folder}/file") == b"old"
    assert names_in(folder) == ["file"]


async def a_reader_never_sees_half_a_file(host: Host, folder: str) -> None:
    target = Path(folder) / "file"
    versions = {bytes([65 + n]) * 200_000 for n in range(8)}
    await host.write(str(target), b"A" * 200_000, mode=0o644, owner=OWNER)
    inodes, seen, writing = set(), set(), True

    async def watch() -> None:
        while writing:
            with target.open("rb") as file:
                inodes.add(os.fstat(file.fileno()).st_ino)
                seen.add(file.read())
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    for version in sorted(versions):
        await host.write(str(target), version, mode=0o644, owner=OWNER)
    writing = False
    await watcher
    assert seen <= versions
    assert len(seen) > 1
    assert len(inodes) > 1


async def writers_of_one_file_do_not_mix(host: Host, folder: str) -> None:
    contents = [bytes([65 + n]) * 100_000 for n in range(6)]
    await asyncio.gather(
        *(host.write(f"{folder}/file", content, mode=0o644, owner=OWNER) for content in contents)
    )
    assert await host.read(f"{folder}/file") in contents
    assert names_in(folder) == ["file"]


async def a_link_is_replaced_not_followed(host: Host, folder: str) -> None:
    victim = Path(folder) / "victim"
    victim.write_text("untouched")
    (Path(folder) / "link").symlink_to(victim)
    await host.write(f"{folder}/link", b"new", mode=0o644, owner=OWNER)
    assert victim.read_text() == "untouched"
    assert not (Path(folder) / "link").is_symlink()


async def a_folder_is_not_overwritten(host: Host, folder: str) -> None:
    (Path(folder) / "sub").mkdir()
    with pytest.raises(CommandFailed):
        await host.write(f"{folder}/sub", b"x", mode=0o644, owner=OWNER)
    assert names_in(folder) == ["sub"]
    assert names_in(f"{folder}/sub") == []


async def files_of_a_killed_writer_are_removed(host: Host, folder: str) -> None:
    left = Path(folder) / ".etcdup.999999999"
    left.mkdir()
    (left / "other").write_text("half a key")
    at_work = Path(folder) / f".etcdup.{os.getpid()}"
    at_work.mkdir()
    (Path(folder) / ".etcdup.mine").mkdir()  # It is not from a writer, so it must stay.
    await host.write(f"{folder}/file", b"x", mode=0o644, owner=OWNER)
    assert names_in(folder) == [at_work.name, ".etcdup.mine", "file"]


async def a_pair_is_renamed_by_one_program(host: Host, folder: str) -> None:
    """Rule 16: a reader finds the old pair or the new pair, except between two system calls in sequence."""
    (Path(folder) / "else").mkdir()
    names = ("pki-key.pem", "pki.pem", "else/third", "last one")
    files = [HostFile(f"{folder}/{name}", name.encode(), 0o600, OWNER) for name in names]
    await host.write_all(files)
    assert [await host.read(f"{folder}/{name}") for name in names] == [name.encode() for name in names]
    assert (names_in(folder), names_in(f"{folder}/else")) == (["else", "last one", *names[:2]], ["third"])
    _, _, script, *_ = scripts.write_files([(f"{folder}/{name}", 0o600, "", 1) for name in names[:2]])
    assert [line for line in script.splitlines() if line.startswith("mv")] == ['mv -f -- "$t1" "$t2" "$d1/"']


async def a_held_command_reads_and_writes(host: Host, folder: str) -> None:
    async with host.hold(["sh", "-c", 'echo ready; while read line; do echo "<$line>"; done']) as held:
        lines = held.lines()
        assert await anext(lines) == "ready"
        for word in ("one", "two words", "\u2603"):
            await held.send(f"{word}\n".encode())
            assert await anext(lines) == f"<{word}>"


async def a_held_command_ends_with_its_block(host: Host, folder: str) -> None:
    async with host.hold(["sh", "-c", 'echo $$; cat; echo ended > "$1"', "sh", f"{folder}/mark"]) as held:
        pid = int(await anext(held.lines()))
        assert is_running(pid)
    assert not is_running(pid)
    assert await host.read(f"{folder}/mark") == b"ended\n"


async def lines_end_with_the_held_command(host: Host, folder: str) -> None:
    async with host.hold(["sh", "-c", "echo refused; exit 1"]) as held:
        assert [line async for line in held.lines()] == ["refused"]
        await asyncio.sleep(0.1)
        with pytest.raises(RemoteError):
            await held.send(b"anybody there?\n")


async def a_held_command_does_not_stop_others(host: Host, folder: str) -> None:
    async with host.hold(["cat"]), host.hold(["cat"]):
        await fifty_commands_run_at_once(host, folder)


async def a_forwarded_port_reaches_the_host(host: Host, folder: str) -> None:
    async with echo_server() as port:
        address = await host.forward("127.0.0.1", port)
        assert await host.forward("127.0.0.1", port) == address
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*address)
            sent = os.urandom(3_000_000)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent
            writer.close()
            await writer.wait_closed()


REAL_HOST_PROMISES: tuple[Promise, ...] = (
    reading_a_folder_is_an_error,
    status_stdout_and_stderr_are_separate,
    a_killed_command_has_the_shells_status,
    output_is_utf8_with_replacement,
    messages_are_in_english,
    a_missing_command_ends_with_127,
    any_characters_in_arguments_are_passed_unchanged,
    stdin_arrives_whole,
    a_blob_is_streamed,
    a_command_may_ignore_its_stdin,
    a_command_may_write_while_it_reads,
    a_timeout_ends_the_command,
    a_command_that_ignores_sigterm_is_killed,
    status_124_before_the_timeout_is_the_status_of_the_command,
    each_of_several_tasks_has_its_own_output,
    each_of_several_tasks_has_its_own_timeout,
    no_task_begins_after_a_round_trip_is_cancelled,
    fifty_commands_run_at_once,
    a_cancelled_command_leaves_the_host_usable,
    mode_and_owner_are_set,
    another_user_can_own_a_file,
    an_unknown_owner_is_an_error,
    a_reader_never_sees_half_a_file,
    writers_of_one_file_do_not_mix,
    a_link_is_replaced_not_followed,
    a_folder_is_not_overwritten,
    files_of_a_killed_writer_are_removed,
    a_pair_is_renamed_by_one_program,
    a_held_command_reads_and_writes,
    a_held_command_ends_with_its_block,
    lines_end_with_the_held_command,
    a_held_command_does_not_stop_others,
    a_forwarded_port_reaches_the_host,
)
