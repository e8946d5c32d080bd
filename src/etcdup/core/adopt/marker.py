"""The marker of an adopted host: the only file that an adoption writes on a host, and that a release removes."""

import json
from collections.abc import Iterator
from hashlib import sha256

from etcdup.core.host.actions import HostAction, RunCommand, WriteFiles
from etcdup.core.host.known_endpoints import served_endpoints
from etcdup.core.host.marker import marker_file
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import ADOPTED_TOKEN, Marker
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import AdoptHost, ReleaseHost
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec

# Keys of a host that its member does not have: etcdup can change them at any time.
_NOT_OF_MEMBER = {"name", "member", "ssh_address", "zone", "local", "root"}
# The directory is removed with the marker if it is empty then. One script does both, so a kill leaves no directory.
REMOVE_MARKER = r"""
rm -f -- "$1" && { rmdir -- "${1%/*}" 2>/dev/null || true; }
"""


def token_of(cluster_id: int) -> str:
    """Return the token of an adopted cluster. etcd reads its own token only at its first start."""
    return f"{ADOPTED_TOKEN}{cluster_id:x}"


def settings_digest(spec: Spec, host: HostSpec) -> str:
    """Return the digest of what cluster.yaml says about the process of a member.

    Values that are the default are left out, so a later etcdup with more keys computes the same digest.
    """
    values = {
        "etcd": spec.etcd.model_dump(exclude_defaults=True),
        "host": host.model_dump(exclude_defaults=True, exclude=_NOT_OF_MEMBER),
        "client_auth": spec.tls.client_auth,
    }
    return sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def adoption_marker(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed, token: str) -> Marker:
    """Return the marker of a host that waits for its take-over."""
    return Marker(
        spec.name,
        host.name,
        token,
        layout_of(spec, host).data_dir,
        formed=True,
        mount=seen.data.mount,
        endpoints=tuple(sorted(served_endpoints(observed))),
        etcd_name=host.member_name,
        adopted="waiting",
        settings=settings_digest(spec, host),
    )


def marker_commands(
    step: AdoptHost | ReleaseHost, spec: Spec, host: HostSpec, observed: Observed, token: str
) -> Iterator[HostAction]:
    """Yield the actions that write or remove the marker."""
    layout, seen = layout_of(spec, host), observed.reachable()[step.host]
    if isinstance(step, ReleaseHost):
        yield RunCommand(remove_marker_argv(layout), "removing the marker")
        return
    yield RunCommand(("mkdir", "-p", layout.etc), "writing the marker")
    marker = adoption_marker(spec, host, seen, observed, token)
    yield WriteFiles((marker_file(layout, marker),), "writing the marker")


def remove_marker_argv(layout: Layout) -> tuple[str, ...]:
    return ("sh", "-c", REMOVE_MARKER, "remove-marker", layout.marker)


def refuse_changed_settings(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a plan while cluster.yaml has other settings or another version than members that wait.

    etcdup does not restart them before the take-over, and two members with different settings would be the result.
    """
    found: list[Refused] = []
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.is_adopted and seen.is_marked(spec.name):
            found += _refuse_changed(spec, host, seen, observed)
    return tuple(found)


def _refuse_changed(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterator[Refused]:
    assert seen.marker is not None, "the caller takes only hosts with a marker"
    member = observed.answering().get(host.name)
    take_over = "run `etcdup adopt --take-over` first, then change it"
    if member is not None and member.version != spec.version:
        message = f"{host.name} runs etcd {member.version} and waits for its take-over; cluster.yaml has {spec.version}"
        yield Refused(message, f"write `version: {member.version}` back, or {take_over}", host.name)
    if seen.marker.settings != settings_digest(spec, host):
        message = (
            f"{host.name} waits for its take-over, and cluster.yaml has other settings than at its adoption"
        )
        yield Refused(message, f"write the previous settings back, or {take_over}", host.name)
