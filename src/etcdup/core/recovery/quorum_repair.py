"""What costs nothing when the quorum is lost, tried before anything is rebuilt (rule 68).

Where the data of a quorum is within reach nothing is lost: leaves that have expired are issued anew, room is made on a
full disk, and what is stopped is started. Nothing that runs is restarted, and no data is touched.
"""

from collections.abc import Mapping

from etcdup.core.certs.renewal import CertsToRenew, certs_to_renew, leaf_steps, refuse_leaf_issue
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.model import HostSeen, MemberSilent, Observed
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import StartMember
from etcdup.core.recovery.disk_space import (
    DiskSpace,
    can_free_enough,
    free_space_step,
    full_directory,
    full_disk_remedy,
)
from etcdup.core.spec.model import Spec

DiskSpaces = Mapping[str, DiskSpace]


def reachable_quorum(spec: Spec, observed: Observed) -> dict[str, HostSeen]:
    """Voters whose data is within reach, where they are a quorum; else none."""
    names, there = _voter_names(spec, observed), {}
    for name, seen in sorted(observed.reachable().items()):
        if name in names and seen.has_member and seen.is_marked(spec.name):
            there[name] = seen
    return there if len(there) >= quorum_of(len(names)) else {}


def expired_certs(spec: Spec, observed: Observed) -> CertsToRenew:
    """What is to be issued anew: only what has come to its end."""
    if spec.tls.mode != "managed":
        return {}
    certs = observed.pki.certs
    return {
        role: why
        for role, why in certs_to_renew(spec, observed, None).items()
        if role in certs and certs[role].not_after <= observed.at
    }


def plan_quorum_repair(
    spec: Spec, observed: Observed, chosen: CertsToRenew, rooms: DiskSpaces
) -> Plan | Refusal:
    """What is left to try. `chosen` and `rooms` were settled on a first look."""
    issuing: tuple[Step, ...] = ()
    installing: tuple[Step, ...] = ()
    if spec.tls.mode == "managed":
        if reasons := refuse_leaf_issue(spec, observed):
            return Refusal(spec.name, reasons)
        issuing, installing = leaf_steps(spec, observed, chosen)
    own = {host.name for host in spec.hosts}
    there = {name: seen for name, seen in reachable_quorum(spec, observed).items() if name in own}
    freeing = [
        free_space_step(seen, rooms[name]) for name, seen in there.items() if _can_free(name, seen, rooms)
    ]
    starting = [
        StartMember(host=name, reason="its data is there and etcd does not run", rules=(68,))
        for name, seen in there.items()
        if is_stopped(observed, name) and can_free_enough(seen, rooms.get(name))
    ]
    return Plan(spec.name, (*issuing, *freeing, *installing, *starting), _notes(spec, observed, rooms))


def refuse_rebuild(spec: Spec, observed: Observed, rooms: DiskSpaces | None = None) -> tuple[Refused, ...]:
    """The data of a quorum is within reach: nothing has to be rebuilt, and what is still in the way is for a person."""
    there = reachable_quorum(spec, observed)
    if not there:
        return ()
    remedies = dict.fromkeys(_remedy(seen, observed, rooms or {}) for seen in there.values())
    return (
        Refused(
            f"nothing is lost: {', '.join(there)} can be reached and have their data, which is a quorum of "
            f"{len(_voter_names(spec, observed))} voters",
            hint="\n".join(filter(None, remedies))
            or "the members do not find each other: look at the network between them, `etcdup check` does",
            rules=(62, 68),
        ),
    )


def _voter_names(spec: Spec, observed: Observed) -> set[str]:
    """By the member list, or by cluster.yaml where nobody has told one."""
    names = {name_of(each) for each in member_list(observed) if not each.is_learner}
    return names or {host.name for host in spec.hosts}


def _can_free(name: str, seen: HostSeen, rooms: DiskSpaces) -> bool:
    return full_directory(seen) is not None and name in rooms and can_free_enough(seen, rooms[name])


def _notes(spec: Spec, observed: Observed, rooms: DiskSpaces) -> tuple[str, ...]:
    there = reachable_quorum(spec, observed)
    crowded = [
        full_disk_remedy(seen, rooms.get(name))
        for name, seen in there.items()
        if not can_free_enough(seen, rooms.get(name))
    ]
    return (
        f"nothing is lost: {', '.join(there)} have their data, a quorum of {len(_voter_names(spec, observed))} voters. "
        "What costs nothing is tried first; nothing is rebuilt",
        *crowded,
    )


def _remedy(seen: HostSeen, observed: Observed, rooms: DiskSpaces) -> str:
    """What is to be done about one host; empty where nothing is wrong with it."""
    name = seen.host
    if _has_expired(name, observed):
        return "certificates have expired: `etcdup certs renew`"
    if full_directory(seen) is not None:
        return full_disk_remedy(seen, rooms.get(name))
    if not seen.unit.is_running:
        return "`etcdup apply` starts what is stopped"
    silent = observed.members.get(name)
    if not isinstance(silent, MemberSilent):
        return ""
    return f"{name} runs and does not answer ({silent.why}): `journalctl -u etcd` there says more"


def _has_expired(name: str, observed: Observed) -> bool:
    certs = (observed.pki.certs.get(f"{role}/{name}") for role in ("server", "peer"))
    return any(cert is not None and cert.not_after <= observed.at for cert in certs)
