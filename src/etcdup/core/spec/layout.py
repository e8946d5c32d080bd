"""The paths of a member's files on its host."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from etcdup.core.spec.model import HostSpec, Spec

# Kinds of certificate that a member has (rules 18-20). They are also the names of the files below `pki`.
MEMBER_CERTS = ("server", "peer", "health")


@dataclass(frozen=True)
class Layout:
    """The paths of one member, and what supervises its process.

    `systemd` is used on every host, except for a local member with a `root` directory. For that one, `process` is used:
    the same tree is below `root`, and `unit` is a script that starts etcd in the background.
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
    def user(self) -> str:
        """The user that etcd runs as. Empty for a local member, which runs as the user who started it."""
        return "etcd" if self.supervisor == "systemd" else ""

    @property
    def conf(self) -> str:
        """The file with the `ETCD_*` variables."""
        return f"{self.etc}/etcd.conf"

    @property
    def pki(self) -> str:
        return f"{self.etc}/pki"

    @property
    def marker(self) -> str:
        """The file that says to which cluster and member the data directory belongs (rule 6)."""
        return f"{self.etc}/etcdup.json"

    @property
    def generation(self) -> str:
        """The file that names the change of the PKI whose certificates are on the host (certs/generation.py)."""
        return f"{self.pki}/generation.json"

    @property
    def unproved(self) -> str:
        """The directory of the previous files, as long as newer ones are not proved (host/unproved.py)."""
        return f"{self.etc}/unproved"

    @property
    def sysusers(self) -> str:
        """The file that declares the `etcd` user for systemd-sysusers."""
        return f"{self.etc}/sysusers.conf"

    @property
    def join(self) -> str:
        """The settings for a member's first start.

        The file is on tmpfs, so `initial-cluster-state=new` is gone after a reboot. A wiped host that restarts can
        therefore never form a second cluster (rule 7).
        """
        return f"{self.run}/join.env"

    @property
    def fence_disabled(self) -> str:
        """The file that disables the startup fence (startup_fence.py). It is on tmpfs.

        It exists only while etcdup starts restored members together: the other members are not up yet, so the fence
        could not get an answer from them.
        """
        return f"{self.run}/vouched"

    @property
    def closed(self) -> str:
        """The directory of the keys of a member that only etcdup can reach (host/closed_member.py). It is on tmpfs."""
        return f"{self.run}/closed"

    @property
    def wal_parent(self) -> str | None:
        """The parent directory of the write-ahead log, or None.

        etcd creates a new log directory there and renames it. So the parent must belong to etcd, and the log directory
        itself cannot be a mount point.
        """
        return str(PurePosixPath(self.wal_dir).parent) if self.wal_dir else None

    @property
    def current(self) -> str:
        """The symbolic link to the version in use. One rename switches it (rule 52)."""
        return f"{self.versions}/current"

    @property
    def log(self) -> str:
        """The log file of a `process` member. A member under systemd logs to systemd's journal."""
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
        """Return the CA file that verifies certificates of this kind: `ca.pem`, or `peer-ca.pem` for peers."""
        return f"{self.pki}/peer-ca.pem" if kind == "peer" else f"{self.pki}/ca.pem"

    def crl(self, kind: str) -> str:
        """Return the revocation list for clients (`crl`) or for peers (`peer-crl`). From 3.6 on it must be DER."""
        return f"{self.pki}/{kind}.der"


def layout_of(spec: Spec, host: HostSpec) -> Layout:
    """Return the layout of the member on this host."""
    root, wal_dir = host.root or "", spec.wal_dir(host)
    return Layout(
        supervisor="process" if host.root else "systemd",
        etc=f"{root}/etc/etcd",
        unit=f"{root}/etc/start-etcd" if host.root else "/etc/systemd/system/etcd.service",
        versions=f"{root}/opt/etcd",
        run=f"{root}/run/etcdup",
        data_dir=root + spec.data_dir(host),
        wal_dir=root + wal_dir if wal_dir else None,
        links=None if host.root else "/usr/local/bin",
    )
