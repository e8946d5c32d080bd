"""The space quota of each member, and when the NOSPACE alarm can be disarmed (rules 70, 77).

etcd compares the size of the database with the quota of the process, which it reads at its start. A write that does not
fit raises NOSPACE for the whole cluster. The alarm stays until it is disarmed, also after a restart.
"""

from collections.abc import Iterator

from etcdup.core.etcd.alarms import NOSPACE
from etcdup.core.members.member_list import answer_of, member_list, name_of
from etcdup.core.members.quorum import refuse_corrupt_alarm
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DisarmSpaceAlarm
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

QUOTA_VARIABLE = "ETCD_QUOTA_BACKEND_BYTES"
# The default of etcd for a quota of 0. A negative quota is no limit.
DEFAULT_QUOTA = 2 * 1024**3
NO_LIMIT = 1 << 62
# Shares of the quota and of the file (rules 75, 107), and bytes.
NEARLY_FULL, MUCH_IN_USE, FREE_SHARE = 0.8, 0.7, 0.4
MUCH_FREE, LITTLE_FREE = 200 * 1024**2, 32 * 1024**2
# The default of `max-request-bytes`: with this much free space, no single write raises the alarm again.
LARGEST_REQUEST = 3 * 1024**2 // 2


def running_quota(observed: Observed, name: str) -> int | None:
    """Return the quota that the process of this member has; None if it is not known.

    etcd reports it from 3.6 on. For an older member, it is in the environment of its process.
    """
    seen, host = observed.members.get(name), observed.reachable().get(name)
    if isinstance(seen, MemberSeen) and seen.db_quota:
        return _limit(seen.db_quota)
    value = host.unit.environment.get(QUOTA_VARIABLE, "") if host else ""
    try:
        return _limit(int(value))
    except ValueError:
        return None


def _limit(quota: int) -> int:
    return NO_LIMIT if quota < 0 else quota or DEFAULT_QUOTA


def quota_of(spec: Spec, observed: Observed, name: str) -> int:
    """Return the quota of the running process; without a known one, the quota of cluster.yaml."""
    return running_quota(observed, name) or spec.etcd.quota


def has_space(size: int, quota: int) -> bool:
    """Return whether the largest single write still fits."""
    return size + LARGEST_REQUEST <= quota


def reclaimable(seen: MemberSeen) -> int:
    """Return the bytes in the database file that no data uses."""
    return max(seen.db_size - seen.db_in_use, 0)


def is_fragmented(seen: MemberSeen, quota: int, over: int = MUCH_FREE) -> bool:
    """Return whether a defragmentation frees more than `over` and much of the file, or space of a file near its quota.

    A file that grew once is reused: a defragmentation of a small free share would only let it grow again (rule 75).
    """
    free = reclaimable(seen)
    if seen.db_size > NEARLY_FULL * quota:
        return free >= LITTLE_FREE
    return free >= over and free >= FREE_SHARE * seen.db_size


def is_out_of_space(observed: Observed) -> bool:
    """Return whether the NOSPACE alarm is active. etcd then refuses writes, and accepts reads and deletes."""
    return any(alarm.startswith(NOSPACE) for seen in observed.answering().values() for alarm in seen.alarms)


def full_members(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return `infra1 (393.2 MiB of 400.0 MiB)` for each member whose database has no space in its running quota."""
    return tuple(
        f"{name} ({show_size(seen.db_size)} of {show_size(quota)})"
        for name, seen in sorted(observed.answering().items())
        if not has_space(seen.db_size, quota := quota_of(spec, observed, name))
    )


def disarm_steps(spec: Spec, observed: Observed) -> list[Step]:
    """Return the step that disarms NOSPACE, if each database has space once the members run with cluster.yaml.

    A member that does not answer is counted as large as the largest one. The guard needs its answer.
    """
    if not is_out_of_space(observed) or not fits_cluster_file(spec, observed):
        return []
    quota = show_size(spec.etcd.quota)
    reason = f"NOSPACE is active, and each database has space in the quota of {quota} of cluster.yaml"
    return [DisarmSpaceAlarm(reason=reason, rules=(70,))]


def can_disarm_now(spec: Spec, observed: Observed) -> bool:
    """Return whether NOSPACE is active and its cause is gone already, so that it is disarmed before other steps."""
    return bool(disarm_steps(spec, observed)) and not refuse_disarm(observed)


def fits_cluster_file(spec: Spec, observed: Observed) -> bool:
    """Return whether each database has space in the quota that its member has after an apply.

    A host that cannot be reached keeps the quota of its process.
    """
    largest = max((seen.db_size for seen in observed.answering().values()), default=0)
    names = {name_of(entry) for entry in member_list(observed)} & observed.members.keys()
    own = {host.name for host in spec.hosts} & observed.reachable().keys()
    for name in names:
        seen = observed.members[name]
        size = seen.db_size if isinstance(seen, MemberSeen) else largest
        quota = spec.etcd.quota if name in own else running_quota(observed, name)
        if quota is not None and not has_space(size, quota):
            return False
    return True


def refuse_disarm(observed: Observed) -> tuple[Refused, ...]:
    """Allow the disarming of NOSPACE if the database of every member has space in the quota of its process (rule 70).

    Otherwise the next write raises the alarm again. A member whose data is lost has no database. In some versions of
    etcd, the request also ends the effect of a CORRUPT alarm.
    """
    if corrupt := refuse_corrupt_alarm(observed):
        return corrupt
    if reasons := tuple(_reasons_against_disarm(observed)):
        return (
            Refused(
                f"the NOSPACE alarm is not disarmed now: {'; '.join(reasons)}",
                hint="run `etcdup status` to see the size and the quota of each member. When each database is smaller "
                "than its quota, run `etcdup apply` again. `etcdup maintain fix-space` makes it smaller",
                rules=(70,),
            ),
        )
    return ()


def _reasons_against_disarm(observed: Observed) -> Iterator[str]:
    for entry in member_list(observed):
        name, seen = name_of(entry), answer_of(observed, entry)
        host = observed.reachable().get(name)
        if seen is None and host is not None and not host.has_member:
            continue
        if seen is None:
            yield f"{name} does not answer, so the size of its database is unknown"
            continue
        quota = running_quota(observed, _observed_name(observed, entry))
        if quota is None:
            yield f"the quota of {name} is unknown"
        elif not has_space(seen.db_size, quota):
            yield f"the database of {name} has {show_size(seen.db_size)} of its quota of {show_size(quota)}"


def _observed_name(observed: Observed, entry: ListedMember) -> str:
    """Return the name under which the member answered. A learner has no name in the list until it has started."""
    return next(
        (name for name, seen in observed.answering().items() if seen.member_id == entry.member_id), ""
    )


def refuse_smaller_quota(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to lower the quota below the size of a database: the next write would raise NOSPACE."""
    over = [
        f"{name} ({show_size(seen.db_size)})"
        for name, seen in sorted(observed.answering().items())
        if (running := running_quota(observed, name)) is not None
        and spec.etcd.quota < running
        and not has_space(seen.db_size, spec.etcd.quota)
    ]
    if not over:
        return ()
    return (
        Refused(
            f"with `quota: {show_size(spec.etcd.quota)}`, etcd would refuse all writes: the quota is too small for the "
            f"database of {', '.join(over)}",
            hint="set a larger `quota` below `etcd` in cluster.yaml, or first free space: run `etcdup maintain "
            "fix-space` if the database is nearly full, and `etcdup maintain defrag` otherwise",
            rules=(70, 77),
        ),
    )
