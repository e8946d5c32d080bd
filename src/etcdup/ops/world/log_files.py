"""Read the files of a member's write-ahead log (WAL) on its host."""

import base64
import zlib

from etcdup.core.host.log_files import MOST_BYTES, log_file_argv
from etcdup.errors import CommandFailed, EtcdupError
from etcdup.remote.host import Host, Result

READ_TIMEOUT_S = 300.0
_GZIP = 16 + zlib.MAX_WBITS


async def read_log_file(
    host: Host, folder: str, back: int, user: str, *, only_with: tuple[str, ...] = ()
) -> tuple[str, bytes] | None:
    """Return the name and the content of a log file, or None if there is no such file (see log_file_argv).

    Raises RemoteError if the command failed, and ValueError if its output is not a file.
    """
    argv = log_file_argv(folder, back, user, only_with=only_with)
    name, _, content = (await _read(host, argv)).check().stdout.partition("\n")
    return (name, _unpack(content)) if name else None


async def _read(host: Host, argv: tuple[str, ...]) -> Result:
    # base64 needs four characters for three bytes, and line ends.
    return await host.run(argv, timeout_s=READ_TIMEOUT_S, most_bytes=MOST_BYTES * 3 // 2)


def unreadable_log(host: Host, error: ValueError | CommandFailed, hint: str) -> EtcdupError:
    """Return the error for a log that `read_log_file` could not read, or that is damaged."""
    why = str(error)
    if isinstance(error, CommandFailed):  # Its message has the script.
        why = error.detail or ("timed out" if error.status is None else f"exit status {error.status}")
    return EtcdupError(f"cannot read the write-ahead log of the member on {host.name}: {why}", hint=hint)


def _unpack(content: str) -> bytes:
    """Return the file. Raise ValueError if it is larger than any log file: a host may send anything."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        file = unpacker.decompress(base64.b64decode(content), MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof:
        raise ValueError("the file is not complete, or is larger than a log file can be")
    return file
