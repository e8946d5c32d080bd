"""The quorum, and the guards that use it: each returns the reasons against the step.

Only healthy members count. etcd counts a dead member that started once as started (rules 27, 34).
"""

from etcdup.core.etcd.alarms import CORRUPT
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import StartMember
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

CORRUPT_HINT = (
    "run `etcdup maintain verify`, which compares the data of all members. If one member differs from a majority, run "
    "`etcdup maintain repair NAME` with its name: it saves the data of this majority, replaces the member and disarms "
    "the alarm. If all data is the same, use the name of any member: it is not replaced, and the command only disarms "
    "the alarm. Only if no majority has the same data, run `etcdup restore BACKUP`, with a backup from before the "
    "alarm: all writes since then are lost"
)


def quorum_of(voters: int) -> int:
    """Return the number of voters that must be alive, so that the cluster accepts writes."""
    return voters // 2 + 1


def voter_count(observed: Observed) -> int:
    """Return the number of voters in the newest member list; 0 if no member answered."""
    return sum(not member.is_learner for member in member_list(observed))


def healthy(observed: Observed) -> dict[str, MemberSeen]:
    """Return the healthy voters: they answer, have a leader and no error, and all report the same cluster ID.

    A renamed or moved host can answer under two names. Its member has one vote, so only one name is returned: the one
    of the member list if it is observed.
    """
    answering = observed.answering()
    clusters = {seen.cluster_id for seen in answering.values()}
    if len(clusters) > 1:
        return {}
    voting = {member.member_id: name_of(member) for member in member_list(observed) if not member.is_learner}
    found = {
        name: seen
        for name, seen in answering.items()
        if seen.member_id in voting and seen.leader_id and not seen.errors and not seen.is_learner
    }
    names: dict[int, str] = {}
    for name, seen in found.items():
        known = names.setdefault(seen.member_id, name)
        names[seen.member_id] = name if name == voting[seen.member_id] else known
    return {name: seen for name, seen in found.items() if names[seen.member_id] == name}


def unhealthy(observed: Observed) -> tuple[str, ...]:
    """Return the sorted names of the voters that are not healthy."""
    healthy_ids = {seen.member_id for seen in healthy(observed).values()}
    voting = (member for member in member_list(observed) if not member.is_learner)
    return tuple(sorted(name_of(member) for member in voting if member.member_id not in healthy_ids))


def is_electing(observed: Observed) -> bool:
    """Return whether an election is in progress: a quorum answers, no member leads, and not all report a leader.

    Fewer voters than a quorum cannot elect a leader. A member can still report a leader that is dead.
    """
    answering = [seen for seen in observed.answering().values() if not seen.is_learner]
    leads = any(seen.leader_id == seen.member_id for seen in answering)
    all_follow = all(seen.leader_id for seen in answering)
    return not leads and not all_follow and len(answering) >= quorum_of(voter_count(observed))


def starting_members(observed: Observed) -> tuple[str, ...]:
    """Return the members that systemd is starting while the healthy members are a quorum. They will answer soon."""
    if len(healthy(observed)) < quorum_of(voter_count(observed)):
        return ()
    answering = observed.answering()
    return tuple(
        name
        for name, seen in sorted(observed.reachable().items())
        if seen.unit.is_starting and name in observed.members and name not in answering
    )


def describe_quorum(voting: int, alive: int) -> str:
    """Return `3 voters, 3 healthy, quorum 2, can lose 1`."""
    return describe_quorum_change((voting, alive), (voting, alive))


def describe_quorum_change(before: tuple[int, int], after: tuple[int, int]) -> str:
    """Return `3 -> 4 voters, 3 -> 4 healthy, quorum 2 -> 3, can lose 1`. Arguments are (voters, healthy voters)."""
    now, then = _figures(*before), _figures(*after)
    shown = [f"{a}" if a == b else f"{a} -> {b}" for a, b in zip(now, then, strict=True)]
    word = "voter" if before[0] == after[0] == 1 else "voters"
    return "{} {word}, {} healthy, quorum {}, can lose {}".format(*shown, word=word)


def _figures(voting: int, alive: int) -> tuple[int, int, int, int]:
    return voting, alive, quorum_of(voting), can_lose(voting, alive)


def can_lose(voting: int, alive: int) -> int:
    """Return how many healthy voters can fail before the quorum is lost."""
    return max(alive - quorum_of(voting), 0)


def refuse_start(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the start of a stopped member if its data and its marker are on the host. A start removes nothing."""
    host = observed.reachable().get(name)
    if host is None:
        return (_unreachable(name),)
    if not host.has_member:
        return refuse_lost_data(host)
    if not host.is_marked(spec.name):
        return (
            Refused(
                f"{name} cannot be started: the host has no marker of this member for the data in {host.data.path}",
                host=name,
                rules=(6,),
            ),
        )
    return ()


def start_step(name: str, observed: Observed, rules: tuple[int, ...] = (68,)) -> StartMember:
    """Return the step that starts a stopped member whose data is on the host."""
    host, member = observed.reachable().get(name), observed.members[name]
    reason = "etcd does not run, and the member's data is on the host"
    if host is not None and host.unit.is_coming_up and isinstance(member, MemberSilent):
        reason = member.why
    return StartMember(host=name, reason=reason, rules=rules)


def refuse_restart(name: str, observed: Observed) -> tuple[Refused, ...]:
    """Allow the restart of a running member if the others keep a quorum without it (rules 34, 38)."""
    host = observed.reachable().get(name)
    if host is None:
        return (_unreachable(name),)
    if not host.has_member:
        return refuse_lost_data(host)
    voting, alive = voter_count(observed), healthy(observed)
    if name in alive and voting == 1:
        return ()
    if voting == 0:
        return refuse_unanswered(name)
    left = len(alive) - (name in alive)
    if left < quorum_of(voting) and alive:
        return (
            Refused(
                f"stopping {name} would lose the quorum: {left} of {voting} members would be healthy, "
                f"{quorum_of(voting)} are needed",
                hint=f"bring {_unhealthy_others(name, observed)} back first. `etcdup status` shows the fault of each",
                host=name,
                rules=(34, 38),
            ),
        )
    return refuse_corrupt_alarm(observed)


def refuse_corrupt_alarm(observed: Observed) -> tuple[Refused, ...]:
    """Refuse every change during a CORRUPT alarm: the data of one member differs, and it is unknown which (rule 82).

    `maintain repair` has compared the data before, so its run is not refused.
    """
    alarms = {alarm for seen in observed.answering().values() for alarm in seen.alarms}
    if any(CORRUPT in alarm for alarm in alarms) and not observed.repaired:
        return (
            Refused(
                "the cluster has a CORRUPT alarm: the data of the members differs, and the alarm does not prove which "
                "member is wrong",
                hint=CORRUPT_HINT,
                rules=(82,),
            ),
        )
    return ()


def refuse_unanswered(name: str) -> tuple[Refused, ...]:
    """Refuse a restart while no member reports the member list."""
    return (
        Refused(
            f"{name} cannot be restarted: no member reports the member list, so it is unknown whether the others are a "
            "quorum",
            hint="run `etcdup status`, which shows why each member does not respond, and bring members back first",
            host=name,
            rules=(34, 38),
        ),
    )


def _unreachable(name: str) -> Refused:
    return Refused(
        f"{name} cannot be reached", hint=f"make {name} reachable, then run the same command again", host=name
    )


def _unhealthy_others(name: str, observed: Observed) -> str:
    """Return the names of the other members that are not healthy, or `the other members`."""
    return ", ".join(each for each in unhealthy(observed) if each != name) or "the other members"


def refuse_lost_data(host: HostSeen) -> tuple[Refused, ...]:
    """Refuse to start a member without data: a wiped member is replaced, never started with its old ID.

    A data directory whose disk is not mounted is reported as that, not as lost data.
    """
    if unmounted := refuse_unmounted(host):
        return unmounted
    mount = f"mount the disk of {host.host} if it is not mounted"
    replace = f"run `etcdup member replace {host.host}`"
    if host.is_adopted:
        mount, replace = f"{mount}, and start etcd with its own unit", replace_waiting_hint(host.host)
    return (
        Refused(
            f"{host.host}: {host.data.path} contains no member, but {host.host} is a member of this cluster",
            hint=f"{mount}. If the data is lost, {replace}",
            host=host.host,
            rules=(32, 89),
        ),
    )


def replace_waiting_hint(name: str) -> str:
    """Return how to replace the member of a host that waits for its take-over.

    Its old unit would start an empty member. Only the operator knows this unit, and what else starts it.
    """
    return (
        f"let the tool that made the member of {name} replace it. Or stop and disable its unit on {name}, move the "
        "file of the unit and /etc/etcd/etcdup.json there to another directory, and run `etcdup member replace "
        f"{name}`: the new member has the unit of etcdup"
    )


def refuse_unmounted(host: HostSeen) -> tuple[Refused, ...]:
    """Refuse if the data directory was a mount point when the member was proved healthy, and is none now."""
    if host.marker is None or not host.marker.mount or host.data.mount:
        return ()
    then = "start etcd with its own unit" if host.is_adopted else "run `etcdup apply`"
    return (
        Refused(
            f"{host.host}: {host.data.path} was a mount point, and no disk is mounted there now",
            hint=f"mount the disk on {host.host}, then {then}. `findmnt {host.data.path}` and `lsblk` show "
            f"the mounts and disks. If the disk is dead, mount a new empty disk at {host.data.path}, then run `etcdup "
            f"member replace {host.host}`",
            host=host.host,
            rules=(32, 89),
        ),
    )
