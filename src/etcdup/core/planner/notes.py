"""Facts that an operator should know before confirming a plan, and that no step changes."""

from collections.abc import Collection, Iterator, Set
from dataclasses import replace

from etcdup.core.certs.generation import stale_pki_notes
from etcdup.core.certs.revocation import unrevoked_notes
from etcdup.core.host.files import desired_settings
from etcdup.core.host.folders import foreign_folder_notes
from etcdup.core.host.outside_settings import drop_in_notes, outside_notes
from etcdup.core.host.path_faults import lost_at_reboot_notes
from etcdup.core.host.settings import CLIENT_AUTH_VARIABLE
from etcdup.core.host.tool_links import foreign_tool_notes
from etcdup.core.members.bootstrap import forget_host_command
from etcdup.core.members.endpoints import endpoint_notes
from etcdup.core.members.member_list import entry_of, member_list, name_of
from etcdup.core.members.membership import MembershipChange, departed_hosts, is_replaced
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import RemoveMember
from etcdup.core.plan.plan import Plan, Refusal, fold_hosts
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.core.verdict.cause import Cause
from etcdup.core.verdict.verdict import judge
from etcdup.core.versions import upgrade_paths
from etcdup.core.versions.upgrade_paths import VersionHop
from etcdup.core.versions.version_steps import running_versions


def notes(
    spec: Spec, observed: Observed, change: MembershipChange | None = None, path: tuple[VersionHop, ...] = ()
) -> tuple[str, ...]:
    """Return the notes of a plan on the hosts, and on the membership change if there is one.

    The causes of the verdict come before them (`with_causes`).
    """
    return (
        *_cloned_machine_notes(observed),
        *_foreign_tool_notes(spec, observed),
        *_new_host_notes(spec, observed),
        *_outside_notes(spec, observed),
        *stale_pki_notes(observed),
        *_client_auth_notes(spec, observed),
        *(_membership_notes(spec, observed, change) if change else ()),
        *unrevoked_notes(spec, observed),
        *_hop_notes(running_versions(spec, observed), path, users=bool(observed.auth)),
    )


def _hop_notes(versions: Collection[Version], path: tuple[VersionHop, ...], *, users: bool) -> Iterator[str]:
    for hop in path:
        yield from upgrade_paths.hop_notes(hop, versions, users=users)
        versions = {hop.target}


def with_causes(answer: Plan | Refusal, spec: Spec, observed: Observed) -> Plan | Refusal:
    """Return the answer with the causes of the verdict as its first notes.

    A cause that the steps fix is left out, and so is one that is a reason of the refusal.
    """
    verdict = judge(spec, observed, with_files=False)
    if isinstance(answer, Refusal):
        reasons = fold_hosts(answer.reasons)
        said = {each.message for each in reasons}
        left = [each for each in verdict.causes if each.level == "wrong" or not each.by_apply]
        left = [each for each in left if not _is_said(each, said, observed)]
        return replace(answer, reasons=reasons, notes=(*(each.note for each in left), *answer.notes))
    left = [each for each in verdict.causes if answer.is_empty or not each.by_apply]
    return replace(
        answer,
        notes=(*(each.note for each in left), *answer.notes),
        unknown=tuple(name for name in observed.unreachable() if name not in observed.leaving),
        unsolved=tuple(dict.fromkeys(each.code for each in left if each.level == "wrong")),
    )


def _is_said(cause: Cause, said: Set[str], observed: Observed) -> bool:
    """Return whether the reasons of a refusal have this cause already. `said` are their messages."""
    if cause.code != "host-unreachable":
        return cause.what in said
    return all(any(gone.why in message for message in said) for gone in observed.unreachable().values())


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


def _new_host_notes(spec: Spec, observed: Observed) -> Iterator[str]:
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.marker is None:
            yield from foreign_folder_notes(seen, layout_of(spec, host))
            yield from lost_at_reboot_notes(seen)


def _outside_notes(spec: Spec, observed: Observed) -> Iterator[str]:
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.marker is None:
            yield from drop_in_notes(seen)
        elif seen is not None and seen.marker is not None:
            layout = layout_of(spec, host)
            settings = desired_settings(spec, host, layout, seen.marker.token, observed.pki)
            yield from outside_notes(seen, settings.variables())


def _client_auth_notes(spec: Spec, observed: Observed) -> Iterator[str]:
    """Yield who is cut off if clients without a certificate are connected until now."""
    if spec.tls.client_auth == "optional":
        return
    names = [
        name
        for name, seen in sorted(observed.reachable().items())
        if seen.unit.is_running and seen.unit.environment.get(CLIENT_AUTH_VARIABLE) == "false"
    ]
    if names:
        yield (
            f"{', '.join(names)} now serve clients without a certificate. After the restart they reject such clients: "
            "first give each client a certificate, with `etcdup certs issue NAME`"
        )


def _provided_notes(spec: Spec, change: MembershipChange) -> Iterator[str]:
    """Yield what only the operator can do, because etcdup has no key of a provided CA."""
    own = {host.name for host in spec.hosts}
    steps = (*change.removals, *change.turns)
    names = {step.host for step in steps if isinstance(step, RemoveMember)} - own
    if names:
        yield (
            f"members accept the certificates of {', '.join(sorted(names))} until they expire. If no other member uses "
            "them, your CA must put them on the lists of `tls.crl_file` and `tls.peer_crl_file`"
        )


def _membership_notes(spec: Spec, observed: Observed, change: MembershipChange) -> Iterator[str]:
    going = {step.host for step in (*change.removals, *change.turns) if isinstance(step, RemoveMember)}
    for name in sorted(going & observed.unreachable().keys()):
        yield (
            f"the host of {name} cannot be reached: etcd stops there by itself when it receives the removal, and its "
            "data and private keys stay on the host"
        )
    for name in departed_hosts(observed):
        if name in observed.unreachable():
            yield (
                f"{name} has left the cluster and cannot be reached, so its data is not archived, and its private keys "
                f"are not deleted. If the host is permanently lost, run `{forget_host_command(spec, name)}`"
            )
    members = member_list(observed)
    for host in spec.hosts:
        entry = entry_of(spec, host, members)
        replaced = entry is not None and is_replaced(observed.reachable().get(host.name), entry)
        if entry is not None and replaced and spec.peer_url(host) not in entry.peer_urls:
            where = f"the machine where {name_of(entry)} ran ({', '.join(entry.peer_urls)})"
            yield f"{where} is not changed. Its data and private keys stay there"
    yield from _provided_notes(spec, change) if spec.tls.mode == "provided" else ()
    yield from endpoint_notes(spec, observed)
