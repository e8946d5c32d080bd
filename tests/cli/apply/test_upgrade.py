"""Upgrades of quiet clusters to the newest 3.7, without any load, on members of this machine.

Under load, members make raft snapshots by themselves. Without load, the logs of a cluster that came from 3.5 have
requests that 3.7 cannot read, and every member would panic (rule 111).
"""

import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Etcdup, prepare_demo
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import release_tarball, why_not


@pytest.mark.parametrize(
    ("path", "members"),
    one_in_turn((("3.4.23", "3.5.33", "3.6.16", "3.7.3"), 1), (("3.5.33", "3.6.16", "3.7.3"), 3)),
)
def test_a_quiet_cluster_reaches_3_7(path: tuple[str, ...], members: int, tmp_path: Path) -> None:
    for version in path:
        if reason := why_not(version):
            pytest.skip(reason)
    etcdup = Etcdup(tmp_path)
    prepare_demo(etcdup, tmp_path / "demo", members, path[0])
    file = f"--file={tmp_path / 'demo/cluster.yaml'}"
    try:
        for version in path:
            set_version(tmp_path, version)
            done = etcdup("apply", "--yes", file)
            assert done.returncode == 0, done.stdout + done.stderr
            if version.startswith("3.6."):
                checked = etcdup("check", "--json", file).stdout
                # Before 3.6, data from 3.4 needs new snapshots too, because of the v2 requests of clients.
                assert ("log-prevents-upgrade" in checked) == (path[0] != "3.4.23")
        assert etcdup("health", file).stdout.splitlines()[-1] == "cluster is healthy"
        assert etcdup("plan", file).returncode == 0, "nothing is left to do"
    finally:
        etcdup("destroy", "--yes-destroy", "demo", file)


def set_version(folder: Path, version: str) -> None:
    shutil.copy(release_tarball(version), folder / "etcd.tar.gz")
    path = folder / "demo/cluster.yaml"
    path.write_text(re.sub(r"^version: .*$", f"version: {version}", path.read_text(), flags=re.M))
