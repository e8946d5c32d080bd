"""A disk that is small enough for a test to fill it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 512 KiB. It needs root."""
    with disk_of("512k") as folder:
        yield folder


@contextmanager
def disk_of(size: str) -> Iterator[Path]:
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a disk needs root")
    folder = tempfile.mkdtemp()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        Path(folder).rmdir()
        pytest.skip("this machine cannot mount a tmpfs")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", folder], check=True)
        Path(folder).rmdir()
