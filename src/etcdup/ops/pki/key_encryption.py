"""Encrypt a private key with a passphrase: PKCS#8 with PBES2, scrypt and AES-256-CBC (RFC 5958, 7914, 8018).

The library encrypts with 2048 rounds of PBKDF2. It reads scrypt, and so does OpenSSL 1.1 and later.
"""

import base64
import os
import textwrap

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

# OpenSSL refuses more than 32 MiB. With p=5, these 16 MiB are as strong as 128 MiB with p=1, and a minimum of OWASP.
_N, _R, _P = 1 << 14, 8, 5
_SALT_BYTES, _KEY_BYTES, _BLOCK_BYTES = 16, 32, 16
_PBES2 = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES_256_CBC = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30


def encrypted_key_pem(pkcs8: bytes, passphrase: str) -> bytes:
    """Return a private key (PKCS#8 in DER) as an encrypted PEM file."""
    salt, iv = os.urandom(_SALT_BYTES), os.urandom(_BLOCK_BYTES)
    key = Scrypt(salt, _KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase.encode())
    padder, encryptor = PKCS7(8 * _BLOCK_BYTES).padder(), Cipher(AES256(key), CBC(iv)).encryptor()
    sealed = encryptor.update(padder.update(pkcs8) + padder.finalize()) + encryptor.finalize()
    kdf = _der(_SEQUENCE, _SCRYPT, _der(_SEQUENCE, _der(_OCTETS, salt), *map(_integer, (_N, _R, _P))))
    cipher = _der(_SEQUENCE, _AES_256_CBC, _der(_OCTETS, iv))
    method = _der(_SEQUENCE, _PBES2, _der(_SEQUENCE, kdf, cipher))
    return _pem(_der(_SEQUENCE, method, _der(_OCTETS, sealed)))


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _pem(der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    label = "ENCRYPTED PRIVATE KEY"
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")).encode()
