"""Which cases of a test run in `make quick`, in `make test` and in `make test-full` (tests/README.md)."""

import os
from typing import Any

import pytest

# Each commit has another offset (scripts/test). Kill tests begin at it too (kill_everywhere.py).
OFFSET_VARIABLE = "ETCDUP_TEST_OFFSET"


def offset() -> int:
    """Return the number that decides which cases and which kills `make test` takes."""
    return int(os.environ.get(OFFSET_VARIABLE, "0"))


def quick_first(*cases: object) -> list[Any]:
    """Return the cases for `parametrize`. Only the first one runs in `make quick`."""
    first, *others = cases
    return [pytest.param(*_values(first), marks=pytest.mark.quick), *others]


def one_in_turn(*cases: object) -> list[Any]:
    """Return the cases for `parametrize`. `make test` runs one of them, and each commit another one.

    All of them run in `make test-full`. Different tests begin with different versions of etcd, so one `make test`
    runs several versions. The mark `in_turn(NUMBER, COUNT)` does the same for several tests.
    """
    marks = (pytest.mark.in_turn(number, len(cases)) for number in range(len(cases)))
    return [pytest.param(*_values(case), marks=mark) for case, mark in zip(cases, marks, strict=True)]


def _values(case: object) -> tuple[object, ...]:
    """Return the values of the parameters of a case. A single parameter is a case without a tuple."""
    return case if isinstance(case, tuple) else (case,)
