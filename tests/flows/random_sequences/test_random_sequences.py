"""Each seed is one sequence. `ETCDUP_TEST_SEQUENCES=200 pytest tests/flows/random_sequences` runs more of them."""

import os
import random
from pathlib import Path

import pytest

from tests.flows.random_sequences.adopted import AdoptedSequence
from tests.flows.random_sequences.provided import ProvidedSequence
from tests.flows.random_sequences.sequence import Sequence

SEQUENCES = int(os.environ.get("ETCDUP_TEST_SEQUENCES", "20"))
FIRST = int(os.environ.get("ETCDUP_TEST_FIRST_SEED", "0"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the operator."""
    folder = tmp_path / "operator"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEQUENCES))
async def test_what_must_always_hold(folder: Path, seed: int) -> None:
    await Sequence(random.Random(seed), folder).run()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEQUENCES))
async def test_what_must_always_hold_for_a_cluster_of_another_tool(folder: Path, seed: int) -> None:
    await AdoptedSequence(random.Random(seed), folder).run()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + (SEQUENCES + 3) // 4))
async def test_what_must_always_hold_with_certificates_of_another_ca(folder: Path, seed: int) -> None:
    await ProvidedSequence(random.Random(seed), folder).run()
