"""The passphrase of the CA's key, from where the operator keeps it."""

import os
import shlex
import subprocess
from pathlib import Path

from etcdup.errors import PkiError

VARIABLE = "ETCDUP_CA_PASSPHRASE"
COMMAND_TIMEOUT_S = 60.0


def configured_passphrase(command: str | None, folder: Path) -> str | None:
    """From $ETCDUP_CA_PASSPHRASE, else the first line that the command prints; None if neither is set."""
    if VARIABLE in os.environ:
        return _require_not_empty(os.environ[VARIABLE], f"${VARIABLE}")
    if command is None:
        return None
    return _require_not_empty(_run_command(command, folder), "what tls.passphrase_command printed")


def _require_not_empty(passphrase: str, where: str) -> str:
    if not passphrase:
        raise PkiError(f"The CA's passphrase is empty: {where}", hint="unset it to do without one")
    return passphrase


def _run_command(command: str, folder: Path) -> str:
    """Runs without a shell: the words are the program and its arguments as shells quote them."""
    hint = "run the command by hand; it must print the passphrase as its first line"
    try:
        argv = shlex.split(command)
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, cwd=folder, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        why = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise PkiError(f"tls.passphrase_command could not be run: {why}", hint=hint) from None
    if done.returncode != 0:
        raise PkiError(f"tls.passphrase_command exited with status {done.returncode}", hint=hint)
    return done.stdout.decode(errors="replace").partition("\n")[0].rstrip("\r")
