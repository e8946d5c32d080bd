"""Check that a text is a public key of age, before a backup is encrypted with it.

A backup that is encrypted to a mistyped key can never be decrypted. The key is encoded in Bech32 (BIP 173). The
checksum of Bech32 detects up to four wrong characters.
https://github.com/C2SP/C2SP/blob/main/age.md
https://github.com/bitcoin/bips/blob/master/bip-0173.mediawiki
"""

_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_PREFIX, _LENGTH = "age", 62


def is_public_key(text: str) -> bool:
    """Return True if the text is `age1`, 52 characters of data and the 6 characters of a correct checksum."""
    prefix, _, data = text.rpartition("1")
    if prefix != _PREFIX or len(text) != _LENGTH or not set(data) <= set(_CHARACTERS):
        return False
    expanded = [*(ord(each) >> 5 for each in prefix), 0, *(ord(each) & 31 for each in prefix)]
    return _checksum([*expanded, *(_CHARACTERS.index(each) for each in data)]) == 1


def is_private_key(text: str) -> bool:
    """Return True if the text begins as a private key of age does."""
    return text.upper().startswith("AGE-SECRET-KEY-")


def _checksum(values: list[int]) -> int:
    """Return the checksum of Bech32 (`bech32_polymod` in BIP 173)."""
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum
