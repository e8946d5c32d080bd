"""Inputs that `make fuzz` found, and those from which it starts, are read again."""

from pathlib import Path

import pytest

from tests.hostile.fuzz.parsers import PARSERS

CORPUS = Path(__file__).parent / "fuzz/corpus"
INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())
MOST_BYTES = 256 * 1024


def test_each_parser_has_inputs() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(PARSERS)
    assert all(any((CORPUS / name).iterdir()) for name in PARSERS)


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in INPUTS) <= MOST_BYTES


# cryptography warns of certificates that a later release will refuse.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", sorted(PARSERS))
def test_no_input_ends_a_parser_with_another_error(name: str) -> None:
    for path in INPUTS:
        if path.parent.name == name:
            PARSERS[name](path.read_bytes())


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", sorted(PARSERS))
def test_no_part_of_an_input_ends_a_parser_with_another_error(name: str) -> None:
    """A connection can end anywhere."""
    for path in INPUTS:
        content = path.read_bytes()
        if path.parent.name == name:
            for size in range(0, len(content), len(content) // 40 + 1):
                PARSERS[name](content[:size])
                PARSERS[name](content[size:])
