"""Nothing heavy is imported before a verb runs, so that `--help` and `--version` print at once."""

import subprocess
import sys

import pytest

HEAVY = (
    "asyncio",
    "asyncssh",
    "cryptography",
    "google.protobuf",
    "grpc",
    "pydantic",
    "ruamel",
    "ssl",
)
SCRIPT = """
import sys
from etcdup.cli.main import run
code = run(sys.argv[1:])
heavy = [name for name in {heavy!r} if name in sys.modules]
print("heavy:", heavy, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("apply", "--help"),
        ("demo", "-h"),
        ("status", "--help"),
        ("ctl", "--help"),
        ("plan", "--bogus"),
        ("explain", "--help"),
        ("explain",),
        ("help", "plan"),
        ("helth",),
        ("explain", "18"),
        ("--log-file", "/dev/null", "--version"),
        (),
    ],
)
def test_nothing_heavy_is_imported(arguments: tuple[str, ...]) -> None:
    script = SCRIPT.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "heavy: []"
