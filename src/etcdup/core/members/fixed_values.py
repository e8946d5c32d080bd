"""Values of cluster.yaml that a cluster keeps: its name, the names of its members, and where their data is.

An edit of one of them looks like another cluster, a foreign host or lost data. So the reason names the line to write
back. etcdup neither renames a member nor moves its data.
"""

from collections.abc import Iterator

from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import Marker
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.template import scalar


def refuse_foreign_marker(spec: Spec, host: HostSpec, seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse a host that belongs to another cluster, or to another member of this cluster (rule 6)."""
    marker = seen.marker
    if marker is None:
        return ()
    if seen.is_marked(spec.name):
        return _refuse_renamed(host, marker, seen)
    if marker.cluster == spec.name:
        message = f"{host.name} is the member {marker.member} of this cluster, and a member keeps its name"
        hint = _member_hint(spec, host, marker)
    else:
        as_member = "" if marker.member == host.name else f", as its member {marker.member}"
        message = f"{host.name} belongs to the cluster {marker.cluster}{as_member}"
        hint = _cluster_hint(host, marker)
    return (Refused(message, hint, host.name, (6,)),)


def _refuse_renamed(host: HostSpec, marker: Marker, seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse another name in etcd for a member that exists. A member that replaces it may have another one."""
    exists = (marker.formed or seen.has_member) and not marker.replaces
    if not exists or marker.member_name == host.member_name:
        return ()
    return (
        Refused(
            f"{host.name} is the member {marker.member_name} in etcd, not {host.member_name}: a member keeps its name",
            f"in cluster.yaml, {write_back(host, marker.member_name)}",
            host.name,
            (5, 6),
        ),
    )


def write_back(host: HostSpec, name: str) -> str:
    """Return what to write so that the member of this host has this name in etcd."""
    if name == host.name:
        return f"remove `member` of {host.name}"
    return f"write `member: {scalar(name)}` {'for' if host.member is None else 'back for'} {host.name}"


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
    if marker is None or not marker.formed or marker.replaces or seen.joining:
        return ()
    # With a log of its own, the member is there although its data directory is another one.
    if seen.has_member and not (seen.wal is not None and seen.data.is_empty):
        return ()
    return tuple(
        Refused(f"{host.name}: {what}. etcdup does not move the data of a member", hint, host.name, (32, 89))
        for what, hint in _moved(spec, host, seen, marker)
    )


def _moved(spec: Spec, host: HostSpec, seen: HostSeen, marker: Marker) -> Iterator[tuple[str, str]]:
    layout, root = layout_of(spec, host), host.root or ""
    wal_dir = spec.wal_dir(host) or ""
    if marker.data_dir != layout.data_dir:
        kept = marker.data_dir.removeprefix(root)
        yield (
            f"the data is in {kept}, and cluster.yaml has `data_dir: {spec.data_dir(host)}`",
            _folder_to_write("data_dir", kept, spec, host),
        )
        return
    kept = seen.unit.environment.get("ETCD_WAL_DIR", "").removeprefix(root)
    if seen.wal is not None and seen.data.has_wal:
        yield (
            f"the write-ahead log is in the data directory, and cluster.yaml has `wal_dir: {wal_dir}`",
            f"in cluster.yaml, remove `wal_dir`{f' of {host.name}' if host.wal_dir else ''}",
        )
    elif kept and kept != wal_dir:
        yield (
            f"the write-ahead log is in {kept}, and cluster.yaml has "
            + (f"`wal_dir: {wal_dir}`" if wal_dir else "no `wal_dir`"),
            _folder_to_write("wal_dir", kept, spec, host),
        )


def _folder_to_write(key: str, kept: str, spec: Spec, host: HostSpec) -> str:
    """Return what to write in cluster.yaml so that the directory of this member is the one that it has."""
    if getattr(host, key) is None:
        return f"in cluster.yaml, write `{key}: {kept}` back"
    if getattr(spec.etcd, key) == kept:
        return f"in cluster.yaml, remove `{key}` of {host.name}"
    return f"in cluster.yaml, write `{key}: {kept}` back for {host.name}"
