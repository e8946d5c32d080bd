"""The options in the hint that resumes a run."""

import shlex
from pathlib import Path

from etcdup.cli.run.change import typed_options


def test_the_shell_gives_the_options_back_as_they_were_passed() -> None:
    typed = typed_options(
        {
            "prefix": "",
            "revision": 7,
            "identity": Path("my keys/a.txt"),
            "unsigned": True,
            "at": None,
            "all": False,
        }
    )
    assert shlex.split(typed) == [
        "--prefix", "", "--revision", "7", "--identity", "my keys/a.txt", "--unsigned"
    ]  # fmt: skip
