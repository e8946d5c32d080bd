"""Copy files of the members from their hosts to the operator's machine. A private key is never printed or journaled."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from etcdup.core.adopt.copies import Copy
from etcdup.core.adopt.scripts import copy_argv
from etcdup.errors import RefusedError
from etcdup.ops.files import create_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE, make_private_folder
from etcdup.ops.pki.x509 import UnusableFile, is_encrypted, parse_certs, parse_key
from etcdup.remote.host import Host, HostCommand, Result

# A certificate with its chain, or a key, is smaller.
MOST_BYTES = 262_144


async def read_copies(hosts: Mapping[str, Host], copies: Sequence[Copy]) -> dict[Copy, bytes]:
    """Return the content of each file. Raises RefusedError for a file that is missing or not what it must be."""
    names = dict.fromkeys(each.host for each in copies)
    found = await asyncio.gather(
        *(_read_all(hosts[name], [each for each in copies if each.host == name]) for name in names)
    )
    return {copy: content for of_host in found for copy, content in of_host.items()}


def kept_keys(folder: Path, copies: Sequence[Copy]) -> dict[Copy, bytes]:
    """Return the keys of which this machine has a copy already."""
    found = {copy: content_of(folder, copy) for copy in copies if copy.is_key}
    return {copy: content for copy, content in found.items() if content is not None}


def content_of(folder: Path, copy: Copy) -> bytes | None:
    """Return the content of the copy, None if there is none. Raises RefusedError."""
    path = folder / Path(copy.target).expanduser()
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = f"correct the mode of {path}, then run the same command again"
        raise RefusedError(f"cannot read {path}: {error.strerror}", hint=hint) from None


async def _read_all(host: Host, copies: Sequence[Copy]) -> dict[Copy, bytes]:
    """Return the files of one host, read in one round trip. The first one that cannot be read is the last result."""
    argvs = (copy_argv(each.pid, each.root, each.path, MOST_BYTES + 1) for each in copies)
    results = await host.run_all([HostCommand(argv) for argv in argvs])
    return {copy: _content(copy, result) for copy, result in zip(copies, results, strict=False)}


def _content(copy: Copy, result: Result) -> bytes:
    content = result.stdout.encode()
    if result.status != 0 or not content or len(content) > MOST_BYTES:
        raise RefusedError(
            f"{copy.host}: {copy.path} is not readable with the rights of etcd",
            hint=f"check the file on {copy.host}, or copy it to {copy.target} on this machine by hand",
        )
    try:
        _check(copy, content)
    except UnusableFile as unusable:
        hint = unusable.hint or f"check the file on {copy.host}, then run the same command again"
        raise RefusedError(f"{copy.host}: {copy.path} {unusable.reason}", hint=hint) from None
    return content


def _check(copy: Copy, content: bytes) -> None:
    """Raise UnusableFile for anything that is not a certificate, or not a private key."""
    path = Path(copy.path)
    if not copy.is_key:
        parse_certs(path, content)
    elif not is_encrypted(content):
        parse_key(path, content)


def write_copies(folder: Path, contents: Mapping[Copy, bytes]) -> None:
    """Write the copies below this folder. Raises RefusedError, before any change, if another file is there."""
    there = {copy: content_of(folder, copy) for copy in contents}
    for copy, content in there.items():
        if content not in (None, contents[copy]):
            path = folder / Path(copy.target).expanduser()
            raise RefusedError(
                f"{path} exists, and differs from {copy.path} on {copy.host}",
                hint=f"rename {path}, or run the command in another directory",
            )
    for copy in (copy for copy, content in there.items() if content is None):
        path = folder / Path(copy.target).expanduser()
        make_private_folder(path.parent)
        _create(path, contents[copy], KEY_MODE if copy.is_key else CERT_MODE)


def write_cluster_file(path: Path, text: str) -> None:
    """Write cluster.yaml if there is none. Raises RefusedError."""
    if not path.exists():
        _create(path, text.encode(), CERT_MODE)


def _create(path: Path, content: bytes, mode: int) -> None:
    try:
        create_file(path, content, mode)
    except OSError as error:
        raise RefusedError(
            f"cannot write {path}: {error.strerror}", hint="run the command in a directory that you can write"
        ) from None
