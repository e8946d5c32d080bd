"""Inspected clusters that other tools made: their processes, as the facts of these tools say (docs/guides/adopt.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from etcdup.core.adopt.model import Answer, ConfigFile, HostProcesses, Inspected, Owners, Process, Unit
from etcdup.core.certs.inventory import CertFacts
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.version import Version

NOW = datetime(2026, 6, 1, tzinfo=UTC)
STARTED = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
CLUSTER = "cdf818194e3a8c32"


@dataclass(frozen=True)
class Shape:
    """How a tool runs etcd. In its texts, @NAME is the name of the member, @IP its address, @CLUSTER all members.

    `expected` are values of the draft.
    """

    argv: str = ""
    variables: str = ""
    config: str = ""
    config_path: str = "/etc/etcd/etcd.conf"
    names: Sequence[str] = ("etcd1", "etcd2", "etcd3")
    version: str = "3.5.16"
    exe: str = "/usr/local/bin/etcd"
    user: str = "root"
    fragment: str = "/etc/systemd/system/etcd.service"
    properties: Mapping[str, str] = field(default_factory=dict)
    ca: str = "/etc/etcd/ca.pem"
    ca_subject: str = "CN=etcd-ca"
    keys: Sequence[str] = ()
    owners: Owners = field(default_factory=Owners)
    packages: Sequence[str] = ()
    container: str = ""
    expected: Mapping[str, object] = field(default_factory=dict)


def initial_cluster(names: Sequence[str]) -> str:
    return ",".join(f"{name}=https://10.0.0.{number}:2380" for number, name in enumerate(names, 1))


def inspected(shape: Shape) -> list[Inspected]:
    return [inspected_host(shape, number) for number in range(1, len(shape.names) + 1)]


def inspected_host(shape: Shape, number: int) -> Inspected:
    process = process_of(shape, number)
    listed = tuple(
        ListedMember(at, name, (f"https://10.0.0.{at}:2380",), (f"https://10.0.0.{at}:2379",), False)
        for at, name in enumerate(shape.names, 1)
    )
    return Inspected(
        first=HostProcesses(f"10.0.0.{number}", f"host{number}", (process,), shape.owners),
        process=process,
        answer=Answer(CLUSTER, listed, Version(*map(int, shape.version.split(".")))),
        certs={shape.ca: (cert(shape.ca, shape.ca_subject, "ca"),)},
        keys=frozenset(shape.keys),
    )


def process_of(shape: Shape, number: int) -> Process:
    def filled(text: str) -> str:
        name = shape.names[number - 1]
        text = text.replace("@CLUSTER", initial_cluster(shape.names))
        return text.replace("@NAME", name).replace("@IP", f"10.0.0.{number}")

    config = ConfigFile(shape.config_path, STARTED - 60, filled(shape.config)) if shape.config else None
    return Process(
        pid=800 + number,
        exe=shape.exe,
        cwd="/var/lib/etcd",
        user=shape.user,
        started_at=STARTED,
        argv=(shape.exe, *filled(shape.argv).split()),
        variables=dict(line.split("=", 1) for line in filled(shape.variables).split("\n") if "=" in line),
        unit=None
        if shape.container
        else Unit("etcd.service", {"FragmentPath": shape.fragment, **shape.properties}),
        container=shape.container,
        config=config,
        packages=tuple(shape.packages),
    )


def cert(
    path: str, subject: str, key: str, *, ends: datetime = datetime(2036, 1, 1, tzinfo=UTC)
) -> CertFacts:
    seen = CertSeen(path, "", "f", "", (), (), (), STARTED_AT, ends, key, key, is_ca=True)
    return CertFacts(seen, subject, subject, "1")


def with_answer(seen: Inspected, **changes: object) -> Inspected:
    return replace(seen, answer=replace(seen.answer, **changes))  # type: ignore[arg-type]


STARTED_AT = datetime.fromtimestamp(STARTED, UTC)

_URLS = """\
--listen-peer-urls=https://@IP:2380 --listen-client-urls=https://@IP:2379,https://127.0.0.1:2379
--advertise-client-urls=https://@IP:2379 --initial-advertise-peer-urls=https://@IP:2380
--initial-cluster=@CLUSTER"""
_PLAIN_LOOPBACK = _URLS.replace("https://127.0.0.1", "http://127.0.0.1")
_ENV_URLS = """
ETCD_NAME=@NAME
ETCD_LISTEN_PEER_URLS=https://@IP:2380
ETCD_LISTEN_CLIENT_URLS=https://@IP:2379,https://127.0.0.1:2379
ETCD_ADVERTISE_CLIENT_URLS=https://@IP:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://@IP:2380
ETCD_INITIAL_CLUSTER=@CLUSTER
"""


def _flags(ca: str, cert_path: str, key: str, *, auth: bool) -> str:
    files = f"--trusted-ca-file={ca} --cert-file={cert_path} --key-file={key}"
    peers = f"--peer-trusted-ca-file={ca} --peer-cert-file={cert_path} --peer-key-file={key}"
    return f"{files} {peers}" + (" --client-cert-auth --peer-client-cert-auth" if auth else "")


def _variables(ca: str, cert_path: str, key: str, *, auth: bool) -> str:
    text = "".join(
        f"ETCD_{prefix}TRUSTED_CA_FILE={ca}\nETCD_{prefix}CERT_FILE={cert_path}\nETCD_{prefix}KEY_FILE={key}\n"
        for prefix in ("", "PEER_")
    )
    return text + ("ETCD_CLIENT_CERT_AUTH=true\nETCD_PEER_CLIENT_CERT_AUTH=true\n" if auth else "")


_K8S = "/etc/kubernetes/ssl"
GUIDE = Shape(
    argv="--name @NAME "
    f"{_flags(f'{_K8S}/ca.pem', f'{_K8S}/kubernetes.pem', f'{_K8S}/kubernetes-key.pem', auth=False)} "
    f"{_URLS} --initial-cluster-token etcd-cluster --initial-cluster-state new --data-dir=/var/lib/etcd",
    names=("infra1", "infra2", "infra3"),
    fragment="/usr/lib/systemd/system/etcd.service",
    properties={"EnvironmentFiles": "/etc/etcd/etcd.conf (ignore_errors=yes)"},
    ca=f"{_K8S}/ca.pem",
    ca_subject="CN=kubernetes,OU=System,O=k8s,L=BeiJing,ST=BeiJing,C=CN",
    keys=(f"{_K8S}/ca-key.pem",),
    expected={
        "hosts.0.name": "infra1",
        "etcd.data_dir": "/var/lib/etcd",
        "etcd.quota": 2 * 1024**3,
        "etcd.auto_compaction": 0,
        "tls.mode": "provided",
    },
)
_KS = "/etc/ssl/etcd/ssl"
KUBESPRAY = Shape(
    variables=_ENV_URLS
    + _variables(f"{_KS}/ca.pem", f"{_KS}/member-@NAME.pem", f"{_KS}/member-@NAME-key.pem", auth=True)
    + """
ETCD_DATA_DIR=/var/lib/etcd
ETCD_INITIAL_CLUSTER_STATE=existing
ETCD_METRICS=basic
ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
ETCD_ELECTION_TIMEOUT=5000
ETCD_HEARTBEAT_INTERVAL=250
ETCD_AUTO_COMPACTION_RETENTION=8
ETCD_SNAPSHOT_COUNT=100000
ETCD_QUOTA_BACKEND_BYTES=2147483648
ETCD_MAX_REQUEST_BYTES=1572864
ETCD_LOG_LEVEL=info
ETCD_MAX_SNAPSHOTS=5
ETCD_MAX_WALS=5
ETCD_PROXY=off
ETCD_ENABLE_V2=true
ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=True
""",
    ca=f"{_KS}/ca.pem",
    keys=(f"{_KS}/ca-key.pem",),
    owners=Owners(ansible=("/root/.ansible",), timers=("backup-etcd.timer",)),
    expected={
        "etcd.heartbeat_ms": 250,
        "etcd.election_ms": 5000,
        "etcd.auto_compaction": 8 * 3600,
        "etcd.extra.snapshot-count": 100000,
        "tls.mode": "managed",
    },
)
KUBEASZ = Shape(
    argv=f"--name=@NAME {_flags(f'{_K8S}/ca.pem', f'{_K8S}/etcd.pem', f'{_K8S}/etcd-key.pem', auth=False)} "
    f"{_PLAIN_LOOPBACK} "
    "--initial-cluster-token=etcd-cluster-0 --initial-cluster-state=new --data-dir=/var/lib/etcd --wal-dir= "
    "--snapshot-count=50000 --auto-compaction-retention=1 --auto-compaction-mode=periodic "
    "--max-request-bytes=10485760 --quota-backend-bytes=8589934592",
    names=("etcd-10.0.0.1", "etcd-10.0.0.2", "etcd-10.0.0.3"),
    exe="/opt/kube/bin/etcd",
    properties={"OOMScoreAdjust": "-999", "Nice": "0"},
    ca=f"{_K8S}/ca.pem",
    ca_subject="CN=kubernetes-ca",
    expected={
        "hosts.2.name": "etcd-10.0.0.3",
        "etcd.quota": 8 * 1024**3,
        "etcd.wal_dir": None,
        "etcd.auto_compaction": 3600,
        "tls.mode": "provided",
    },
)
DEBIAN = Shape(
    variables=_ENV_URLS
    + _variables(
        "/etc/etcd-certs/ca.pem", "/etc/etcd-certs/server.pem", "/etc/etcd-certs/server-key.pem", auth=True
    )
    + "ETCD_DATA_DIR=/var/lib/etcd/default\n",
    version="3.4.23",
    exe="/usr/bin/etcd",
    user="etcd",
    fragment="/usr/lib/systemd/system/etcd.service",
    ca="/etc/etcd-certs/ca.pem",
    packages=("etcd-server",),
    owners=Owners(timers=("apt-daily-upgrade.timer",)),
    expected={"version": "3.4.23", "etcd.data_dir": "/var/lib/etcd/default", "tls.mode": "provided"},
)
ETCDADM = Shape(
    variables=_ENV_URLS
    + _variables("/etc/etcd/pki/ca.crt", "/etc/etcd/pki/server.crt", "/etc/etcd/pki/server.key", auth=True)
    + "ETCD_DATA_DIR=/var/lib/etcd\nETCD_STRICT_RECONFIG_CHECK=true\n",
    names=("node1", "node2", "node3"),
    exe="/opt/bin/etcd",
    properties={"Nice": "-10"},
    ca="/etc/etcd/pki/ca.crt",
    ca_subject="CN=etcd",
    keys=("/etc/etcd/pki/ca.key",),
    expected={"tls.mode": "managed", "etcd.extra.strict-reconfig-check": True},
)
AUTOBASE = Shape(
    variables=_ENV_URLS
    + _variables("/etc/etcd/tls/ca.crt", "/etc/etcd/tls/server.crt", "/etc/etcd/tls/server.key", auth=False)
    + """
ETCD_DATA_DIR=/var/lib/etcd
ETCD_ELECTION_TIMEOUT=5000
ETCD_HEARTBEAT_INTERVAL=1000
ETCD_INITIAL_ELECTION_TICK_ADVANCE=false
ETCD_AUTO_COMPACTION_RETENTION=1
ETCD_INITIAL_CLUSTER_TOKEN=etcd-postgres-cluster
GOMAXPROCS=4
""",
    names=("pg1", "pg2", "pg3"),
    user="etcd",
    properties={"Nice": "-20", "IOSchedulingClass": "1"},
    ca="/etc/etcd/tls/ca.crt",
    ca_subject="CN=etcd-ca",
    keys=("/etc/etcd/tls/ca.key",),
    expected={"name": "etcd-postgres-cluster", "etcd.heartbeat_ms": 1000, "tls.mode": "managed"},
)
PIGSTY = Shape(
    argv="--config-file=/etc/etcd/etcd.conf",
    config="""\
name: '@NAME'
data-dir: '/data/etcd'
listen-peer-urls: 'https://@IP:2380'
listen-client-urls: 'https://@IP:2379,https://127.0.0.1:2379'
initial-advertise-peer-urls: 'https://@IP:2380'
advertise-client-urls: 'https://@IP:2379'
initial-cluster: '@CLUSTER'
initial-cluster-token: 'etcd'
initial-cluster-state: 'new'
quota-backend-bytes: 8589934592
auto-compaction-mode: periodic
auto-compaction-retention: "24h"
grpc-keepalive-min-time: 5000000000
client-transport-security:
  cert-file: '/etc/etcd/server.crt'
  key-file: '/etc/etcd/server.key'
  trusted-ca-file: '/etc/etcd/ca.crt'
peer-transport-security:
  cert-file: '/etc/etcd/server.crt'
  key-file: '/etc/etcd/server.key'
  trusted-ca-file: '/etc/etcd/ca.crt'
""",
    names=("etcd-1", "etcd-2", "etcd-3"),
    exe="/usr/bin/etcd",
    user="etcd",
    ca="/etc/etcd/ca.crt",
    ca_subject="CN=pigsty-ca",
    expected={
        "etcd.data_dir": "/data/etcd",
        "etcd.auto_compaction": 24 * 3600,
        "etcd.extra.grpc-keepalive-min-time": "5000000000ns",
        "tls.mode": "provided",
    },
)
OPSNULL = Shape(
    argv="--data-dir=/data/k8s/etcd/data --wal-dir=/data/k8s/etcd/wal --name=@NAME "
    f"{_flags('/etc/kubernetes/cert/ca.pem', '/etc/etcd/cert/etcd.pem', '/etc/etcd/cert/etcd-key.pem', auth=True)} "
    f"{_PLAIN_LOOPBACK} --initial-cluster-token=etcd-cluster-0 --initial-cluster-state=new "
    "--auto-compaction-mode=periodic --auto-compaction-retention=1 --max-request-bytes=33554432 "
    "--quota-backend-bytes=6442450944 --heartbeat-interval=250 --election-timeout=2000",
    names=("zhangjun-k8s-01", "zhangjun-k8s-02", "zhangjun-k8s-03"),
    exe="/opt/k8s/bin/etcd",
    ca="/etc/kubernetes/cert/ca.pem",
    ca_subject="CN=kubernetes-ca",
    keys=("/etc/kubernetes/cert/ca-key.pem",),
    expected={
        "etcd.wal_dir": "/data/k8s/etcd/wal",
        "etcd.quota": 6 * 1024**3,
        "etcd.election_ms": 2000,
        "tls.mode": "provided",
    },
)
_ETC = "/etc/etcd"
GITHUBIXX = Shape(
    argv="--name @NAME "
    f"{_flags(f'{_ETC}/ca-etcd.pem', f'{_ETC}/cert-etcd-server.pem', f'{_ETC}/cert-etcd-server-key.pem', auth=True)} "
    f"{_URLS} --data-dir /var/lib/etcd --enable-v2 --log-outputs systemd/journal --snapshot-count 100000",
    names=("node01", "node02", "node03"),
    user="etcd",
    ca="/etc/etcd/ca-etcd.pem",
    keys=("/etc/etcd/ca-etcd-key.pem",),
    expected={"etcd.extra.log-outputs": "systemd/journal", "tls.mode": "managed"},
)
_PKI = "/etc/kubernetes/pki/etcd"
KUBEADM = Shape(
    argv="--name=@NAME "
    f"{_flags(f'{_PKI}/ca.crt', f'{_PKI}/server.crt', f'{_PKI}/server.key', auth=False)} "
    f"--client-cert-auth=true --peer-client-cert-auth=true {_URLS} --data-dir=/var/lib/etcd "
    "--listen-metrics-urls=http://127.0.0.1:2381 --snapshot-count=10000 "
    "--experimental-initial-corrupt-check=true --experimental-watch-progress-notify-interval=5s",
    names=("infra0", "infra1", "infra2"),
    container="/kubepods.slice/kubepods-burstable.slice/cri-containerd-0123456789abcdef.scope",
    ca="/etc/kubernetes/pki/etcd/ca.crt",
    keys=("/etc/kubernetes/pki/etcd/ca.key",),
    owners=Owners(manifests=("/etc/kubernetes/manifests/etcd.yaml",)),
    expected={"etcd.metrics_port": 2381, "tls.mode": "managed"},
)
SHAPES = {
    "guide": GUIDE,
    "kubespray": KUBESPRAY,
    "kubeasz": KUBEASZ,
    "debian": DEBIAN,
    "etcdadm": ETCDADM,
    "autobase": AUTOBASE,
    "pigsty": PIGSTY,
    "opsnull": OPSNULL,
    "githubixx": GITHUBIXX,
    "kubeadm": KUBEADM,
}
