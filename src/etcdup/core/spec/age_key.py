"""Public keys of age, told from typing errors before any backup is encrypted with one.

What was encrypted to a mistyped key could never be read again. The form is Bech32's (BIP 173): its checksum finds up to
four wrong characters.
"""

_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_PREFIX, _LENGTH = "age", 62


def is_public_key(text: str) -> bool:
    """`age1` and 58 more characters that end with the checksum of all."""
    prefix, _, data = text.rpartition("1")
    if prefix != _PREFIX or len(text) != _LENGTH or not set(data) <= set(_CHARACTERS):
        return False
    expanded = [*(ord(each) >> 5 for each in prefix), 0, *(ord(each) & 31 for each in prefix)]
    return _remainder([*expanded, *(_CHARACTERS.index(each) for each in data)]) == 1


def is_private_key(text: str) -> bool:
    return text.upper().startswith("AGE-SECRET-KEY-")


def _remainder(values: list[int]) -> int:
    left = 1
    for value in values:
        top = left >> 25
        left = (left & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            left ^= generator if top >> bit & 1 else 0
    return left
