"""The passphrase of the CA key, from the environment or from a command of the operator."""

import os
from pathlib import Path

from etcdup.errors import PkiError
from etcdup.ops.operator_command import SecretCommandError, first_line

VARIABLE = "ETCDUP_CA_PASSPHRASE"
KEY = "tls.passphrase_command"


def is_configured(command: str | None) -> bool:
    """Return whether a passphrase is set. The command is not run."""
    return VARIABLE in os.environ or command is not None


def configured_passphrase(command: str | None, folder: Path) -> str | None:
    """Return $ETCDUP_CA_PASSPHRASE, or the first line that the command prints, or None if neither is set."""
    if VARIABLE in os.environ:
        return _require_not_empty(os.environ[VARIABLE], f"${VARIABLE}")
    if command is None:
        return None
    return _require_not_empty(_run_command(command, folder), f"the output of {KEY}")


def _require_not_empty(passphrase: str, where: str) -> str:
    if not passphrase:
        raise PkiError(
            f"the passphrase of the CA key is empty: {where}",
            hint="correct it. Only for a key without a passphrase, remove it",
        )
    return passphrase


def _run_command(command: str, folder: Path) -> str:
    try:
        return first_line(KEY, command, folder)
    except SecretCommandError as failed:
        hint = "run the command in your shell; it must print the passphrase as its first line"
        raise PkiError(str(failed), hint=hint) from None
