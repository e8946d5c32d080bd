"""The signature at the end of a text, for any text and any content of the store."""

import json

from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.backups.signed_text import append_signature, split_signature

_texts = st.dictionaries(st.text(), st.text() | st.integers(), min_size=1).map(
    lambda facts: (json.dumps(facts, indent=1) + "\n").encode()
)
_signatures = st.binary(min_size=64, max_size=64)


@given(_texts, _signatures)
def test_a_signed_text_is_json_and_contains_the_exact_bytes(text: bytes, signature: bytes) -> None:
    signed = append_signature(text, signature)
    assert split_signature(signed) == (text, signature)
    assert list(json.loads(signed))[-1] == "signature"


@given(_texts, _signatures, _signatures)
def test_the_last_signature_covers_the_one_before(text: bytes, first: bytes, second: bytes) -> None:
    signed = append_signature(text, first)
    assert split_signature(append_signature(signed, second)) == (signed, second)


@given(st.binary(max_size=300))
def test_other_content_has_no_signature(content: bytes) -> None:
    assert split_signature(content) == (content, b"")


@given(_texts, _signatures, st.integers(min_value=0), st.integers(1, 255))
def test_any_changed_byte_changes_the_text_or_the_signature(
    text: bytes, signature: bytes, at: int, flip: int
) -> None:
    signed = bytearray(append_signature(text, signature))
    signed[at % len(signed)] ^= flip
    found = split_signature(bytes(signed))
    assert found != (text, signature)
