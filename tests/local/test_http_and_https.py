"""One port for clients with both schemes serves gRPC over http too, except in releases before 3.4.25 and 3.5.8.

There, a race at the start decides whether it does. So `adopt --to-tls` gives their clients a second port.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from etcdup.core.adopt.to_tls import serves_both_on_one_port
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
            if scheme == "https" or serves_both_on_one_port(parse_version(etcd_version)):
                assert done.returncode == 0, done.stderr
        finally:
            cluster.stop()
