"""One sshd for the tests of a file, and one set of users for all tests, where they need none of their own."""

from collections.abc import Iterator

import pytest

from tests.support.sshd import Sshd, run_sshd
from tests.support.sudo_users import Users, temporary_users


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with run_sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="session")
def users() -> Iterator[Users]:
    with temporary_users() as made:
        yield made


@pytest.fixture(scope="module")
def jump(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run an sshd as jump host, which accepts the same user key."""
    with run_sshd(tmp_path_factory.mktemp("jump"), identity=sshd.identity) as running:
        yield running
