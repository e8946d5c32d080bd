"""`client`: a real client of a cluster that `operator` has set up. Each test runs once with each client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import patroni_image
from tests.clients.apiserver import Apiserver
from tests.clients.patroni import Patroni
from tests.clients.table import Row, as_text
from tests.lab import Lab, why_not
from tests.lab.operator import Operator
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not as why_no_etcd
from tests.support.kubernetes_binaries import why_not_built

Client = Apiserver | Patroni
KUBERNETES, PATRONI = "kubernetes", "patroni"
ETCD_HOSTS = ("infra1", "infra2", "infra3")
PATRONI_HOSTS = ("pg1", "pg2")
VERSIONS = ("3.5.33", "3.6.14", "3.7.1")
ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[ROWS]:
        terminalreporter.write_sep("=", "what the clients observed")
        terminalreporter.write_line(as_text(rows))


@pytest.fixture(scope="session", params=[KUBERNETES, PATRONI])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of the client. All tests of one kind run together, in one lab."""
    kind: str = request.param
    reasons = [why_not(), *map(why_no_etcd, VERSIONS)]
    reasons += [patroni_image.why_not() if kind == PATRONI else why_not_built("kube-apiserver")]
    for reason in filter(None, reasons):
        pytest.skip(f"no {kind}: {reason}")
    return kind


@pytest.fixture(scope="session")
def lab_of_session(kind: str) -> Iterator[Lab]:
    with Lab(names=ETCD_HOSTS) if kind == KUBERNETES else _lab_with_patroni() as lab:
        yield lab


def _lab_with_patroni() -> Lab:
    return Lab(names=(*ETCD_HOSTS, *PATRONI_HOSTS), image=patroni_image.patroni_image())


@pytest.fixture
def lab(lab_of_session: Lab) -> Iterator[Lab]:
    lab_of_session.wait_ssh()
    yield lab_of_session
    lab_of_session.reset(wait=False)


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """Return the version that the cluster starts with. A test changes it by `parametrize`."""
    return VERSIONS[1]


@pytest.fixture
def operator(lab: Lab, tmp_path: Path, version: str) -> Operator:
    """Return the operator of a healthy cluster."""
    operator = Operator(lab, tmp_path)
    operator.write(version=version, install=path_install(version), members=ETCD_HOSTS)
    operator.apply()
    return operator


@pytest.fixture
def client(operator: Operator, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Client:
    rows = request.config.stash[ROWS]
    if kind == KUBERNETES:
        client: Client = Apiserver(operator, tmp_path / "apiserver", rows)
    else:
        machines = [operator.lab[name] for name in PATRONI_HOSTS]
        client = Patroni(operator, machines, tmp_path / "patroni", rows)
    client.start()
    return client
