"""The user that `ssh HOST` logs in as, without a connection."""

import getpass
import subprocess

_TIMEOUT_S = 5.0


def login_user(address: str) -> str:
    """Return the user of ssh_config for this address, or the user of this machine."""
    try:
        shown = subprocess.run(
            ["ssh", "-G", "--", address], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):  # no OpenSSH on this machine, or an error in ssh_config
        shown = ""
    for line in shown.splitlines():
        key, _, value = line.partition(" ")
        if key == "user" and value:
            return value
    return getpass.getuser()
