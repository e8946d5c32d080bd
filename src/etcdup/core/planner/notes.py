"""Facts that an operator should know before confirming a plan, and that no step changes."""

from collections.abc import Collection, Iterator

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca, rotation_stage
from etcdup.core.certs.generation import stale_pki_notes
from etcdup.core.host.tool_links import foreign_tool_notes
from etcdup.core.members.endpoints import endpoint_notes
from etcdup.core.members.limits import limit_notes
from etcdup.core.members.member_list import entry_of, member_list, name_of
from etcdup.core.members.membership import MembershipChange, departed_hosts, is_replaced
from etcdup.core.observed.model import MemberSeen, MemberSilent, Observed
from etcdup.core.plan.steps import RemoveMember
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.core.versions import upgrade_paths
from etcdup.core.versions.upgrade_paths import VersionHop
from etcdup.core.versions.version_steps import running_versions


def notes(
    spec: Spec, observed: Observed, change: MembershipChange | None = None, path: tuple[VersionHop, ...] = ()
) -> tuple[str, ...]:
    """Return the notes of a plan: about the observed state, and about the membership change if there is one."""
    return (
        *_unreachable_notes(observed),
        *_unhealthy_notes(observed),
        *(f"{name} reports another member list than the other members" for name in observed.dissenting),
        *limit_notes(spec, observed),
        *_cloned_machine_notes(observed),
        *_foreign_tool_notes(spec, observed),
        *_ca_rotation_notes(spec, observed),
        *stale_pki_notes(observed),
        *(_membership_notes(spec, observed, change) if change else ()),
        *_hop_notes(running_versions(spec, observed), path),
    )


def _hop_notes(versions: Collection[Version], path: tuple[VersionHop, ...]) -> Iterator[str]:
    for hop in path:
        yield from upgrade_paths.hop_notes(hop, versions)
        versions = {hop.target}


def _unreachable_notes(observed: Observed) -> Iterator[str]:
    for gone in observed.unreachable().values():
        if gone.host not in observed.leaving:
            yield f"{gone.host} cannot be reached and is not changed: {gone.why}"


def _unhealthy_notes(observed: Observed) -> Iterator[str]:
    for name, seen in observed.members.items():
        host = observed.reachable().get(name)
        if isinstance(seen, MemberSilent) and host is not None and host.unit.is_running:
            yield f"{name} runs but does not answer: {seen.why}"
        elif isinstance(seen, MemberSilent) and host is not None and host.unit.is_starting:
            yield f"{name}: {seen.why}"
        if isinstance(seen, MemberSeen):
            yield from (f"{name} reports {error}" for error in seen.errors)


def _ca_rotation_notes(spec: Spec, observed: Observed) -> Iterator[str]:
    """Yield the state of a CA rotation. Apply keeps its phase; only `certs rotate-ca` starts the next phase."""
    phase = rotation_stage(observed.pki)
    if phase is not None:
        signs = "the old CA" if phase == "trust" else "the new CA"
        yield (
            f"a CA rotation is in progress (members trust the old and the new CA, {signs} signs): "
            "`etcdup certs rotate-ca` continues it"
        )
    if names := hosts_dropping_old_ca(spec, observed):
        yield f"the members drop the old CA; {', '.join(names)} still trust it. `etcdup apply` continues"


def _cloned_machine_notes(observed: Observed) -> Iterator[str]:
    """Yield hosts with the same machine-id: cloned machines may also share other identities (rule 96)."""
    hosts_by_id: dict[str, list[str]] = {}
    for name, host in observed.reachable().items():
        if host.systemd:
            hosts_by_id.setdefault(host.machine_id, []).append(name)
    yield from (
        f"{' and '.join(names)} have the same machine-id" for names in hosts_by_id.values() if len(names) > 1
    )


def _foreign_tool_notes(spec: Spec, observed: Observed) -> Iterator[str]:
    for host in spec.hosts:
        if (seen := observed.reachable().get(host.name)) is not None:
            yield from foreign_tool_notes(seen, layout_of(spec, host))


def _membership_notes(spec: Spec, observed: Observed, change: MembershipChange) -> Iterator[str]:
    going = {step.host for step in (*change.removals, *change.turns) if isinstance(step, RemoveMember)}
    for name in sorted(going & observed.unreachable().keys()):
        yield (
            f"the host of {name} cannot be reached: etcd stops there by itself when it receives the removal, and its "
            "data stays on the host"
        )
    for name in departed_hosts(observed):
        if name in observed.unreachable():
            where = f"{spec.tls.dir}/members/{name.partition('@')[0]}"
            yield (
                f"{name} has left the cluster and cannot be reached, so its data is not archived. If the host is "
                f"permanently lost, move {where} to another directory"
            )
    members = member_list(observed)
    for host in spec.hosts:
        entry = entry_of(spec, host, members)
        replaced = entry is not None and is_replaced(observed.reachable().get(host.name), entry)
        if entry is not None and replaced and spec.peer_url(host) not in entry.peer_urls:
            yield f"the machine where {name_of(entry)} ran ({', '.join(entry.peer_urls)}) is not changed"
    yield from endpoint_notes(spec, observed)
