"""Clusters in which one thing is broken, each as an operator meets it: machines, cluster.yaml and the PKI directory."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.audit.findings import MemberHash
from etcdup.core.certs.required import desired_certs
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.managed import Managed
from etcdup.ops.pki.open import open_pki
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdTimeout, EtcdUntrusted
from etcdup.testing.network import FakeMachine, FakeNetwork, Killed
from etcdup.testing.systemd import start_unit
from tests.flows.test_recover import BOTH, lose_quorum, recover
from tests.flows.test_restore import restore, snapshot_in
from tests.support.fake_world import add_machines, bring_up, machines_for, running_network, spec_of, world_of

DAY_S = 86_400.0
GIB = 1024**3
NO_SPACE_LINE = (
    '{"level":"fatal","msg":"create WAL","error":"failed to preallocate: no space left on device"}'
)
IN_USE_LINE = "listen tcp 192.168.8.68:2380: bind: address already in use"
UNKNOWN_LINE = '{"level":"fatal","msg":"discovery failed","error":"malformed answer"}'


@dataclass
class Broken:
    """One broken cluster. `silent` members do not answer over their API, although etcd runs.

    `user` is the common name of etcdup's certificate, if it is not that of the PKI. `hashes` are those of the data.
    """

    spec: Spec
    network: FakeNetwork
    folder: Path
    silent: frozenset[str] = frozenset()
    untrusted: bool = False
    user: str = ""
    hashes: tuple[MemberHash, ...] = ()

    def world(self) -> World:
        world = world_of(self.spec, self.network, self.folder)
        connect = world.etcd

        async def etcd(name: str) -> EtcdClient:
            if self.untrusted:
                raise EtcdUntrusted(name, "the server certificate was signed by another CA")
            if name in self.silent:
                raise EtcdTimeout(name, "no answer within 2 s")
            return await connect(name)

        gone = {name: no_answer(self.spec.host(name).address, name) for name in world.unreachable}
        pki = OtherUser(self.spec, self.folder, self.user) if self.user else world.pki
        return replace(world, etcd=etcd, unreachable=gone, pki=pki)

    @property
    def machines(self) -> dict[str, FakeMachine]:
        return self.network.machines


class OtherUser(Managed):
    """A PKI whose client certificate of etcdup has another common name, as a provided one can have."""

    def __init__(self, spec: Spec, folder: Path, user: str) -> None:
        super().__init__(spec, folder, None)
        self._user = user

    def observe(self) -> PkiSeen:
        seen = super().observe()
        admin = replace(seen.certs["admin"], common_name=self._user)
        return replace(seen, certs={**seen.certs, "admin": admin})


def no_answer(address: str, name: str) -> Unreachable:
    return Unreachable(
        name,
        f"no answer from {address} port 22 within 10 s (timed out)",
        "check whether the host runs, whether the address is right, and whether a firewall drops the packets",
    )


Break = Callable[[Path], Awaitable[Broken]]


async def running(folder: Path, spec: Spec | None = None) -> Broken:
    spec = spec or spec_of(3)
    return Broken(spec, await running_network(spec, folder), folder)


async def one_member_stopped(folder: Path) -> Broken:
    it = await running(folder)
    it.machines["infra2"].end_etcd(0)
    return it


async def two_members_stopped(folder: Path) -> Broken:
    it = await running(folder)
    for name in ("infra2", "infra3"):
        it.machines[name].end_etcd(0)
    it.network.reconnect("infra2")
    return it


async def one_host_unreachable(folder: Path) -> Broken:
    it = await running(folder)
    it.network.cut_off("infra2")
    return it


async def two_hosts_unreachable(folder: Path) -> Broken:
    it = await running(folder)
    for name in ("infra2", "infra3"):
        it.network.cut_off(name)
    return it


async def all_hosts_unreachable(folder: Path) -> Broken:
    it = await running(folder)
    for name in it.machines:
        it.network.cut_off(name)
    return it


async def database_full(folder: Path) -> Broken:
    it = await running(folder, spec_of(3, more="etcd: {quota: 400MiB}\n"))
    cluster = it.network.etcd.only()
    cluster.db_size = 400 * 1024**2
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
    return it


async def data_corrupt(folder: Path) -> Broken:
    it = await running(folder)
    cluster = it.network.etcd.only()
    ident = next(each for each, seen in cluster.members.items() if seen.name == "infra2")
    cluster.alarms = (f"CORRUPT on member {ident:x}",)
    return replace(it, hashes=tuple(MemberHash(name, int(name == "infra2"), 10) for name in it.machines))


async def disk_full(folder: Path) -> Broken:
    return await failing(folder, NO_SPACE_LINE, free_bytes=0)


async def failing(folder: Path, line: str, **facts: object) -> Broken:
    """Return a cluster in which infra3 does not stay up and writes this line at each start."""
    it = await running(folder)
    machine = it.machines["infra3"]
    for name, value in facts.items():
        setattr(machine, name, value)
    machine.rejects = {"ETCD_NAME": line}
    machine.starts.append(len(machine.log))
    machine.end_etcd(1, line)
    for _ in range(2):
        await it.network.sleep(6.0)
    return it


async def known_reason_to_fail(folder: Path) -> Broken:
    return await failing(folder, IN_USE_LINE)


async def unknown_reason_to_fail(folder: Path) -> Broken:
    return await failing(folder, UNKNOWN_LINE)


async def port_taken(folder: Path) -> Broken:
    it = await running(folder)
    it.machines["infra3"].end_etcd(0)
    it.machines["infra3"].ports_taken = {2379: "nginx"}
    return it


async def certificates_expired(folder: Path) -> Broken:
    it = await running(folder)
    it.network.time += 400 * DAY_S
    return it


async def certificate_expired_on_one(folder: Path) -> Broken:
    it = await running(folder)
    pki = open_pki(it.spec, folder)
    pki.issue(["server/infra2", "peer/infra2"], datetime.fromtimestamp(it.network.time - 400 * DAY_S, UTC))
    for kind in ("server", "peer"):
        cert, key = pki.pair(f"{kind}/infra2")
        for path, content in ((f"{kind}.pem", cert), (f"{kind}-key.pem", key)):
            node = it.machines["infra2"].file(f"/etc/etcd/pki/{path}")
            assert node is not None
            node.content = content
    return it


async def clock_of_this_machine(folder: Path) -> Broken:
    """The clock of this machine is two days behind, so all certificates are not valid yet for it."""
    it = await running(folder)
    it.network.time -= 2 * DAY_S
    for machine in it.machines.values():
        machine.clock_ahead_s = 2 * DAY_S
    return it


async def clock_of_a_host(folder: Path) -> Broken:
    it = await running(folder)
    it.machines["infra2"].clock_ahead_s = -3 * DAY_S
    it.silent = frozenset({"infra2"})
    return it


async def other_pki(folder: Path) -> Broken:
    it = await running(folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    pki = open_pki(it.spec, elsewhere)
    pki.issue([each.role for each in desired_certs(it.spec)], datetime.fromtimestamp(it.network.time, UTC))
    return replace(it, folder=elsewhere, untrusted=True)


async def pki_missing(folder: Path) -> Broken:
    it = await running(folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    return replace(it, folder=elsewhere)


async def provided_became_managed(folder: Path) -> Broken:
    it = await pki_missing(folder)
    for machine in it.machines.values():
        for path in [path for path in machine.nodes if path.endswith("generation.json")]:
            del machine.nodes[path]
    return it


def named(*names: str, cluster: str = "prod") -> Spec:
    hosts = (f"  - {{name: {name}, address: 192.168.8.{66 + at}}}\n" for at, name in enumerate(names))
    return load(f"name: {cluster}\nversion: 3.6.14\nhosts:\n{''.join(hosts)}")


async def cluster_renamed(folder: Path) -> Broken:
    it = await running(folder)
    return replace(it, spec=named("infra1", "infra2", "infra3", cluster="production"))


async def host_renamed(folder: Path) -> Broken:
    it = await running(folder)
    return replace(it, spec=named("infra1", "infra2", "node3"))


async def data_dir_changed(folder: Path) -> Broken:
    it = await running(folder)
    return replace(it, spec=spec_of(3, more="etcd: {data_dir: /data/etcd}\n"))


async def data_lost(folder: Path) -> Broken:
    it = await running(folder)
    it.network.wipe("infra2")
    return it


async def learner_left(folder: Path) -> Broken:
    it = await running(folder)
    spec = spec_of(5)
    add_machines(it.network, spec)
    it.network.etcd.only().add_learner(["https://192.168.8.69:2380"])
    return replace(it, spec=spec)


async def foreign_member(folder: Path) -> Broken:
    it = await running(folder)
    it.network.etcd.only().add_learner(["https://10.9.9.9:2380"])
    return it


async def upgrade_interrupted(folder: Path) -> Broken:
    """All members but one run the new version: it got neither the binary nor the files yet."""
    it = await running(folder, spec_of(3, version="3.5.33"))
    before = deepcopy(it.machines["infra1"])
    it.spec = spec_of(3, version="3.6.14")
    await bring_up(it.spec, it.network, folder)
    left = it.machines["infra1"]
    assert before.process is not None
    assert left.process is not None
    left.nodes, left.loaded_unit = before.nodes, before.loaded_unit
    left.process = replace(before.process, cluster=left.process.cluster)
    it.network.etcd.only().version = (3, 5)
    return it


async def locked_by_another(folder: Path) -> Broken:
    it = await running(folder)
    who = "anna@ops1 (pid 4711), `etcdup apply` since 2027-01-15 08:00:00 UTC, run 0123456789abcdef"
    for machine in it.machines.values():
        machine.locks["/run/etcdup/lock"] = who
    return it


async def peers_apart(folder: Path) -> Broken:
    """A firewall between the hosts: all members run, and none reaches another one."""
    it = await running(folder)
    for machine in it.machines.values():
        machine.isolated = True
    it.network.reconnect("infra1")
    return it


async def client_port_closed(folder: Path) -> Broken:
    return replace(await running(folder), silent=frozenset({"infra2"}))


async def users_enabled(folder: Path) -> Broken:
    """etcd enables authentication only with a user root, so the certificate of etcdup has another common name."""
    it = replace(await running(folder), user="kubernetes")
    it.network.etcd.only().denied = "user name not found"
    return it


async def fresh_hosts(folder: Path) -> Broken:
    return Broken(spec_of(3), machines_for(spec_of(3)), folder)


async def hosts_wiped(folder: Path) -> Broken:
    """All hosts were installed again. Only the PKI directory shows that the cluster existed."""
    it = await running(folder)
    return replace(it, network=machines_for(it.spec))


async def one_stopped_two_unreachable(folder: Path) -> Broken:
    it = await two_hosts_unreachable(folder)
    it.machines["infra1"].end_etcd(0)
    return it


async def disk_not_mounted(folder: Path) -> Broken:
    spec = spec_of(3)
    network = machines_for(spec)
    for machine in network.machines.values():
        machine.make_dir("/var/lib/etcd")
        machine.mounts.add("/var/lib/etcd")
    await bring_up(spec, network, folder)
    network.machines["infra2"].mounts.clear()
    network.wipe("infra2")
    return Broken(spec, network, folder)


async def restore_unfinished(folder: Path) -> Broken:
    """A restore was killed after it stopped the members."""
    it = await running(folder)
    it.network.commands.clear()
    it.network.cut_after = 12
    with suppress(Killed):
        await restore(it.spec, it.network, folder, snapshot_in(folder))
    it.network.restart_etcdup()
    return it


async def recovered_to_one(folder: Path) -> Broken:
    """After `recover`: one member serves, and the other hosts must still join."""
    it = await running(folder, spec_of(1))
    spec = spec_of(3)
    add_machines(it.network, spec)
    return replace(it, spec=spec)


async def hosts_superseded(folder: Path) -> Broken:
    """The machines of the old members boot after `recover`. The startup fence keeps etcd stopped on them."""
    spec, start = await lose_quorum(folder)
    await recover(spec, start.network, start.folder)
    for name in BOTH:
        start.network.reboot(name)
    return Broken(spec, start.network, start.folder)


async def rotation_begun(folder: Path) -> Broken:
    it = await running(folder)
    open_pki(it.spec, folder).rotate_ca("trust", datetime.fromtimestamp(it.network.time, UTC))
    return it


async def file_edited(folder: Path) -> Broken:
    it = await running(folder)
    node = it.machines["infra2"].file("/etc/etcd/etcd.conf")
    assert node is not None
    node.content = (node.content or b"") + b'ETCD_LOG_LEVEL="debug"\n'
    return it


async def drop_in_fails(folder: Path) -> Broken:
    """A drop-in of another program replaces what etcd.service runs, and its log has no reason that is known."""
    it = await failing(folder, UNKNOWN_LINE)
    it.machines["infra3"].drop_ins = {
        "/etc/systemd/system/etcd.service.d/old.conf": "[Service]\nExecStart=\nExecStart=/bin/false\n"
    }
    return it


async def peers_of_one_apart(folder: Path) -> Broken:
    """A firewall on one host drops its connections to peers. etcdup still connects to its client port."""
    it = await running(folder)
    it.machines["infra2"].isolated = True
    return it


async def addresses_changed(folder: Path) -> Broken:
    """An edit of cluster.yaml gives two members other addresses, to which their hosts already answer."""
    it = await running(folder)
    hosts = (
        f"  - {{name: {host.name}, address: 192.168.8.{last}}}\n"
        for host, last in zip(it.spec.hosts, (66, 167, 168), strict=True)
    )
    it.spec = load(f"name: prod\nversion: {it.spec.version}\nhosts:\n{''.join(hosts)}")
    it.silent = frozenset({"infra2", "infra3"})
    return it


async def programs_deleted(folder: Path) -> Broken:
    """The directory of the version was deleted under a running member."""
    it = await running(folder)
    it.machines["infra2"].remove("/opt/etcd/3.6.14/etcd")
    return it


async def marker_deleted(folder: Path) -> Broken:
    it = await running(folder)
    it.machines["infra2"].remove("/etc/etcd/etcdup.json")
    return it


async def data_exchanged(folder: Path) -> Broken:
    """The data of infra2 and infra3 were exchanged, for example by two disks in the wrong machines."""
    return await moved_data(folder, {"infra2": "infra3", "infra3": "infra2"})


async def data_copied(folder: Path) -> Broken:
    """The disk of infra2 was restored from an image of infra3."""
    return await moved_data(folder, {"infra2": "infra3"})


async def moved_data(folder: Path, source: dict[str, str]) -> Broken:
    """Return a cluster whose hosts were restarted with the data of other hosts."""
    it = await running(folder)
    wal = "/var/lib/etcd/member/wal/0.wal"
    data = {
        name: (node.content if (node := it.machines[name].file(wal)) else b"") for name in source.values()
    }
    for name in source:
        it.machines[name].end_etcd(0)
    for name, other in source.items():
        it.machines[name].put_data(wal, data[other] or b"")
        start_unit(it.machines[name])
    await it.network.sleep(10.0)
    return it


async def settings_emptied(folder: Path) -> Broken:
    """A tool emptied etcd.conf, and then the host was restarted."""
    it = await running(folder)
    machine = it.machines["infra3"]
    machine.end_etcd(0)
    machine.put("/etc/etcd/etcd.conf", b"", 0o644)
    start_unit(machine)
    await it.network.sleep(6.0)
    return it


async def settings_deleted(folder: Path) -> Broken:
    """All files in /etc/etcd were deleted, and then etcd was restarted."""
    it = await failing(folder, "open /etc/etcd/etcd.conf: no such file or directory")
    it.machines["infra3"].remove("/etc/etcd")
    return it


async def ca_changed_on_host(folder: Path) -> Broken:
    it = await running(folder)
    node = it.machines["infra2"].file("/etc/etcd/pki/ca.pem")
    assert node is not None
    node.content = b"another CA"
    return it


async def data_of_root(folder: Path) -> Broken:
    """The data was copied back by root, so user etcd cannot write it."""
    it = await failing(folder, "open /var/lib/etcd/member/snap/db: permission denied")
    for path, node in it.machines["infra3"].nodes.items():
        if path.startswith("/var/lib/etcd/member"):
            node.owner = "root:root"
    return it


async def settings_wait(folder: Path) -> Broken:
    it = await running(folder)
    return replace(it, spec=spec_of(3, more="etcd: {quota: 4GiB}\n"))


BROKEN: dict[str, Break] = {
    each.__name__.replace("_", "-"): each
    for each in (
        one_member_stopped, two_members_stopped, one_host_unreachable, two_hosts_unreachable, all_hosts_unreachable,
        database_full, data_corrupt, disk_full, known_reason_to_fail, unknown_reason_to_fail, port_taken,
        certificates_expired, certificate_expired_on_one, clock_of_this_machine, clock_of_a_host, other_pki,
        pki_missing, provided_became_managed, cluster_renamed, host_renamed, data_dir_changed, data_lost, learner_left,
        foreign_member, upgrade_interrupted, locked_by_another, peers_apart, client_port_closed, users_enabled,
        fresh_hosts, hosts_wiped, one_stopped_two_unreachable,
        file_edited, drop_in_fails, peers_of_one_apart, addresses_changed, programs_deleted, marker_deleted,
        settings_deleted, data_exchanged, data_copied, settings_emptied,
        ca_changed_on_host,
        data_of_root, settings_wait, disk_not_mounted, restore_unfinished, recovered_to_one,
        hosts_superseded, rotation_begun,
    )
}  # fmt: skip
