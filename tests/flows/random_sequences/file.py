"""The cluster.yaml of a random sequence, and what the operator edits in it."""

from dataclasses import dataclass

from etcdup.core.spec.model import HostSpec, Spec
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
    """A cluster.yaml of a sequence. `tls` is its section, if it is not the default. `moved` have another address."""

    hosts: tuple[int, ...]
    version: str
    settings: str
    tls: str = ""
    moved: tuple[int, ...] = ()

    def spec(self) -> Spec:
        settings = "" if self.tls and self.settings.startswith("tls:") else self.settings
        spec = spec_of(self.hosts, self.tls + settings, self.version)
        return spec.model_copy(update={"hosts": tuple(map(self._move, spec.hosts))})

    def _move(self, host: HostSpec) -> HostSpec:
        number = int(host.name.removeprefix("infra"))
        if number not in self.moved:
            return host
        return host.model_copy(update={"address": f"192.168.8.{75 + number}"})


FIRST_FILE = File((1, 2, 3), MINORS[1], "")
