"""A cluster of m1, m2 and m3 that tests start, stop and damage: with real etcd, and with etcdup.testing's fake."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

from etcdup.remote.etcd.client import EtcdClient
from etcdup.testing.etcd_client import FakeEtcd
from etcdup.testing.host import FakeHost
from etcdup.testing.network import FakeMachine, FakeNetwork, Node
from tests.support.etcd_binaries import etcd_binaries
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

SIZE = 3
TIMEOUT_S = 30.0


class ClusterUnderTest(Protocol):
    """A cluster of members by name, to which tests can add members."""

    def client(self, name: str) -> AbstractAsyncContextManager[EtcdClient]: ...

    def peer_url(self, name: str) -> str: ...

    def new_member(self) -> str:
        """Return the name of one more member, which is not started and not in the member list."""
        ...

    async def start(self, name: str, initial: Mapping[str, str] | None = None) -> None:
        """Start a member. A member that joins an existing cluster needs `initial`: peer URLs by name."""
        ...

    async def stop(self, name: str) -> None: ...

    def kill(self, name: str) -> None:
        """Kill a member with SIGKILL, without an orderly stop."""
        ...

    def wipe(self, name: str) -> None:
        """Kill a member and delete its data."""
        ...

    async def wait_for_end(self, name: str) -> int:
        """Wait until a member has ended by itself, and return its exit status."""
        ...

    def log(self, name: str) -> str: ...

    async def wait(self, seconds: float) -> None: ...


class RealClusterUnderTest:
    """Real etcd processes on loopback."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self._cluster = cluster

    def client(self, name: str) -> AbstractAsyncContextManager[EtcdClient]:
        return self._cluster.client(name)

    def peer_url(self, name: str) -> str:
        return self._cluster.members[name].peer_url

    def new_member(self) -> str:
        return self._cluster.new_member().name

    async def start(self, name: str, initial: Mapping[str, str] | None = None) -> None:
        self._cluster.start(name, initial=initial)

    async def stop(self, name: str) -> None:
        await asyncio.to_thread(self._cluster.members[name].stop)

    def kill(self, name: str) -> None:
        self._cluster.members[name].stop(signal.SIGKILL)

    def wipe(self, name: str) -> None:
        self.kill(name)
        shutil.rmtree(self._cluster.members[name].folder / "data")

    async def wait_for_end(self, name: str) -> int:
        process = self._cluster.members[name].process
        assert process is not None
        return await asyncio.to_thread(process.wait, TIMEOUT_S)

    def log(self, name: str) -> str:
        return self._cluster.members[name].log

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@contextmanager
def real_cluster(version: str, folder: Path) -> Iterator[ClusterUnderTest]:
    with etcd_cluster(etcd_binaries(version), folder, SIZE) as cluster:
        yield RealClusterUnderTest(cluster)


class FakeClusterUnderTest:
    """Machines in memory, with only the files that etcd needs to start."""

    def __init__(self, version: str, size: int = SIZE) -> None:
        self.network = FakeNetwork()
        self._version = version
        for _ in range(size):
            self.new_member()

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[EtcdClient]:
        yield FakeEtcd(self._machine(name))

    def peer_url(self, name: str) -> str:
        return f"https://127.77.1.{name.removeprefix('m')}:2380"

    def new_member(self) -> str:
        name = f"m{len(self.network.machines) + 1}"
        machine = self.network.add(name)
        machine.put("/etc/systemd/system/etcd.service", b"")
        self.install(name, self._version)
        machine.put("/etc/etcd/etcd.conf", self._conf(name).encode())
        return name

    def install(self, name: str, version: str) -> None:
        """Install the binary of a version. A running member keeps its version."""
        self._machine(name).put(f"/opt/etcd/{version}/etcd", b"")
        self._machine(name).nodes["/opt/etcd/current"] = Node(link=version)

    def _conf(self, name: str) -> str:
        return (
            f"ETCD_NAME={name}\nETCD_DATA_DIR=/var/lib/etcd\n"
            f"ETCD_INITIAL_ADVERTISE_PEER_URLS={self.peer_url(name)}\n"
            f"ETCD_ADVERTISE_CLIENT_URLS={self.peer_url(name).replace('2380', '2379')}\n"
        )

    def _machine(self, name: str) -> FakeMachine:
        return self.network.machines[name]

    async def start(self, name: str, initial: Mapping[str, str] | None = None) -> None:
        await self._start(name, initial or {}, "existing")

    async def bootstrap(self) -> None:
        initial = {name: self.peer_url(name) for name in self.network.machines}
        for name in initial:
            await self._start(name, initial, "new")

    async def _start(self, name: str, initial: Mapping[str, str], state: str) -> None:
        pairs = ",".join(f"{each}={url}" for each, url in initial.items())
        join = f"ETCD_INITIAL_CLUSTER={pairs}\nETCD_INITIAL_CLUSTER_STATE={state}\n"
        self._machine(name).put("/run/etcdup/join.env", f"{join}ETCD_INITIAL_CLUSTER_TOKEN=t\n".encode())
        await FakeHost(self._machine(name)).run(["systemctl", "restart", "--no-block", "etcd.service"])

    async def stop(self, name: str) -> None:
        await FakeHost(self._machine(name)).run(["systemctl", "stop", "etcd.service"])

    def kill(self, name: str) -> None:
        self.network.crash(name)

    def wipe(self, name: str) -> None:
        self._machine(name).process = None
        self.network.wipe(name)

    async def wait_for_end(self, name: str) -> int:
        machine = self._machine(name)
        assert machine.process is None
        return 0 if machine.failed_at is None else 1

    def log(self, name: str) -> str:
        return "\n".join(self._machine(name).log)

    async def wait(self, seconds: float) -> None:
        await self.network.sleep(seconds)


async def fake_cluster(version: str) -> ClusterUnderTest:
    """Return a cluster of three healthy members."""
    cluster = FakeClusterUnderTest(version)
    await cluster.bootstrap()
    await cluster.wait(1)
    return cluster
