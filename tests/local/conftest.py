"""Real clusters for the tests in this folder.

Each test file uses one cluster: `make test` that of one version, and `make test-full` those of all versions.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")


@pytest.fixture(scope="module", params=one_in_turn(*VERSIONS))
def etcd_version(request: pytest.FixtureRequest) -> str:
    version = str(request.param)
    if reason := why_not(version):
        pytest.skip(reason)
    return version


@pytest.fixture(scope="module")
def binaries(etcd_version: str) -> Path:
    return etcd_binaries(etcd_version)


@pytest.fixture(scope="module")
def cluster(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Start three healthy members. A test that stops some of them must leave them healthy."""
    with etcd_cluster(binaries, tmp_path_factory.mktemp("cluster")) as running:
        yield running
