"""Three temporary users: one with sudo, one with sudo and a password, one without sudo."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SUDOERS = Path("/etc/sudoers.d")
PASSWORD = 'a pass\'word $with "odd" things'


@dataclass(frozen=True)
class Users:
    """The login names of the users. All have the password PASSWORD."""

    passwordless: str
    with_password: str
    without_sudo: str


@contextmanager
def temporary_users() -> Iterator[Users]:
    """Create the users and their sudo rules, and remove them after the block. Skip the test without permission."""
    if os.geteuid() != 0 or not SUDOERS.is_dir() or shutil.which("useradd") is None:
        pytest.skip("needs root, sudo and useradd to create temporary users")
    stem = f"etcdup-t{os.getpid()}"
    users = Users(f"{stem}-free", f"{stem}-asked", f"{stem}-barred")
    rules = SUDOERS / stem
    try:
        for name in (users.passwordless, users.with_password, users.without_sudo):
            subprocess.run(["useradd", "-M", "-d", "/", "-s", "/bin/sh", "-p", "*", name], check=True)
            subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}\n".encode(), check=True)
        rules.write_text(
            f"{users.passwordless} ALL=(ALL) NOPASSWD: ALL\n{users.with_password} ALL=(ALL) ALL\n"
        )
        rules.chmod(0o440)
        yield users
    finally:
        rules.unlink(missing_ok=True)
        for name in (users.passwordless, users.with_password, users.without_sudo):
            subprocess.run(["userdel", name], check=False, capture_output=True)
