"""`bbolt check`, the program of the authors of bbolt, on files that etcdup writes."""

import subprocess
from pathlib import Path

from tests.support.etcd_binaries import bbolt


def bbolt_check(path: Path) -> None:
    """Assert that `bbolt check` reports nothing. The file may end with the checksum of a snapshot of etcd."""
    done = subprocess.run([bbolt(), "check", path], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "OK\n"), done.stdout + done.stderr
