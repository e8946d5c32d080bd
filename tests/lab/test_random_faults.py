"""Each seed is one sequence. `ETCDUP_TEST_SEQUENCES=50 pytest tests/lab/test_random_faults.py` runs more of them."""

import os
import random

import pytest

from tests.lab.operator import Operator
from tests.lab.random_faults.sequence import MACHINES, VERSIONS, Sequence
from tests.support.etcd_binaries import why_not

SEQUENCES = int(os.environ.get("ETCDUP_TEST_SEQUENCES", "1"))
# This seed is short: no operator sleeps in it.
FIRST = int(os.environ.get("ETCDUP_TEST_FIRST_SEED", "3"))
MISSING = [f"no etcd {version}: {why}" for version in VERSIONS if (why := why_not(version))]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="; ".join(MISSING))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEQUENCES))
@pytest.mark.in_turn(0, 2)
def test_no_write_is_lost_and_the_cluster_settles(operator: Operator, seed: int) -> None:
    while len(operator.lab.machines) < MACHINES:
        operator.lab.add_machine()
    sequence = Sequence(random.Random(seed), operator)
    try:
        sequence.run()
    finally:
        print(sequence.story())
