"""Hosts that wait for their take-over: another tool installed and starts their etcd, and etcdup wrote only the marker.

Such a host has no file of etcdup, and its process does not show which settings it has. So there is nothing to compare
with cluster.yaml, and nothing to correct: until the take-over, no step changes the host. What its member reports over
the API counts as on every other host.

A host that is taken over waits for the other hosts. Its certificates are those of etcdup, and no other tool repairs or
renews them. So they are compared with the PKI.
"""

from dataclasses import replace

from etcdup.core.host.drift import written_file
from etcdup.core.host.files import desired_files, desired_settings, handshake_files
from etcdup.core.host.settings import ALLOWED_NAME
from etcdup.core.host.unit import UNIT_VARIABLE, unit_digest
from etcdup.core.observed.directory import DirSeen, FileSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import ADOPTED_TOKEN
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec


def with_waiting_hosts(spec: Spec, observed: Observed) -> Observed:
    """Return the observation in which waiting hosts have no difference to correct.

    Their files, directories, binaries and settings are those that cluster.yaml requires. Their data, marker and member
    are as observed.
    """
    pki = replace(observed.pki, with_peer_names=_has_peer_names(observed))
    observed = replace(observed, pki=pki)
    if not observed.adopted:
        return observed
    hosts = dict(observed.hosts)
    for host in spec.hosts:
        seen = hosts.get(host.name)
        if isinstance(seen, HostSeen) and seen.is_adopted and seen.is_marked(spec.name):
            hosts[host.name] = _without_differences(spec, host, seen, observed)
    return replace(observed, hosts=hosts)


def _has_peer_names(observed: Observed) -> bool:
    """Return whether all members have peer certificates of etcdup, so that members can require their common name.

    etcd checks the name on both sides of a connection: a member that requires it has no connection to one without it.
    If most members require it already, the word of one host does not change that. Otherwise a host that waits, or that
    cannot be reached and may wait, has another certificate.
    https://github.com/etcd-io/etcd/blob/v3.6.14/client/pkg/transport/listener.go
    """
    hosts = [
        seen
        for seen in observed.reachable().values()
        if seen.marker is not None and seen.marker.token.startswith(ADOPTED_TOKEN)
    ]
    if not hosts:
        return True
    requiring = sum(ALLOWED_NAME in seen.unit.environment for seen in hosts)
    return 2 * requiring > len(hosts) or not (observed.adopted or observed.unreachable())


def _without_differences(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> HostSeen:
    assert seen.marker is not None, "only hosts with a marker wait"
    layout, version = layout_of(spec, host), str(spec.version)
    files = {
        file.path: written_file(file)
        for file in desired_files(spec, host, layout, seen.marker.token, observed.pki)
    }
    if seen.is_taken:
        files = _with_own_certs(files, host, layout, seen, observed)
    return replace(
        seen,
        files=files,
        unit=_unit(spec, host, seen, observed, layout, files[layout.unit].text or ""),
        data=_owned(seen.data),
        wal=_owned(seen.wal) if seen.wal else None,
        other_units=(),
        versions=tuple(dict.fromkeys((*seen.versions, version))),
        current=version,
        etcd_user=True,
        is_unproved=seen.is_taken and seen.is_unproved,
        pki_change="",
        folders={},
        path_faults=(),
        drop_ins=(),
        manager_variables=(),
    )


def _with_own_certs(
    files: dict[str, FileSeen], host: HostSpec, layout: Layout, seen: HostSeen, observed: Observed
) -> dict[str, FileSeen]:
    """Return the files of a host that is taken over. Only the content of its certificates can differ."""
    found = dict(files)
    for path in (file.path for file in handshake_files(host, layout, observed.pki)):
        if (there := seen.files.get(path)) is None:
            del found[path]
        else:
            found[path] = replace(found[path], sha256=there.sha256)
    return found


def _unit(
    spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed, layout: Layout, text: str
) -> UnitSeen:
    """Return the unit. If the member answers, it runs: the unit that runs it may have another name."""
    assert seen.marker is not None, "only hosts with a marker wait"
    unit = replace(seen.unit, load="loaded", enabled="enabled", needs_reload=False)
    member = observed.members.get(host.name)
    if isinstance(member, MemberSeen):
        unit = replace(unit, active="active", sub="running", main_pid=unit.main_pid or 1)
    if not unit.is_running:
        return replace(unit, environment={})
    version = member.version if isinstance(member, MemberSeen) else spec.version
    required = desired_settings(spec, host, layout, seen.marker.token, observed.pki).variables()
    return replace(
        unit,
        exe=f"{layout.version_dir(str(version))}/etcd",
        environment={**required, UNIT_VARIABLE: unit_digest(text)},
    )


def _owned(directory: DirSeen) -> DirSeen:
    return replace(directory, owner="etcd:etcd", mode=0o700)
