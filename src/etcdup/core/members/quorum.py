"""Quorum arithmetic and the guards built on it: each answers why not, or None.

Healthy members are counted, not started ones: etcd itself counts a dead member as started (rules 27, 34).
"""

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.observed.model import HostSeen, MemberSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.steps import StartMember
from etcdup.core.spec.model import Spec


def quorum_of(voters: int) -> int:
    """How many voters must live for the cluster to accept writes."""
    return voters // 2 + 1


def voter_count(observed: Observed) -> int:
    """Voters by the newest member list that was seen; 0 where no member answered."""
    return sum(not member.is_learner for member in member_list(observed))


def healthy(observed: Observed) -> dict[str, MemberSeen]:
    """Voters of the member list that answer, follow a leader, report no error, and agree on the cluster."""
    answering = observed.answering()
    clusters = {seen.cluster_id for seen in answering.values()}
    if len(clusters) > 1:
        return {}
    voting = {member.member_id for member in member_list(observed) if not member.is_learner}
    return {
        name: seen
        for name, seen in answering.items()
        if seen.member_id in voting and seen.leader_id and not seen.errors and not seen.is_learner
    }


def unhealthy(observed: Observed) -> tuple[str, ...]:
    """Names of the voters that are not healthy, sorted."""
    well = {seen.member_id for seen in healthy(observed).values()}
    voting = (member for member in member_list(observed) if not member.is_learner)
    return tuple(sorted(name_of(member) for member in voting if member.member_id not in well))


def is_electing(observed: Observed) -> bool:
    """A quorum of voters answers, none of them leads, and not all follow a leader: soon one of them leads.

    Fewer cannot elect; those that still follow a leader who has died have only not noticed yet.
    """
    answering = [seen for seen in observed.answering().values() if not seen.is_learner]
    leads = any(seen.leader_id == seen.member_id for seen in answering)
    all_follow = all(seen.leader_id for seen in answering)
    return not leads and not all_follow and len(answering) >= quorum_of(voter_count(observed))


def starting_members(observed: Observed) -> tuple[str, ...]:
    """Members that systemd is starting, where the others are a quorum that they find: soon they answer."""
    if len(healthy(observed)) < quorum_of(voter_count(observed)):
        return ()
    answering = observed.answering()
    return tuple(
        name
        for name, seen in sorted(observed.reachable().items())
        if seen.unit.is_starting and name in observed.members and name not in answering
    )


def describe_quorum(voting: int, alive: int) -> str:
    """`3 voters, 3 healthy, quorum 2, can lose 1`."""
    return describe_quorum_change((voting, alive), (voting, alive))


def describe_quorum_change(before: tuple[int, int], after: tuple[int, int]) -> str:
    """`3 -> 4 voters, 3 -> 4 healthy, quorum 2 -> 3, can lose 1`: voters, and how many of them are healthy."""
    now, then = _figures(*before), _figures(*after)
    shown = [f"{a}" if a == b else f"{a} -> {b}" for a, b in zip(now, then, strict=True)]
    word = "voter" if before[0] == after[0] == 1 else "voters"
    return "{} {word}, {} healthy, quorum {}, can lose {}".format(*shown, word=word)


def _figures(voting: int, alive: int) -> tuple[int, int, int, int]:
    quorum = quorum_of(voting)
    return voting, alive, quorum, max(alive - quorum, 0)


def refuse_start(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """A stopped member may be started when its data is there: starting takes nothing away."""
    host = observed.reachable().get(name)
    if host is None:
        return (Refused(f"{name} cannot be reached", host=name),)
    if not host.has_member:
        return _refuse_lost_data(host)
    if not host.is_marked(spec.name):
        return (
            Refused(
                f"the data in {host.data.path} on {name} is not marked as this member's",
                host=name,
                rules=(6,),
            ),
        )
    return ()


def start_step(name: str, rules: tuple[int, ...] = (68,)) -> StartMember:
    """Return the step that starts a stopped member whose data is on the host."""
    return StartMember(
        host=name, reason="etcd does not run, and the member's data is on the host", rules=rules
    )


def refuse_restart(name: str, observed: Observed) -> tuple[Refused, ...]:
    """A running member may be restarted when the others keep a quorum without it (rules 34, 38)."""
    host = observed.reachable().get(name)
    if host is None:
        return (Refused(f"{name} cannot be reached", host=name),)
    if not host.has_member:
        return _refuse_lost_data(host)
    voting, alive = voter_count(observed), healthy(observed)
    if name in alive and voting == 1:
        return ()
    left = len(alive) - (name in alive)
    if left < quorum_of(max(voting, 1)) and (alive or voting == 0):
        return (
            Refused(
                f"stopping {name} would lose the quorum: {left} of {voting} members would be healthy, "
                f"{quorum_of(max(voting, 1))} are needed",
                hint=f"bring {_unhealthy_others(name, observed)} back first; "
                "`etcdup status` says what is wrong with each",
                host=name,
                rules=(34, 38),
            ),
        )
    return refuse_corrupt_alarm(observed)


def refuse_corrupt_alarm(observed: Observed) -> tuple[Refused, ...]:
    """A CORRUPT alarm stops every change: one member's data differs and it is not known whose (rule 82)."""
    alarms = {alarm for seen in observed.answering().values() for alarm in seen.alarms}
    if any("CORRUPT" in alarm for alarm in alarms):
        return (
            Refused(
                "the cluster has a CORRUPT alarm: the data of one member differs from the others'",
                hint="find the member with `etcdup ctl -- endpoint hashkv`, replace it, then disarm the alarm",
                rules=(82,),
            ),
        )
    return ()


def _unhealthy_others(name: str, observed: Observed) -> str:
    """Who is not well besides this member, in words."""
    return ", ".join(each for each in unhealthy(observed) if each != name) or "the other members"


def _refuse_lost_data(host: HostSeen) -> tuple[Refused, ...]:
    """A member that is wiped is replaced, never started empty under its old ID; a disk that is not mounted is not
    an empty one."""
    if unmounted := refuse_unmounted(host):
        return unmounted
    return (
        Refused(
            f"{host.data.path} on {host.host} holds no member, but this cluster has {host.host} in it",
            hint=f"if its disk is not mounted, mount it; if its data is lost: `etcdup member replace {host.host}`",
            host=host.host,
            rules=(32, 89),
        ),
    )


def refuse_unmounted(host: HostSeen) -> tuple[Refused, ...]:
    """The data directory was a file system of its own when the member was proved healthy, and is none now."""
    if host.marker is None or not host.marker.mount or host.data.mount:
        return ()
    return (
        Refused(
            f"{host.data.path} on {host.host} was a disk of its own, and no disk is mounted there now",
            hint=f"mount it: `findmnt {host.data.path}` and `lsblk` on the host show what is there",
            host=host.host,
            rules=(32, 89),
        ),
    )
