"""The passphrase of the CA key, from the environment or from a command of the operator."""

import os
import shlex
import subprocess
from pathlib import Path

from etcdup.errors import PkiError
from etcdup.remote.environment import operator_environment

VARIABLE = "ETCDUP_CA_PASSPHRASE"
COMMAND_TIMEOUT_S = 60.0


def is_configured(command: str | None) -> bool:
    """Return whether a passphrase is set. The command is not run."""
    return VARIABLE in os.environ or command is not None


def configured_passphrase(command: str | None, folder: Path) -> str | None:
    """Return $ETCDUP_CA_PASSPHRASE, or the first line that the command prints, or None if neither is set."""
    if VARIABLE in os.environ:
        return _require_not_empty(os.environ[VARIABLE], f"${VARIABLE}")
    if command is None:
        return None
    return _require_not_empty(_run_command(command, folder), "the output of tls.passphrase_command")


def _require_not_empty(passphrase: str, where: str) -> str:
    if not passphrase:
        raise PkiError(
            f"the passphrase of the CA key is empty: {where}",
            hint="unset it to use a key without a passphrase",
        )
    return passphrase


def _run_command(command: str, folder: Path) -> str:
    """Return the first line that the command prints. It runs without a shell; its words are split as a shell does."""
    hint = "run the command in your shell; it must print the passphrase as its first line"
    try:
        argv = shlex.split(command)
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=operator_environment(),
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        why = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise PkiError(f"cannot run tls.passphrase_command: {why}", hint=hint) from None
    if done.returncode != 0:
        raise PkiError(f"tls.passphrase_command exited with status {done.returncode}", hint=hint)
    return done.stdout.decode(errors="replace").partition("\n")[0].rstrip("\r")
