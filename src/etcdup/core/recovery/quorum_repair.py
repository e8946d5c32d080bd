"""What costs nothing when the quorum is lost, tried before anything is rebuilt (rule 68).

Where the data of a quorum is within reach nothing is lost: leaves that have expired are issued anew, room is made on a
full disk, and what is stopped is started. Nothing that runs is restarted, and no data is touched.
"""

from collections.abc import Mapping

from etcdup.core.certs.renewal import Renewing, against_leaves, leaf_steps, renewing
from etcdup.core.members.member_list import listed, name_of
from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.model import HostSeen, MemberSilent, Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import StartMember
from etcdup.core.planner.reconcile import is_stopped
from etcdup.core.recovery.disk_space import Room, free_space, full, is_enough, no_room
from etcdup.core.spec.model import Spec

Rooms = Mapping[str, Room]


def within_reach(spec: Spec, observed: Observed) -> dict[str, HostSeen]:
    """Voters whose data is within reach, where they are a quorum; else none."""
    names, there = _voters(spec, observed), {}
    for name, seen in sorted(observed.reachable().items()):
        if name in names and seen.has_member and seen.is_marked(spec.name):
            there[name] = seen
    return there if len(there) >= quorum_of(len(names)) else {}


def expired(spec: Spec, observed: Observed) -> Renewing:
    """What is to be issued anew: only what has come to its end."""
    if spec.tls.mode != "managed":
        return {}
    certs = observed.pki.certs
    return {
        role: why
        for role, why in renewing(spec, observed, None).items()
        if role in certs and certs[role].not_after <= observed.at
    }


def plan_revival(spec: Spec, observed: Observed, chosen: Renewing, rooms: Rooms) -> Plan | Refusal:
    """What is left to try. `chosen` and `rooms` were settled on a first look."""
    issuing: tuple[Step, ...] = ()
    installing: tuple[Step, ...] = ()
    if spec.tls.mode == "managed":
        if reasons := against_leaves(spec, observed):
            return Refusal(spec.name, reasons)
        issuing, installing = leaf_steps(spec, observed, chosen)
    own = {host.name for host in spec.hosts}
    there = {name: seen for name, seen in within_reach(spec, observed).items() if name in own}
    freeing = [free_space(seen, rooms[name]) for name, seen in there.items() if _to_free(name, seen, rooms)]
    starting = [
        StartMember(host=name, reason="its data is there and etcd does not run", rules=(68,))
        for name, seen in there.items()
        if is_stopped(observed, name) and is_enough(seen, rooms.get(name))
    ]
    return Plan(spec.name, (*issuing, *freeing, *installing, *starting), _notes(spec, observed, rooms))


def nothing_lost(spec: Spec, observed: Observed, rooms: Rooms | None = None) -> tuple[Refused, ...]:
    """The data of a quorum is within reach: nothing has to be rebuilt, and what is still in the way is for a person."""
    there = within_reach(spec, observed)
    if not there:
        return ()
    remedies = dict.fromkeys(_remedy(seen, observed, rooms or {}) for seen in there.values())
    return (
        Refused(
            f"nothing is lost: {', '.join(there)} can be reached and have their data, which is a quorum of "
            f"{len(_voters(spec, observed))} voters",
            hint="\n".join(filter(None, remedies))
            or "the members do not find each other: look at the network between them, `etcdup check` does",
            rules=(62, 68),
        ),
    )


def _voters(spec: Spec, observed: Observed) -> set[str]:
    """By the member list, or by cluster.yaml where nobody has told one."""
    names = {name_of(each) for each in listed(observed) if not each.is_learner}
    return names or {host.name for host in spec.hosts}


def _to_free(name: str, seen: HostSeen, rooms: Rooms) -> bool:
    return full(seen) is not None and name in rooms and is_enough(seen, rooms[name])


def _notes(spec: Spec, observed: Observed, rooms: Rooms) -> tuple[str, ...]:
    there = within_reach(spec, observed)
    crowded = [
        no_room(seen, rooms.get(name)) for name, seen in there.items() if not is_enough(seen, rooms.get(name))
    ]
    return (
        f"nothing is lost: {', '.join(there)} have their data, a quorum of {len(_voters(spec, observed))} voters. "
        "What costs nothing is tried first; nothing is rebuilt",
        *crowded,
    )


def _remedy(seen: HostSeen, observed: Observed, rooms: Rooms) -> str:
    """What is to be done about one host; empty where nothing is wrong with it."""
    name = seen.host
    if _has_expired(name, observed):
        return "certificates have expired: `etcdup certs renew`"
    if full(seen) is not None:
        return no_room(seen, rooms.get(name))
    if not seen.unit.is_running:
        return "`etcdup apply` starts what is stopped"
    silent = observed.members.get(name)
    if not isinstance(silent, MemberSilent):
        return ""
    return f"{name} runs and does not answer ({silent.why}): `journalctl -u etcd` there says more"


def _has_expired(name: str, observed: Observed) -> bool:
    certs = (observed.pki.certs.get(f"{role}/{name}") for role in ("server", "peer"))
    return any(cert is not None and cert.not_after <= observed.at for cert in certs)
