"""Values of cluster.yaml that a cluster keeps: its name, the names of its members, and where their data is.

An edit of one of them looks like another cluster, a foreign host or lost data. So the reason names the line to write
back. etcdup neither renames a member nor moves its data.
"""

from collections.abc import Iterator

from etcdup.core.observed.model import HostSeen, Marker
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec


def refuse_foreign_marker(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse a host that belongs to another cluster, or to another member of this cluster (rule 6)."""
    marker = seen.marker
    if marker is None or seen.is_marked(spec.name):
        return ()
    if marker.cluster == spec.name:
        message = f"{host.name} is the member {marker.member} of this cluster, and a member keeps its name"
        hint = _member_hint(spec, host, marker)
    else:
        message = f"{host.name} belongs to the cluster {marker.cluster}, as its member {marker.member}"
        hint = _cluster_hint(host, marker)
    return (Refused(message, hint, host.name, (6,)),)


def _member_hint(spec: Spec, host: HostSpec, marker: Marker) -> str:
    if marker.member in {each.name for each in spec.hosts}:
        return f"in cluster.yaml, write `address: {host.address}` back for {marker.member}"
    return f"in cluster.yaml, write `name: {marker.member}` back for the host with the address {host.address}"


def _cluster_hint(host: HostSpec, marker: Marker) -> str:
    if marker.member == host.name:
        return (
            f"if this is the file of the cluster {marker.cluster}, write `name: {marker.cluster}` back: a cluster "
            "keeps its name. Otherwise, use another host"
        )
    return (
        f"use another host, or first take {marker.member} out of the cluster.yaml of {marker.cluster} and run "
        "`etcdup apply` there"
    )


def refuse_moved_data(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse another data directory or WAL directory for a member whose data is in the previous one (rule 32)."""
    marker = seen.marker_of(spec.name)
    if marker is None or not marker.formed or marker.replaces or seen.joining or seen.has_member:
        return ()
    return tuple(
        Refused(f"{host.name}: {what}. etcdup does not move the data of a member", hint, host.name, (32, 89))
        for what, hint in _moved(spec, host, seen, marker)
    )


def _moved(spec: Spec, host: HostSpec, seen: HostSeen, marker: Marker) -> Iterator[tuple[str, str]]:
    layout, root = layout_of(spec, host), host.root or ""
    if marker.data_dir != layout.data_dir:
        kept = marker.data_dir.removeprefix(root)
        yield (
            f"its data is in {kept}, and cluster.yaml has `data_dir: {spec.etcd.data_dir}`",
            f"in cluster.yaml, write `data_dir: {kept}` back",
        )
        return
    kept = seen.unit.environment.get("ETCD_WAL_DIR", "").removeprefix(root)
    if seen.wal is not None and seen.data.has_wal:
        yield (
            f"its write-ahead log is in the data directory, and cluster.yaml has `wal_dir: {spec.etcd.wal_dir}`",
            "in cluster.yaml, remove `wal_dir`",
        )
    elif kept and kept != (spec.etcd.wal_dir or ""):
        yield (
            f"its write-ahead log is in {kept}, and cluster.yaml has "
            + (f"`wal_dir: {spec.etcd.wal_dir}`" if spec.etcd.wal_dir else "no `wal_dir`"),
            f"in cluster.yaml, write `wal_dir: {kept}` back",
        )
