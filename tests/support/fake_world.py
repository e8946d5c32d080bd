"""A World of fake machines, with a real PKI in a temporary folder."""

from dataclasses import dataclass
from pathlib import Path

from etcdup.core.layout import layout_of
from etcdup.core.load import load
from etcdup.core.observed import Binaries, Observed, Unreachable
from etcdup.core.planner import plan
from etcdup.core.spec import Spec
from etcdup.core.steps import Plan, Refusal, Step
from etcdup.errors import UnreachableError
from etcdup.ops.apply import Planner, apply
from etcdup.ops.health import Health
from etcdup.ops.journal import Journal
from etcdup.ops.observe import observe
from etcdup.ops.pki import Pki
from etcdup.ops.world import World
from etcdup.remote.etcd_client import EtcdClient
from etcdup.remote.fake import FakeHost, FakeNetwork
from etcdup.remote.fake_etcd import FakeEtcd
from etcdup.remote.host import Host

TOKEN = "prod-0123456789ab"


def spec_of(size: int = 3, more: str = "", version: str = "3.6.14", name: str = "prod") -> Spec:
    """A cluster.yaml of that many hosts; `more` is added at its end."""
    hosts = "".join(f"  - {{name: infra{n}, address: 192.168.8.{65 + n}}}\n" for n in range(1, size + 1))
    return load(f"name: {name}\nversion: {version}\nhosts:\n{hosts}{more}")


def machines_for(spec: Spec) -> FakeNetwork:
    """Bare machines, one for each host."""
    network = FakeNetwork()
    for host in spec.hosts:
        network.add(host.name)
    return network


@dataclass
class Collected:
    """A Reporter that keeps what it is told."""

    steps: list[tuple[str, str]]

    def step(self, step: Step, state: str) -> None:
        self.steps.append((step.kind, state))

    def doing(self, host: str, what: str) -> None:
        """What hosts do is for people."""


def world_of(spec: Spec, network: FakeNetwork, folder: Path) -> World:
    """What one etcdup would see of these machines right now."""
    hosts: dict[str, Host] = {}
    unreachable: dict[str, Unreachable] = {}
    for host in spec.hosts:
        try:
            hosts[host.name] = FakeHost(network.machines[host.name])
        except UnreachableError as error:
            unreachable[host.name] = Unreachable(host.name, error.message, error.hint)

    async def etcd(name: str) -> EtcdClient:
        return FakeEtcd(network.machines[name], layout_of(spec, spec.host(name)).data_dir)

    archive = folder / "etcd.tar.gz"
    archive.write_bytes(b"an archive")

    async def archived(binaries: Binaries, arch: str) -> Path:
        return archive

    return World(
        spec=spec,
        hosts=hosts,
        unreachable=unreachable,
        pki=Pki.open(spec, folder),
        clock=network,
        etcd=etcd,
        archive=archived,
        binaries=Binaries(spec.version, "cache", str(archive), "it is in the cache", {"amd64": "00"}),
    )


def planner_of(spec: Spec, token: str = TOKEN) -> Planner:
    """The planner as apply uses it."""

    def planned(observed: Observed) -> Plan | Refusal:
        return plan(spec, observed, token)

    return planned


async def bring_up(spec: Spec, network: FakeNetwork, folder: Path) -> tuple[Health, ...]:
    """One `etcdup apply`, without the terminal."""
    world = world_of(spec, network, folder)
    planner = planner_of(spec)
    plan = planner(await observe(world))
    assert isinstance(plan, Plan), plan
    with Journal.beside(folder, spec.name) as journal:
        return await apply(world, plan, planner, Collected([]), journal)


async def planned(spec: Spec, network: FakeNetwork, folder: Path) -> Plan | Refusal:
    return planner_of(spec)(await observe(world_of(spec, network, folder)))
