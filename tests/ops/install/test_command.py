"""A program that etcdup runs on this machine: how it ended."""

import pytest

from etcdup.ops.install.command import run


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exit 0", "exited with status 0"),
        ("exit 3", "exited with status 3"),
        ("kill -9 $$", "was ended by signal 9 (Killed)"),
        ("kill -15 $$", "was ended by signal 15 (Terminated)"),
    ],
)
async def test_the_end_of_a_program_names_its_status_or_its_signal(script: str, end: str) -> None:
    assert (await run(["sh", "-c", script])).end == end
