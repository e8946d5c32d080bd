"""Warnings about values of cluster.yaml that are allowed but have a risk."""

from collections import Counter
from collections.abc import Iterator

from etcdup.core.spec import extra_flags
from etcdup.core.spec.address import is_any_address, is_loopback
from etcdup.core.spec.model import GIB, Spec
from etcdup.core.spec.units import show_duration, show_size

_LARGEST_QUOTA = 8 * GIB  # rule 77
_SMALL_QUOTA = GIB // 4


def warnings(spec: Spec) -> tuple[str, ...]:
    """Return one sentence for each value that is allowed but has a risk."""
    return (*_host_warnings(spec), *_etcd_warnings(spec), *_tls_warnings(spec), *_backup_warnings(spec))


def _host_warnings(spec: Spec) -> Iterator[str]:
    if spec.size == 1:
        yield "hosts: a cluster of 1 member tolerates no failure; 3 members tolerate 1"  # rule 8
    yield from _zone_warnings(spec)
    if exposed := [host.name for host in spec.hosts if is_any_address(host.listen_address or "")]:
        yield f"hosts: etcd listens on all addresses of {', '.join(exposed)}"  # rule 85


def _zone_warnings(spec: Spec) -> Iterator[str]:
    """The failure of one zone must not lose the quorum (rule 97)."""
    zones = Counter(host.zone for host in spec.hosts if host.zone is not None)
    if not zones or spec.size == 1:
        return
    without = [host.name for host in spec.hosts if host.zone is None]
    if without:
        yield f"hosts: some hosts have a zone, but these have none: {', '.join(without)}"  # rule 97
    quorum = spec.size // 2 + 1
    for zone, members in zones.items():
        if spec.size - members < quorum:
            left = f"{spec.size - members} of {spec.size} members remain, and the quorum is {quorum}"
            yield f"hosts: if zone {zone} fails, {left}"  # rule 97


def _etcd_warnings(spec: Spec) -> Iterator[str]:
    etcd = spec.etcd
    if etcd.quota > _LARGEST_QUOTA:
        largest = show_size(_LARGEST_QUOTA)
        yield f"quota: {show_size(etcd.quota)} is more than the {largest} that etcd recommends"  # rule 77
    if etcd.quota < _SMALL_QUOTA:
        yield f"quota: {show_size(etcd.quota)} is small; etcd rejects writes when the database is full"  # rule 77
    if etcd.election_ms < 10 * etcd.heartbeat_ms:
        short = f"{etcd.election_ms} is less than 10 x heartbeat_ms ({etcd.heartbeat_ms})"
        yield f"election_ms: {short}, so a short delay can cause a leader election"  # rule 87
    for flag, value in etcd.extra.items():
        if warning := extra_flags.flag_warning(flag, value):
            yield warning


def _tls_warnings(spec: Spec) -> Iterator[str]:
    if spec.tls.client_auth == "optional":
        yield (
            "client_auth: each program that reaches a client port can read and change all keys without a certificate, "
            "unless the users of etcd are enabled; etcd accepts revoked clients too"
        )  # rule 21


def _backup_warnings(spec: Spec) -> Iterator[str]:
    if spec.backup.every < 60:
        yield f"backup: a snapshot every {show_duration(spec.backup.every)} puts a constant load on a member"
    endpoint = spec.backup.endpoint or ""
    if endpoint.startswith("http://") and not is_loopback(
        endpoint.split("/")[2].rsplit(":", 1)[0].strip("[]")
    ):
        yield "backup: http:// is not encrypted; snapshots and their secrets can be read on the network"  # rule 53
