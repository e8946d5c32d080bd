"""The cluster.yaml of a random sequence, and what the operator edits in it."""

from dataclasses import dataclass

from etcdup.core.spec.model import Spec
from tests.support.fake_world import spec_of

HOSTS = ((1, 2, 3), (1, 2, 3, 4, 5), (2, 3, 4), (1, 2, 3, 4), (1,), (3, 4, 5))
MINORS = ("3.5.33", "3.6.14", "3.7.1")
VERSIONS = (*MINORS, "3.5.32", "3.6.12")
LARGE_QUOTA = "etcd: {quota: 8GiB}\n"
SETTINGS = (
    "",
    "etcd: {heartbeat_ms: 110, election_ms: 1100}\n",
    "etcd: {quota: 4GiB}\n",
    "tls: {client_auth: optional}\n",
    "etcd: {metrics_port: 2391}\n",
    "etcd: {peer_port: 2390}\n",
)


@dataclass(frozen=True)
class File:
    """A cluster.yaml of a sequence."""

    hosts: tuple[int, ...]
    version: str
    settings: str

    def spec(self) -> Spec:
        return spec_of(self.hosts, self.settings, self.version)


FIRST_FILE = File((1, 2, 3), MINORS[1], "")
