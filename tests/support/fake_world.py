"""A World of fake machines with a real PKI in a temporary directory."""

import gzip
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509

from etcdup.core.certs.inventory import LinkPort
from etcdup.core.certs.required import verified_name
from etcdup.core.members.endpoints import replaces_all_endpoints
from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import Step
from etcdup.core.planner.confirm_endpoints import with_confirmed_endpoints
from etcdup.core.planner.planner import plan
from etcdup.core.spec.load import load
from etcdup.core.spec.model import HostSpec, Spec, is_ip
from etcdup.core.spec.version import NEWEST, Version, parse_version
from etcdup.errors import ForwardForbidden, PkiError, UnreachableError
from etcdup.ops.apply.apply import apply
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import Pki, missing_admin
from etcdup.ops.world.health import Health
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.lock import ClusterLock, cluster_lock, holder
from etcdup.ops.world.metrics import NoMetrics
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner
from etcdup.ops.world.superseded_record import record_path
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import Credentials, EtcdClient
from etcdup.remote.etcd.errors import EtcdRpcError, EtcdUnavailable, EtcdUntrusted
from etcdup.remote.etcd.handshake import HandshakeFailed, NotServing, fingerprint_of
from etcdup.remote.host import Host, HostLock
from etcdup.testing.crl import why_rejected
from etcdup.testing.etcd_client import FakeClosedEtcd, FakeEtcd
from etcdup.testing.host import FakeHost
from etcdup.testing.network import FakeMachine, FakeNetwork
from etcdup.testing.process import metrics_of
from etcdup.testing.salvage import FakeTemporaryEtcd

TOKEN = "prod-0123456789ab"


def spec_of(
    size: int | Sequence[int] = 3, more: str = "", version: str = "3.6.14", name: str = "prod"
) -> Spec:
    """Return the spec of that many hosts, or of the hosts with these numbers. `more` is appended to cluster.yaml."""
    numbers = range(1, size + 1) if isinstance(size, int) else size
    hosts = "".join(f"  - {{name: infra{n}, address: 192.168.8.{65 + n}}}\n" for n in numbers)
    return load(f"name: {name}\nversion: {version}\nhosts:\n{hosts}{more}")


def machines_for(spec: Spec) -> FakeNetwork:
    """Return bare machines, one for each host."""
    network = FakeNetwork()
    add_machines(network, spec)
    return network


def add_machines(network: FakeNetwork, spec: Spec) -> None:
    """Add bare machines for the hosts that have none yet."""
    for host in spec.hosts:
        if host.name not in network.machines:
            network.add(host.name, address=host.address)


@dataclass
class RecordingReporter:
    """A Reporter that records the states of steps."""

    steps: list[tuple[str, str]]

    def step(self, step: Step, state: str) -> None:
        self.steps.append((step.kind, state))

    def doing(self, host: str, what: str) -> None:
        """Ignore what hosts do: it is text for operators."""


class UntakenLock(ClusterLock):
    """The lock of a run that takes none, for tests without `cluster_lock`. The fakes still require its checks."""

    def __init__(self, network: FakeNetwork) -> None:
        super().__init__({}, {})
        self._network = network

    def on(self, name: str) -> HostLock:
        return HostLock("", "")

    async def confirm(self) -> None:
        self._network.confirm_lock()


def lock_of(
    world: World, network: FakeNetwork, verb: str = "apply"
) -> AbstractAsyncContextManager[ClusterLock]:
    """Return the lock of the cluster, as a change takes it. It is stale after etcdup has stood still."""
    return cluster_lock(
        world.spec, world.hosts, holder(verb), world.extra_hosts, boot_time=lambda: network.stood_still_s
    )


def aside(run: int) -> str:
    """Return the suffix of the data that the run with this number archives."""
    return aside_suffix(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=run))


def world_of(spec: Spec, network: FakeNetwork, folder: Path, more: Sequence[str] = ()) -> World:
    """Return a World of these machines as they are now. `more` are additional available versions."""
    network.changes_need_lock = True
    hosts: dict[str, Host] = {}
    unreachable: dict[str, Unreachable] = {}
    machines: dict[str, FakeMachine] = {}

    async def connect_host(host: HostSpec) -> None:
        reach(host)

    def reach(host: HostSpec) -> None:
        machine = network.machine_of(host)
        if machine is None:
            unreachable[host.name] = Unreachable(host.name, "no such machine")
            return
        machines[host.name] = machine
        try:
            hosts[host.name] = FakeHost(machine, host.name)
        except UnreachableError as error:
            unreachable[host.name] = Unreachable(host.name, error.message, error.hint)

    for host in spec.hosts:
        reach(host)

    pki = open_pki(spec, folder)

    async def etcd(name: str) -> EtcdClient:
        if name not in machines:
            raise EtcdUnavailable(name, "no such machine")
        if not pki.paths("admin")[0].exists():
            error = missing_admin(pki.observe(), spec.tls.dir)
            raise EtcdRpcError(name, error.message, hint=error.hint)
        if not names_host(pki, machines[name], spec, name):
            raise EtcdUntrusted(name, "its certificate does not contain its name")
        if why := why_untrusted(pki, machines[name]):
            raise EtcdUntrusted(name, why)
        if not machines[name].routed:
            raise no_route_to(name)
        return FakeEtcd(machines[name])

    async def temporary_etcd(name: str, listen: str, port: int, credentials: Credentials) -> EtcdClient:
        if port == spec.client_port(spec.host(name)):
            return FakeClosedEtcd(machines[name], credentials)
        return FakeTemporaryEtcd(machines[name])

    async def served_cert(host: HostSpec, port: LinkPort) -> str:
        return served_fingerprint(machines[host.name], port)

    async def why_no_answer(host: HostSpec, port: LinkPort, cert: Path, key: Path) -> str:
        return why_unanswered(machines[host.name], port, cert)

    async def read_metrics(name: str, settings: Mapping[str, str]) -> str:
        if name not in machines or machines[name].process is None:
            raise NoMetrics("its metrics cannot be read: connection refused")
        return metrics_of(machines[name])

    async def check_route(host: HostSpec) -> None:
        if not machines[host.name].routed:
            raise no_route_to(host.name)

    archive = folder / "etcd.tar.gz"
    archive.write_bytes(gzip.compress(b"an archive", mtime=0))

    async def obtain_archive(binaries: Binaries, arch: str) -> Path:
        return archive

    versions = dict.fromkeys([spec.version, *NEWEST.values(), *map(parse_version, more)])
    return World(
        spec=spec,
        hosts=hosts,
        unreachable=unreachable,
        pki=pki,
        clock=network,
        etcd=etcd,
        connect_directly=etcd,
        connect_temporary=temporary_etcd,
        obtain_archive=obtain_archive,
        served_cert=served_cert,
        why_no_answer=why_no_answer,
        read_metrics=read_metrics,
        check_route=check_route,
        connect_host=connect_host,
        snapshots=folder / "backups",
        superseded_file=record_path(folder, spec.name),
        binaries=tuple(_available_binaries(version, archive) for version in versions),
        lock=UntakenLock(network),
    )


def no_route_to(name: str) -> ForwardForbidden:
    """Return the error for a client port that etcdup reaches neither through sshd nor without it."""
    return ForwardForbidden(name, f"sshd on {name} forbids forwarding", hint="set `AllowTcpForwarding yes`")


def served_fingerprint(machine: FakeMachine, port: LinkPort) -> str:
    """Return the fingerprint of the certificate that a port serves, or raise HandshakeFailed as a real port does."""
    process, name = machine.process, "server" if port == "client" else "peer"
    if process is None or (port == "client" and not process.ready):
        raise NotServing("no process listens on the port")
    if machine.why_unusable(name):
        raise HandshakeFailed("the handshake failed: TLSV1_ALERT_INTERNAL_ERROR")
    node = machine.file(f"/etc/etcd/pki/{name}.pem")
    assert node is not None
    return fingerprint_of(x509.load_pem_x509_certificate(node.content or b""))


def why_unanswered(machine: FakeMachine, port: LinkPort, cert: Path) -> str:
    """Return why a port does not answer a new connection with this certificate, or an empty text."""
    process = machine.process
    if process is None or (port == "client" and not process.ready):
        return "no process listens on the port"
    return why_rejected(machine, "crl" if port == "client" else "peer-crl", cert.read_bytes())


def why_untrusted(pki: Pki, machine: FakeMachine) -> str:
    """Return why a member and etcdup do not accept the certificates of each other now; signatures do not count."""
    if why := machine.why_unusable("server"):
        return why
    server = machine.file("/etc/etcd/pki/server.pem")
    with suppress(PkiError):
        path = pki.paths("admin")[0]
        admin = path.read_bytes() if path.exists() else b""
        for content in (admin, server.content if server else b""):
            if content and (why := _why_not_valid(content, machine.network.now())):
                return why
        return why_rejected(machine, "crl", admin)
    return ""


def names_host(pki: Pki, machine: FakeMachine, spec: Spec, name: str) -> bool:
    """Return whether the certificate of a member contains the DNS name by which etcdup verifies it."""
    host = next((host for host in spec.hosts if host.name == name), None)
    if host is None or is_ip(host.address):  # To observe the PKI for each connection is slow.
        return True
    server = machine.file("/etc/etcd/pki/server.pem")
    if server is None or not server.content:
        return True
    with suppress(PkiError):
        verified = verified_name(host, pki.observe().certs.get(f"server/{name}"))
        return is_ip(verified) or verified in _dns_names(server.content)
    return True


@cache
def _dns_names(content: bytes) -> tuple[str, ...]:
    certificate = x509.load_pem_x509_certificate(content)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(names.get_values_for_type(x509.DNSName))


def _why_not_valid(content: bytes, at: float) -> str:
    """Return the text of `etcdup.remote.etcd.errors` about a certificate that is not valid now."""
    begins, ends = _validity(content)
    if at >= ends:
        return "the server certificate has expired"
    return "the server certificate is not valid yet" if at < begins else ""


@cache
def _validity(content: bytes) -> tuple[float, float]:
    cert = x509.load_pem_x509_certificate(content)
    return cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp()


def _available_binaries(version: Version, archive: Path) -> Binaries:
    """Return the newest version of each series from the cache, and other versions from the operator's own folder.

    The operator vouches for versions from the own folder.
    """
    source = "cache" if version in NEWEST.values() else "path"
    where = "cache" if source == "cache" else "folder"
    return Binaries(version, source, str(archive), f"the archive is in the {where}", {"amd64": "00"})


def planner_of(spec: Spec, token: str = TOKEN) -> Planner:
    """Return the planner as apply uses it."""

    def planner(observed: Observed) -> Plan | Refusal:
        return plan(spec, observed, token)

    return planner


async def bring_up(
    spec: Spec, network: FakeNetwork, folder: Path, *, confirmed: bool | None = None
) -> tuple[Health, ...]:
    """Run `etcdup apply`, without the terminal.

    `confirmed`: with `--consumers-have endpoints`. By default this option is passed if apply would need it.
    """
    world = world_of(spec, network, folder)
    planner = planner_of(spec)
    observed = await observe(world)
    if replaces_all_endpoints(spec, observed) if confirmed is None else confirmed:
        planner = with_confirmed_endpoints(spec, planner)
    plan = planner(observed)
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        async with lock_of(world, network) as world.lock:
            return await apply(world, plan, planner, RecordingReporter([]), journal)


async def running_network(spec: Spec, folder: Path) -> FakeNetwork:
    """Return machines on which this cluster runs. The record of commands is empty."""
    network = machines_for(spec)
    await bring_up(spec, network, folder)
    network.commands.clear()
    return network


async def make_plan(spec: Spec, network: FakeNetwork, folder: Path) -> Plan | Refusal:
    return planner_of(spec)(await observe(world_of(spec, network, folder)))
