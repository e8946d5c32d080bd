"""The observation as it will be after steps of a plan, so that later steps of the same plan can be planned."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from etcdup.core.host.drift import written_file
from etcdup.core.host.files import desired_files, desired_settings
from etcdup.core.host.unit import UNIT_VARIABLE, unit_digest
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec


def with_started_hosts(specs: Mapping[str, Spec], observed: Observed, token: str) -> Observed:
    """Return the observation as it will be when each of these hosts has the files and the binary of its Spec."""
    hosts = dict(observed.hosts)
    for name, spec in specs.items():
        hosts[name] = _host_after(spec, spec.host(name), observed.reachable()[name], observed, token)
    return replace(observed, hosts=hosts)


def with_joined_hosts(names: Iterable[str], spec: Spec, observed: Observed, token: str) -> Observed:
    """Return the observation as it will be when new members of this Spec have started on these hosts."""
    after = with_started_hosts(dict.fromkeys(names, spec), observed, token)
    joined = {name: _with_data(after.reachable()[name]) for name in names}
    return replace(after, hosts={**after.hosts, **joined})


def _with_data(seen: HostSeen) -> HostSeen:
    return replace(
        seen, data=replace(seen.data, has_wal=True), wal=seen.wal and replace(seen.wal, has_wal=True)
    )


def observed_after_hop(spec: Spec, observed: Observed, token: str) -> Observed:
    """Return the observation as it will be when every member has made this hop."""
    hosts = dict(observed.hosts)
    for host in spec.hosts:
        seen = hosts[host.name]
        if isinstance(seen, HostSeen):
            hosts[host.name] = _host_after(spec, host, seen, observed, token)
    members = {
        name: replace(seen, version=spec.version, downgrade_to="") if isinstance(seen, MemberSeen) else seen
        for name, seen in observed.members.items()
    }
    return replace(observed, hosts=hosts, members=members)


def _host_after(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed, token: str) -> HostSeen:
    layout = layout_of(spec, host)
    version = str(spec.version)
    desired = desired_files(spec, host, layout, token, observed.pki)
    files = {file.path: written_file(file) for file in desired}
    unit_text = files[layout.unit].text or ""
    environment = desired_settings(spec, host, layout, token, observed.pki).variables()
    unit = replace(
        seen.unit,
        exe=f"{layout.version_dir(version)}/etcd",
        environment={**environment, UNIT_VARIABLE: unit_digest(unit_text)},
        enabled="enabled",
        needs_reload=False,
    )
    versions = tuple(dict.fromkeys((*seen.versions, version)))
    return replace(seen, files=files, unit=unit, versions=versions, current=version)
