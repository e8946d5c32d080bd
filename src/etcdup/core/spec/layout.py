"""Where a member's files live on its host."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from etcdup.core.spec.model import HostSpec, Spec

# Kinds of certificate that a member holds (rules 18-20), and the names of their files below `pki`.
MEMBER_CERTS = ("server", "peer", "health")


@dataclass(frozen=True)
class Layout:
    """The paths of one member, and what starts and stops it.

    `systemd` is every real host. `process` is a local member with a `root` of its own: the same tree below
    that folder, and `unit` is a script that starts etcd in the background.
    """

    supervisor: Literal["systemd", "process"]
    etc: str
    unit: str
    versions: str
    run: str
    data_dir: str
    wal_dir: str | None
    links: str | None

    @property
    def conf(self) -> str:
        """The `ETCD_*` variables."""
        return f"{self.etc}/etcd.conf"

    @property
    def pki(self) -> str:
        return f"{self.etc}/pki"

    @property
    def marker(self) -> str:
        """Says that the data directory is ours, and of which cluster (rule 6)."""
        return f"{self.etc}/etcdup.json"

    @property
    def sysusers(self) -> str:
        """Declares the `etcd` user for systemd-sysusers."""
        return f"{self.etc}/sysusers.conf"

    @property
    def join(self) -> str:
        """Settings for a member's very first start. On tmpfs: a reboot forgets `initial-cluster-state=new`,
        so no restart of a wiped host can ever form a second cluster (rule 7)."""
        return f"{self.run}/join.env"

    @property
    def fence_disabled(self) -> str:
        """There only while etcdup starts restored members: their others are starting too, and are not asked whether
        another cluster took this one's place (fence.py). On tmpfs as well."""
        return f"{self.run}/vouched"

    @property
    def wal_parent(self) -> str | None:
        """Where etcd makes its log's folder anew and renames it: so it has to be etcd's own, and the log's folder
        cannot be a mount point."""
        return str(PurePosixPath(self.wal_dir).parent) if self.wal_dir else None

    @property
    def current(self) -> str:
        """The link to the version in use, switched by one rename (rule 52)."""
        return f"{self.versions}/current"

    @property
    def log(self) -> str:
        """Where a `process` member writes its log; systemd's members write to the journal."""
        return f"{self.run}/etcd.log"

    @property
    def pid_file(self) -> str:
        return f"{self.run}/etcd.pid"

    def version_dir(self, version: str) -> str:
        return f"{self.versions}/{version}"

    def cert(self, kind: str) -> str:
        return f"{self.pki}/{kind}.pem"

    def key(self, kind: str) -> str:
        return f"{self.pki}/{kind}-key.pem"

    def ca(self, kind: str = "server") -> str:
        """The CA that certificates of this kind are judged by: `ca.pem`, or `peer-ca.pem` for peers."""
        return f"{self.pki}/peer-ca.pem" if kind == "peer" else f"{self.pki}/ca.pem"


def layout_of(spec: Spec, host: HostSpec) -> Layout:
    """The layout of a host's member."""
    root = host.root or ""
    return Layout(
        supervisor="process" if host.root else "systemd",
        etc=f"{root}/etc/etcd",
        unit=f"{root}/etc/start-etcd" if host.root else "/etc/systemd/system/etcd.service",
        versions=f"{root}/opt/etcd",
        run=f"{root}/run/etcdup",
        data_dir=root + spec.etcd.data_dir,
        wal_dir=root + spec.etcd.wal_dir if spec.etcd.wal_dir else None,
        links=None if host.root else "/usr/local/bin",
    )
