"""Everything a verb works with: the Spec, the hosts that answered, the members' API, the PKI, the clock.

`open_world` (opening.py) makes one from real hosts; `testing/network.py` makes one in memory.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.core.observed.model import Binaries, Unreachable
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.ops.pki.pki import Pki
from etcdup.ops.polling import Clock
from etcdup.remote.etcd.grpc_client import Credentials, EtcdClient
from etcdup.remote.host import Host


@dataclass
class World:
    """One cluster as one etcdup sees it.

    `meet` reaches for a host that cluster.yaml does not name, and puts it in `hosts` or `unreachable`. `binaries`
    is empty until it was settled where those that hosts lack come from. `straight` gives a client as `etcd` does,
    past SSH where that works: for what is large. `snapshots` is the operator's folder for what is taken before a
    change of minor version. `throwaway` gives a client of an etcd that listens on a host's loopback for one use, at
    that port, with those credentials: who asks for it closes it.
    """

    spec: Spec
    hosts: Mapping[str, Host]
    unreachable: Mapping[str, Unreachable]
    pki: Pki
    clock: Clock
    etcd: Callable[[str], Awaitable[EtcdClient]]
    connect_directly: Callable[[str], Awaitable[EtcdClient]]
    connect_temporary: Callable[[str, int, Credentials], Awaitable[EtcdClient]]
    obtain_archive: Callable[[Binaries, str], Awaitable[Path]]
    connect_host: Callable[[HostSpec], Awaitable[None]]
    snapshots: Path
    binaries: tuple[Binaries, ...] = ()
    # Hosts beyond cluster.yaml that were met in this run: once its member is removed, no list names a host any more.
    extra_hosts: dict[str, HostSpec] = field(default_factory=dict)
    # Hosts out of reach of which the operator has said that they are off: nobody looks for them (rule 65).
    fenced: frozenset[str] = frozenset()
    # An election or a start was waited for in vain: waiting again would not help.
    is_unsteady: bool = False

    def binaries_of(self, version: str) -> Binaries:
        """Where this version comes from; settled before planning, so KeyError is a mistake of ours."""
        for each in self.binaries:
            if str(each.version) == version:
                return each
        raise KeyError(version)
