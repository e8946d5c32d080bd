"""`lab`: three fresh machines for each test. One lab is reset between tests, because a new lab takes longer.

A test that changed nothing on the machines says so with `lab.keep_machines()`. Then the next test needs no reset.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Machine, why_not
from tests.lab.container_image import container_image
from tests.lab.operator import Operator


@pytest.fixture(scope="session")
def lab_of_session() -> Iterator[Lab]:
    if reason := why_not():
        pytest.skip(f"no lab: {reason}")
    with Lab(machines=3) as lab:
        yield lab


@pytest.fixture
def lab(lab_of_session: Lab) -> Iterator[Lab]:
    lab_of_session.wait_ssh()
    yield lab_of_session
    lab_of_session.reset_changed()  # the machines boot while pytest prepares the next test


@pytest.fixture
def machines(lab: Lab) -> list[Machine]:
    return lab.machines


@pytest.fixture
def operator(lab: Lab, tmp_path: Path) -> Operator:
    return Operator(lab, tmp_path)


@pytest.fixture(scope="module")
def container_lab() -> Iterator[Lab]:
    """Return machines on which container engines work."""
    if reason := why_not():
        pytest.skip(f"no lab: {reason}")
    with Lab(machines=3, image=container_image(), nests=True) as lab:
        yield lab


@pytest.fixture
def container_operator(container_lab: Lab, tmp_path: Path) -> Iterator[Operator]:
    container_lab.wait_ssh()
    yield Operator(container_lab, tmp_path)
    container_lab.reset_changed()
