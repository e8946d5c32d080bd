"""One port for clients with both schemes: from 3.5 on, it serves gRPC over http too. etcd 3.4 does not.

So `adopt --to-tls` gives clients of etcd 3.4 a second port (core/adopt/to_tls.py).
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from etcdup.core.adopt.to_tls import BOTH_ON_ONE_PORT
from etcdup.core.spec.version import parse_version
from tests.support.etcd_cluster import CLIENT_PORT, EtcdCluster, Member
from tests.support.loopback_networks import own_network


class BothSchemes(EtcdCluster):
    """Members that serve http and https on the client port."""

    def _flags(self, member: Member, initial: Mapping[str, str] | None) -> list[str]:
        urls = ",".join(
            f"{url}:{CLIENT_PORT}" for url in (f"http://{member.address}", f"https://{member.address}")
        )
        return [*super()._flags(member, initial), f"--listen-client-urls={urls}"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_grpc_on_a_port_with_both_schemes(
    etcd_version: str, binaries: Path, tmp_path: Path, scheme: str
) -> None:
    with own_network() as network:
        cluster = BothSchemes(binaries, tmp_path, network, 1)
        try:
            cluster.start()
            cluster.wait_healthy()
            files = [
                f"--cacert={tmp_path}/ca.pem",
                f"--cert={tmp_path}/root.pem",
                f"--key={tmp_path}/root-key.pem",
            ]
            endpoint = f"--endpoints={scheme}://{cluster.members['m1'].address}:{CLIENT_PORT}"
            options = files if scheme == "https" else []
            argv = [str(binaries / "etcdctl"), "--command-timeout=3s", endpoint, *options, "put", "a", "1"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            works = scheme == "https" or parse_version(etcd_version).series >= BOTH_ON_ONE_PORT
            assert (done.returncode == 0) == works, done.stderr
        finally:
            cluster.stop()
