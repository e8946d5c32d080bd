"""The start of the unit: etcd reads its settings and opens or creates its data, or exits."""

from dataclasses import dataclass, replace
from typing import NoReturn

from etcdup.core.host.settings import SETTINGS_VARIABLE
from etcdup.core.host.startup_fence import FENCE_PREFIX, MEMBERS_VARIABLE, superseded_key
from etcdup.core.spec.version import parse_version
from etcdup.testing.cluster import FakeCluster
from etcdup.testing.machine import CLOSED, UNIT, FakeMachine, FakeProcess, Node
from etcdup.testing.process import converge

CONF = "/etc/etcd/etcd.conf"
JOIN = "/run/etcdup/join.env"
VOUCHED = "/run/etcdup/vouched"


@dataclass
class MemberData:
    """The content of a write-ahead log here: the identity of the member, and whether acknowledged data was lost."""

    cluster_id: int
    member_id: int
    lost_log: bool = False

    def encode(self) -> bytes:
        return f"{self.cluster_id} {self.member_id} {self.lost_log:d}".encode()

    @classmethod
    def decode(cls, content: bytes) -> "MemberData":
        cluster_id, member_id, lost_log = content.decode().split()
        return cls(int(cluster_id), int(member_id), lost_log == "1")


class StartFailed(Exception):
    """etcd, or ExecStartPre of the unit, exited at once with this last log line."""


def start_unit(machine: FakeMachine) -> None:
    """Restart the unit, as `systemctl restart` does: a running etcd is stopped first.

    The start waits in systemd's queue until network-online.target is reached.
    """
    machine.process, machine.failed_at = None, None
    converge(machine.network)
    machine.queued = machine.network.now() < machine.online_at
    if machine.queued:
        return
    machine.starts.append(len(machine.log))
    try:
        machine.process = _start(machine)
    except StartFailed as end:
        machine.end_etcd(1, *([str(end)] if str(end) else []))
    converge(machine.network)


def start_enabled_unit(machine: FakeMachine) -> None:
    """Start the unit as systemd does at boot, if it is enabled."""
    if machine.enabled and not machine.masked and (unit := machine.file(UNIT)) is not None:
        machine.loaded_unit = unit.content
        start_unit(machine)


def restart_failed(machine: FakeMachine) -> None:
    """Restart a failed unit after its delay, as `Restart=on-failure` does."""
    if machine.failed_at is not None and machine.network.now() >= machine.failed_at + RESTART_S:
        machine.restarts += 1
        start_unit(machine)


def start_queued(machine: FakeMachine) -> None:
    """Start the unit whose start was queued, once network-online.target is reached."""
    if machine.queued and machine.network.now() >= machine.online_at:
        start_unit(machine)


RESTART_S = 5.0
V2_PANIC = "panic: unmarshal should never fail (proto: cannot parse invalid wire-format data) [recovered]"


def _start(machine: FakeMachine) -> FakeProcess:
    old = machine.old_process
    if old is not None and b"ETCDUP_UNIT=" not in (machine.loaded_unit or b""):
        return _start_of_another_tool(machine, old)
    conf, join = machine.file(CONF), machine.file(JOIN)
    exe = machine.real("/opt/etcd/current/etcd")
    if conf is None or machine.file(exe) is None:
        raise StartFailed
    for text, line in machine.rejects.items():
        if text in exe or text.encode() in (conf.content or b""):
            raise StartFailed(line)
    environment = {**machine.manager_environment, **_drop_in_variables(machine), **_variables(conf)}
    environment |= _variables(join) if join else {}
    unit = (machine.loaded_unit or b"").decode()
    if SETTINGS_VARIABLE in unit and SETTINGS_VARIABLE not in environment:
        raise StartFailed(f"{CONF} is empty or incomplete")
    _check_settings(machine, environment)
    cert = environment.get("ETCD_CERT_FILE", "")
    if cert.startswith(CLOSED) and machine.file(cert) is None:
        raise StartFailed(f"open {cert}: no such file or directory")
    environment["ETCDUP_UNIT"] = unit.partition("ETCDUP_UNIT=")[2].partition("\n")[0]
    wal = _wal(environment)
    log = machine.file(wal)
    if log is None and join is None:
        raise StartFailed(f"{environment['ETCD_DATA_DIR']} holds no member: is its disk mounted?")
    if FENCE_PREFIX in unit and join is None and machine.file(VOUCHED) is None:
        _check_fence(machine, environment)
    if log is None:
        data = _first_start(machine, environment, parse_version(exe.split("/")[-2]).series)
        machine.put_data(wal, data.encode())
        machine.put_data(f"{environment['ETCD_DATA_DIR']}/member/snap/db", b"")
    else:
        data = MemberData.decode(log.content or b"")
    cluster = machine.network.etcd.by_id[data.cluster_id]
    if parse_version(exe.split("/")[-2]) >= (3, 7, 0) and cluster.last_v2 > cluster.raft_snapshots.get(
        data.member_id, 0
    ):
        raise StartFailed(V2_PANIC)
    process = FakeProcess(
        exe, environment, machine.network.now(), cluster, data.member_id, lost_log=data.lost_log
    )
    if (ca := machine.file(environment.get("ETCD_TRUSTED_CA_FILE", ""))) is not None:
        process.ca_file = ca.content or b""
    _check_minor(cluster, process.version.series)
    return process


def _start_of_another_tool(machine: FakeMachine, old: FakeProcess) -> FakeProcess:
    """Start what the unit of another tool starts. Its data directory must have its member."""
    log = machine.file(_wal(old.environment))
    if log is None:
        raise StartFailed("the data directory has no member")
    data = MemberData.decode(log.content or b"")
    if data.member_id != old.member_id:
        raise StartFailed("the data directory has another member")
    return replace(old, started_at=machine.network.now(), ready=False, lost_log=data.lost_log)


def _drop_in_variables(machine: FakeMachine) -> dict[str, str]:
    lines = [line for text in machine.drop_ins.values() for line in text.splitlines()]
    pairs = (
        line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment=")
    )
    return dict(pairs)


def _check_settings(machine: FakeMachine, environment: dict[str, str]) -> None:
    """Refuse a value or a certificate that etcd cannot parse. Most values are not checked here."""
    if not environment.get("ETCD_MAX_TXN_OPS", "0").isdigit():
        raise StartFailed("invalid value for flag -max-txn-ops: parse error")
    for name in ("server", "peer"):
        if reason := machine.why_unusable(name):
            raise StartFailed(reason)


def _check_fence(machine: FakeMachine, environment: dict[str, str]) -> None:
    """Check the startup fence (core/host/startup_fence.py): another member may have the key of a superseded cluster."""
    members = set(environment.get(MEMBERS_VARIABLE, "").split())
    key = superseded_key(environment["ETCD_INITIAL_CLUSTER_TOKEN"])
    for each in machine.network.machines.values():
        process = each.process
        if process is None or not process.ready or process.is_closed or process.cluster.auth:
            continue
        if machine.isolated or each.isolated:
            continue
        urls = process.environment["ETCD_ADVERTISE_CLIENT_URLS"].split(",")
        if members.intersection(urls) and (reason := process.cluster.keys.get(key)):
            raise StartFailed(
                f"etcd is not started: the cluster of its data was superseded: {reason.decode()} (key "
                f"{key.decode()} of {urls[0]})."
            )


def _wal(environment: dict[str, str]) -> str:
    folder = environment.get("ETCD_WAL_DIR") or f"{environment['ETCD_DATA_DIR']}/member/wal"
    return f"{folder}/0.wal"


def _check_minor(cluster: FakeCluster, series: tuple[int, int]) -> None:
    """Refuse a version that is older than the cluster, as etcd does (rule 46).

    A version that is more than one minor newer is refused here too. etcd starts it, although that was never tested
    (rule 42).
    """
    if cluster.version is None:
        return
    if series < cluster.version:
        raise StartFailed("invalid downgrade; server version is lower than determined cluster version")
    if series > (cluster.version[0], cluster.version[1] + 1):
        raise StartFailed("incompatible with current running cluster")


def _first_start(machine: FakeMachine, environment: dict[str, str], series: tuple[int, int]) -> MemberData:
    """Start a member without data: with `new` it forms a cluster, otherwise it joins one that lists it."""
    initial = _initial_cluster(environment)
    name = environment["ETCD_NAME"]
    own = environment["ETCD_INITIAL_ADVERTISE_PEER_URLS"]
    if name not in initial:
        raise StartFailed(f'couldn\'t find local name "{name}" in the initial cluster configuration')
    if set(initial[name]) != set(own.split(",")):
        raise StartFailed(f"--initial-cluster has {name}={','.join(initial[name])} but missing from "
                    f"--initial-advertise-peer-urls={own}")  # fmt: skip
    if environment["ETCD_INITIAL_CLUSTER_STATE"] != "new":
        return _join(machine, initial, name, series)
    try:
        cluster, member_id = machine.network.etcd.bootstrap(
            environment["ETCD_INITIAL_CLUSTER_TOKEN"], initial, name
        )
    except ValueError as error:
        raise StartFailed(str(error)) from None
    return MemberData(cluster.cluster_id, member_id)


def _join(
    machine: FakeMachine, initial: dict[str, tuple[str, ...]], name: str, series: tuple[int, int]
) -> MemberData:
    """Join a cluster. The given member list must be the list of the cluster: URLs are compared, and no names."""
    cluster = _find_cluster(machine, {url for each, urls in initial.items() if each != name for url in urls})
    listed = [set(member.peer_urls) for member in cluster.members.values()]
    if len(initial) != len(listed):
        _raise_unequal(cluster, "member count is unequal")
    if any(set(urls) not in listed for urls in initial.values()):
        _raise_unequal(cluster, "unmatched member while checking PeerURLs")
    if cluster.version is not None and series < cluster.version:
        raise StartFailed("incompatible with current running cluster")
    member = next(each for each in cluster.members.values() if set(each.peer_urls) == set(initial[name]))
    # The leader sends its log from its own newest snapshot on.
    cluster.raft_snapshots[member.member_id] = cluster.raft_snapshots.get(cluster.leader, 0)
    return MemberData(cluster.cluster_id, member.member_id, lost_log=bool(member.name))


def _raise_unequal(cluster: FakeCluster, why: str) -> NoReturn:
    shown = " ".join(f"{member.name}={','.join(member.peer_urls)}" for member in cluster.members.values())
    raise StartFailed(f"error validating peerURLs {shown}: {why}")


def _find_cluster(machine: FakeMachine, urls: set[str]) -> FakeCluster:
    """Return the cluster of the first member that runs at one of these URLs; a quorum is not needed."""
    for each in machine.network.machines.values():
        if each is machine or each.process is None or each.isolated or machine.isolated:
            continue
        if urls & set(each.process.environment.get("ETCD_INITIAL_ADVERTISE_PEER_URLS", "").split(",")):
            return each.process.cluster
    raise StartFailed(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
    )


def _initial_cluster(environment: dict[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, environment["ETCD_INITIAL_CLUSTER"].split(",")):
        name, url = part.split("=", 1)
        found[name] = (*found.get(name, ()), url)
    return found


def _variables(node: Node) -> dict[str, str]:
    lines = (node.content or b"").decode().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in pairs}
