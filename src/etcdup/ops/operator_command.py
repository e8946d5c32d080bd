"""Run a command of the operator that prints a secret: `tls.passphrase_command`, `etcd.access.password_command`."""

import os
import select
import shlex
import subprocess
import time
from pathlib import Path

from etcdup.remote.environment import operator_environment

COMMAND_TIMEOUT_S = 60.0
# A secret is one line. A command that prints more is not the right one.
MOST_BYTES = 64 << 10


class SecretCommandError(Exception):
    """The command did not run, or did not end as it must. The text has nothing that it printed."""


def first_line(key: str, command: str, folder: Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Return the first line that the command prints. `key` is its key in cluster.yaml. Raises SecretCommandError.

    It runs without a shell; its words are split as a shell does. It may prompt on the terminal.
    """
    try:
        output, status = _run(shlex.split(command), folder, timeout_s)
    except OSError as error:
        raise SecretCommandError(f"cannot run {key}: {error.strerror}") from None
    except IndexError:
        raise SecretCommandError(f"{key} is empty") from None
    except ValueError:
        raise SecretCommandError(f"{key} is not a command: it has an open quote or a NUL byte") from None
    except subprocess.TimeoutExpired:
        raise SecretCommandError(f"{key} did not end within {timeout_s:g} s") from None
    if len(output) > MOST_BYTES:
        raise SecretCommandError(f"{key} printed more than {MOST_BYTES >> 10} KiB")
    if status != 0:
        raise SecretCommandError(f"{key} exited with status {status}")
    line = output.partition(b"\n")[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise SecretCommandError(f"{key} printed a line that is not UTF-8") from None
    if "\0" in text:
        raise SecretCommandError(f"{key} printed a NUL byte")
    return text


def _run(argv: list[str], folder: Path, timeout_s: float) -> tuple[bytes, int]:
    """Return the output and the status. Output beyond the limit is not read."""
    ends = time.monotonic() + timeout_s
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=folder, env=operator_environment()) as child:
        assert child.stdout is not None
        try:
            output = _read(child.stdout.fileno(), argv, ends)
            if len(output) > MOST_BYTES:
                child.kill()
            return output, child.wait(max(ends - time.monotonic(), 0))
        except BaseException:
            child.kill()
            raise


def _read(pipe: int, argv: list[str], ends: float) -> bytes:
    """Return what is printed until the end of the output, or until it is longer than the limit."""
    output = b""
    while len(output) <= MOST_BYTES:
        ready, _, _ = select.select([pipe], [], [], max(ends - time.monotonic(), 0))
        if not ready:
            raise subprocess.TimeoutExpired(argv, 0)
        if not (piece := os.read(pipe, MOST_BYTES)):
            break
        output += piece
    return output
