"""Everything a verb works with: the Spec, the hosts that answered, the members' API, the PKI, the clock.

`open_world` (opening.py) makes one from real hosts; `remote/fake.py` makes one in memory.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from etcdup.core.observed import Binaries, Unreachable
from etcdup.core.spec import Spec
from etcdup.ops.pki import Pki
from etcdup.remote.etcd import EtcdClient
from etcdup.remote.host import Host


class Clock(Protocol):
    """The time, and waiting for it to pass."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass
class World:
    """One cluster as one etcdup sees it. `binaries` is None until it was settled where they come from."""

    spec: Spec
    hosts: Mapping[str, Host]
    unreachable: Mapping[str, Unreachable]
    pki: Pki
    clock: Clock
    etcd: Callable[[str], Awaitable[EtcdClient]]
    archive: Callable[[Binaries, str], Awaitable[Path]]
    binaries: Binaries | None = None
