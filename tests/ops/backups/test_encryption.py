"""Encryption of streams: decryption returns the data, refuses changed data, and leaves no thread."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from pyrage import x25519

from etcdup.core.spec.age_key import is_public_key
from etcdup.errors import EtcdupError, UsageError
from etcdup.ops.backups.encryption import DecryptionFailed, Identity, decrypt_stream, encrypt_stream
from tests.support.texts import Texts

PLAIN = [b"x" * 700_000, b"", b"known value", b"y" * 1_500_000]


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    path = tmp_path / "key.txt"
    path.write_text(f"# created: today\n# public key: age1...\n{x25519.Identity.generate()}\n")
    return Identity.read(path)


async def stream(pieces: list[bytes], failure: Exception | None = None) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece
    if failure:
        raise failure


async def read_all(source: AsyncGenerator[bytes, None]) -> bytes:
    async with aclosing(source):
        return b"".join([piece async for piece in source])


async def test_decryption_returns_what_was_encrypted(identity: Identity) -> None:
    cipher = await read_all(encrypt_stream(stream(PLAIN), identity.public[0]))
    assert b"known value" not in cipher
    assert await read_all(decrypt_stream(stream([cipher]), identity)) == b"".join(PLAIN)
    for size in (1, 65_536):
        pieces = [cipher[at : at + size] for at in range(0, 65_536 * 4 if size > 1 else 3000, size)]
        with pytest.raises(DecryptionFailed):
            await read_all(decrypt_stream(stream(pieces), identity))


async def test_a_changed_byte_and_another_key_are_refused(identity: Identity) -> None:
    cipher = await read_all(encrypt_stream(stream(PLAIN), identity.public[0]))
    for at in (0, 60, 150, 1000, len(cipher) - 1):
        flipped = bytearray(cipher)
        flipped[at] ^= 1
        with pytest.raises(DecryptionFailed):
            await read_all(decrypt_stream(stream([bytes(flipped)]), identity))
    with pytest.raises(DecryptionFailed):
        await read_all(decrypt_stream(stream([cipher]), Identity([x25519.Identity.generate()])))


async def test_an_error_of_the_source_is_raised_unchanged(texts: Texts, identity: Identity) -> None:
    with pytest.raises(EtcdupError) as caught:
        await read_all(encrypt_stream(stream(PLAIN, EtcdupError("the member is gone")), identity.public[0]))
    texts(caught.value)


async def test_a_stream_that_is_closed_early_leaves_no_thread(identity: Identity) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"z" * 100_000
        finally:
            closed.append(True)

    async def silent() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(3600)
        yield b""

    others = set(threading.enumerate())
    closed: list[bool] = []
    async with aclosing(encrypt_stream(endless(), identity.public[0])) as pieces:
        await anext(pieces)
    assert closed
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await read_all(encrypt_stream(silent(), identity.public[0]))
    await asyncio.get_running_loop().shutdown_default_executor()
    assert set(threading.enumerate()) <= others


def test_a_file_without_a_key_is_reported_without_its_content(texts: Texts, tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    for content in ("", "AGE-SECRET-KEY-1NOTREALLY\n", "age1public"):
        path.write_text(content)
        with pytest.raises(UsageError) as caught:
            Identity.read(path)
        texts(caught.value)
        assert "NOTREALLY" not in f"{caught.value.message}{caught.value.detail}{caught.value.hint}"
    with pytest.raises(UsageError) as caught:
        Identity.read(tmp_path / "none")
    texts(caught.value)


def test_a_public_key_with_any_wrong_character_is_refused() -> None:
    key = str(x25519.Identity.generate().to_public())
    assert is_public_key(key)
    for at, was in enumerate(key):
        for other in "q8z1Q":
            assert other == was or not is_public_key(key[:at] + other + key[at + 1 :])
    assert not is_public_key(key[:-1])
    assert not is_public_key("")


_MEMORY = """
import asyncio, resource
from pyrage import x25519
from etcdup.ops.backups.encryption import Identity, decrypt_stream, encrypt_stream

async def zeros():
    for _ in range(256):
        yield bytes(1 << 20)

async def main():
    key, size = x25519.Identity.generate(), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async for piece in decrypt_stream(encrypt_stream(zeros(), str(key.to_public())), Identity([key])):
        size += len(piece)
    print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


def test_256_mib_need_less_than_32_mib_of_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    size, more_kib = map(int, done.stdout.split())
    assert size == 256 << 20
    assert more_kib < 32 << 10
