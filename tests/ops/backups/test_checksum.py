"""The checksum of a stream does not depend on the sizes of its pieces."""

import hashlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from etcdup.ops.backups.checksum import StreamChecksum

PAGES = bytes(range(256)) * 4
WHOLE = PAGES + hashlib.sha256(PAGES).digest()


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12), st.integers(0, len(WHOLE)))
def test_pieces_of_any_length(cuts: list[int], end: int) -> None:
    bounds = sorted({0, end, *(cut for cut in cuts if cut < end)})
    checksum = StreamChecksum()
    checksum.update(b"")
    for start, stop in pairwise(bounds):
        checksum.update(WHOLE[start:stop])
    assert (checksum.size, checksum.sha256) == (end, hashlib.sha256(WHOLE[:end]).hexdigest())
    assert checksum.has_valid_trailer == (end == len(WHOLE))
