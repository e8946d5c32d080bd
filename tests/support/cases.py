"""Which cases of a test run in `make quick`, in `make test` and in `make test-full` (tests/README.md)."""

from typing import Any

import pytest


def others_in_full(first: object, *others: object) -> list[Any]:
    """Return the cases for `parametrize`. Only the first one runs in `make test`; all run in `make test-full`.

    Different tests take different versions of etcd as their first one, so `make test` covers all versions.
    """
    return [first, *(pytest.param(other, marks=pytest.mark.full) for other in others)]
