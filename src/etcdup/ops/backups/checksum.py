"""The size and checksums of a stream, computed while it is read."""

import hashlib
from typing import BinaryIO

from etcdup.core.backups.backups import HASH_BYTES, can_be_whole

_PIECE_BYTES = 1 << 20


class StreamChecksum:
    """The size and sha256 of a stream, and whether it ends with the checksum of all bytes before it (rule 54).

    Only the last bytes are kept in memory, because they may be that checksum.
    """

    def __init__(self) -> None:
        self.size = 0
        self._before_ending = hashlib.sha256()
        self._ending = b""

    def update(self, piece: bytes) -> None:
        self.size += len(piece)
        if len(piece) < HASH_BYTES:
            held = self._ending + piece
            self._before_ending.update(held[:-HASH_BYTES])
        else:
            held = piece[-HASH_BYTES:]
            self._before_ending.update(self._ending)
            self._before_ending.update(memoryview(piece)[:-HASH_BYTES])
        self._ending = held[-HASH_BYTES:]

    @property
    def sha256(self) -> str:
        whole = self._before_ending.copy()
        whole.update(self._ending)
        return whole.hexdigest()

    @property
    def has_valid_trailer(self) -> bool:
        return can_be_whole(self.size) and self._before_ending.digest() == self._ending


def checksum_file(file: BinaryIO) -> StreamChecksum:
    """Read a file to its end and return its checksum.

    It is read in pieces: a large file that is mapped as a whole would count as memory of this process.
    """
    checksum = StreamChecksum()
    while piece := file.read(_PIECE_BYTES):
        checksum.update(piece)
    return checksum
