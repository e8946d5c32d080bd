"""Quorum repair: what `recover` tries first, because it loses no data (rule 68).

If the data of a quorum can be reached, nothing is lost. Expired leaf certificates are issued again, space is freed on
full disks, and stopped members are started. No running member is restarted, and no data is changed.
"""

from collections.abc import Mapping

from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.issue import refuse_untimely
from etcdup.core.certs.renewal import CertsToRenew, certs_to_renew, leaf_steps, refuse_leaf_issue
from etcdup.core.certs.validity import is_valid, untimely_roles, validity_hint
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import quorum_of, start_step
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import full_directory, is_stopped
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.recovery.disk_space import (
    DiskSpace,
    can_free_enough,
    free_space_step,
    full_disk_remedy,
)
from etcdup.core.spec.model import Spec

DiskSpaces = Mapping[str, DiskSpace]


def reachable_quorum(spec: Spec, observed: Observed) -> dict[str, HostSeen]:
    """Return the voters whose data can be reached, if they are a quorum; otherwise nothing."""
    names, quorum = _voter_names(spec, observed), {}
    for name, seen in sorted(observed.reachable().items()):
        if name in names and seen.has_member and seen.is_marked(spec.name):
            quorum[name] = seen
    return quorum if len(quorum) >= quorum_of(len(names)) else {}


def expired_certs(spec: Spec, observed: Observed) -> CertsToRenew:
    """Return the certificates that must be issued again: only those that have expired or are not valid yet."""
    if spec.tls.mode != "managed":
        return {}
    certs = observed.pki.certs
    return {
        role: why
        for role, why in certs_to_renew(spec, observed, None).items()
        if role in certs and not is_valid(certs[role], observed)
    }


def plan_quorum_repair(
    spec: Spec, observed: Observed, expired: CertsToRenew, spaces: DiskSpaces
) -> Plan | Refusal:
    """Return the steps that are left to try. `expired` and `spaces` are from the first observation."""
    if stale := refuse_stale_pki(spec, observed):
        return Refusal(spec.name, stale)
    issuing: tuple[Step, ...] = ()
    installing: tuple[Step, ...] = ()
    if spec.tls.mode == "managed":
        if reasons := refuse_leaf_issue(spec, observed):
            return Refusal(spec.name, reasons)
        issuing, installing = leaf_steps(spec, observed, expired)
        if reasons := refuse_untimely((*issuing, *installing), spec, observed):
            return Refusal(spec.name, reasons)
    own = {host.name for host in spec.hosts}
    quorum = {name: seen for name, seen in reachable_quorum(spec, observed).items() if name in own}
    freeing = [
        free_space_step(seen, spaces[name]) for name, seen in quorum.items() if _can_free(name, seen, spaces)
    ]
    starting = [
        start_step(name, observed)
        for name, seen in quorum.items()
        if is_stopped(observed, name) and can_free_enough(seen, spaces.get(name))
    ]
    repair = Plan(spec.name, (*issuing, *freeing, *installing, *starting), _notes(spec, observed, spaces))
    return only_on_ready_hosts(repair, spec, observed)


def refuse_rebuild(spec: Spec, observed: Observed, spaces: DiskSpaces | None = None) -> tuple[Refused, ...]:
    """Refuse to rebuild the cluster while the data of a quorum can be reached.

    The hint says what an operator has to do about the problems that are left.
    """
    quorum = reachable_quorum(spec, observed)
    if not quorum:
        return ()
    remedies = dict.fromkeys(_remedy(spec, seen, observed, spaces or {}) for seen in quorum.values())
    return (
        Refused(
            f"nothing is lost: {', '.join(quorum)} can be reached and have their data. They are a quorum of "
            f"{len(_voter_names(spec, observed))} voters, so the cluster is not rebuilt",
            hint="\n".join(filter(None, remedies))
            or "run `etcdup check`: the members run and do not reach each other, and this command tests their network",
            rules=(62, 68),
        ),
    )


def _voter_names(spec: Spec, observed: Observed) -> set[str]:
    """Return the voters of the member list, or the hosts of cluster.yaml if no member reported a list."""
    names = {name_of(each) for each in member_list(observed) if not each.is_learner}
    return names or {host.name for host in spec.hosts}


def _can_free(name: str, seen: HostSeen, spaces: DiskSpaces) -> bool:
    return full_directory(seen) is not None and name in spaces and can_free_enough(seen, spaces[name])


def _notes(spec: Spec, observed: Observed, spaces: DiskSpaces) -> tuple[str, ...]:
    quorum = reachable_quorum(spec, observed)
    full_disks = [
        full_disk_remedy(seen, spaces.get(name))
        for name, seen in quorum.items()
        if not can_free_enough(seen, spaces.get(name))
    ]
    return (
        f"nothing is lost: {', '.join(quorum)} have their data. They are a quorum of "
        f"{len(_voter_names(spec, observed))} voters",
        "this plan loses no data and does not rebuild the cluster",
        *full_disks,
    )


def _remedy(spec: Spec, seen: HostSeen, observed: Observed, spaces: DiskSpaces) -> str:
    """Return what an operator has to do about one host; empty if nothing is wrong with it."""
    name = seen.host
    if untimely_roles(name, observed):
        return f"{validity_hint(spec)}: certificates have expired or are not valid yet"
    if full_directory(seen) is not None:
        return full_disk_remedy(seen, spaces.get(name))
    if not seen.unit.is_running:
        return "run `etcdup apply` to start the stopped members"
    silent = observed.members.get(name)
    if not isinstance(silent, MemberSilent):
        return ""
    return f"run `journalctl -u etcd` on {name} to see why its etcd runs and does not answer ({silent.why})"
