"""Read the keys that hosts offer, and add keys to known_hosts."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import OfferedKey, RemoteError, UsageError
from etcdup.remote.fleet import LOGINS_AT_ONCE
from etcdup.remote.secrets import SshSecrets
from etcdup.remote.ssh.dial import dial


async def try_logins(
    hosts: Sequence[HostSpec], ssh: SshSpec, secrets: SshSecrets
) -> dict[str, RemoteError | None]:
    """Log in to each host and close the connection. Return the error of each host, None if the login works."""
    bound = asyncio.Semaphore(LOGINS_AT_ONCE)

    async def one(host: HostSpec) -> RemoteError | None:
        async with bound:
            try:
                connection = await dial(host, ssh, secrets=secrets)
            except RemoteError as error:
                return error
            await connection.close()
            return None

    errors = await asyncio.gather(*map(one, hosts))
    return dict(zip((host.name for host in hosts), errors, strict=True))


def add_to_known_hosts(key: OfferedKey) -> None:
    """Append the key to its file, as OpenSSH does. Raises UsageError if the file cannot be written."""
    file = Path(key.file).expanduser()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = file.read_bytes() if file.exists() else b""
        gap = "" if not before or before.endswith(b"\n") else "\n"
        # One write to a file that is opened for appending is not mixed with that of another program.
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{gap}{key.line}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        hint = "set `ssh.known_hosts` in cluster.yaml to a file that you can write"
        raise UsageError(f"{file} cannot be written: {error.strerror}", hint=hint) from None
