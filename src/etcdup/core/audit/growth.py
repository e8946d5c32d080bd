"""Findings about the growth of the databases: the days until the quota, and a file that grows again (rules 75, 107)."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from etcdup.core.audit.findings import Evidence, Finding, HostInspection, LeaderChanges
from etcdup.core.audit.process_settings import number_of
from etcdup.core.maintain.growth import Growth, growth_of
from etcdup.core.members.space import NEARLY_FULL, is_fragmented, reclaimable
from etcdup.core.observed.member import MemberSeen
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size, show_time

_SOON_DAYS = 14
# The growth of the first hours of a cluster, or of one rollout, is not that of the next days.
_LEAST_SPAN = timedelta(days=1)
_DAY_S = 86_400
_FREELIST = "backend-bbolt-freelist-type"
# From this series on, `map` is the default, and the flag has this name.
_MAP_SINCE = (3, 5)


def growth_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    if evidence.sizes_unread:
        yield Finding(
            "untried",
            "",
            f"The growth of the database is not known: {evidence.sizes_unread}.",
            "etcdup compares the size of the database with those of earlier backups.",
            "Run `etcdup backup list` to see why the backups cannot be listed. Then run `etcdup check` again.",
            (107,),
            code="growth-not-known",
        )
    yield from _quota_findings(growths(spec, evidence))


def growths(spec: Spec, evidence: Evidence) -> dict[str, Growth]:
    """Return the growth of each member that reaches its quota soon, unless it is nearly full already."""
    found = {}
    at = evidence.observed.at
    for name, seen in evidence.observed.answering().items():
        quota = quota_of(spec, evidence.inspections.get(name), seen)
        sizes = [each for each in evidence.backup_sizes if each[0] < at]
        growth = growth_of([*sizes, (at, seen.db_size)], quota)
        if growth is None or growth.days_to_quota is None or growth.since > at - _LEAST_SPAN:
            continue
        if quota > 0 and seen.db_size <= NEARLY_FULL * quota and growth.days_to_quota < _SOON_DAYS:
            found[name] = growth
    return found


def _quota_findings(found: Mapping[str, Growth]) -> Iterator[Finding]:
    """Report the member that reaches its quota first: one full member is enough to refuse all writes."""
    if not found:
        return
    name = min(found, key=lambda each: (found[each].days_to_quota or 0.0, each))
    growth = found[name]
    yield Finding(
        "advice",
        "",
        f"The database of {name} grew by {show_size(int(growth.bytes_per_day))} a day since {show_time(growth.since)}, "
        f"and reaches its quota in {growth.days_to_quota:.1f} days.",
        "A member with a full database raises NOSPACE, and the cluster refuses writes.",
        "Run `etcdup maintain space --live` to find out which keys grow. Delete keys that are not needed, or raise "
        "`quota` in cluster.yaml and run `etcdup apply`.",
        (107,),
        code="database-grows",
    )


def quota_of(spec: Spec, inspection: HostInspection | None, seen: MemberSeen | None = None) -> int:
    """Return the quota of the running process; without a known one, the quota of cluster.yaml."""
    otherwise = (seen.db_quota if seen else 0) or spec.etcd.quota
    return number_of(inspection.settings if inspection else {}, "quota-backend-bytes", otherwise)


def fragmentation_finding(name: str, seen: MemberSeen, quota: int, evidence: Evidence) -> Finding | None:
    """Return the finding about free pages of a database file; None if there are few."""
    if not is_fragmented(seen, quota):
        return None
    free = (
        f"{show_size(reclaimable(seen))} of the {show_size(seen.db_size)} of the database of {name} are free"
    )
    counts = next((each for each in evidence.leaders if each.member == name), LeaderChanges(name))
    inspection = evidence.inspections.get(name)
    freelist = inspection.settings.get(_FREELIST, "map") if inspection else ""
    often = counts.defrags and counts.seconds <= counts.defrags * _DAY_S
    what = "defragmentation" if counts.defrags == 1 else "defragmentations"
    if often and freelist == "map" and seen.version.series >= _MAP_SINCE:
        return Finding(
            "advice",
            name,
            f"{free} again, after {counts.defrags} {what} in the {counts.seconds / 3600:.1f} hours since it started.",
            "The default list of free pages does not use the first free pages of the file first, so a file of several "
            "GiB can grow again.",
            f"Write `extra: {{{_FREELIST}: array}}` below `etcd` in cluster.yaml, run `etcdup apply`, and then "
            "`etcdup maintain defrag`.",
            (75,),
            code="database-fragmented-again",
        )
    return Finding(
        "advice",
        name,
        f"{free}.",
        "The file and each backup are larger than needed.",
        "Run `etcdup maintain defrag`.",
        (75,),
        code="database-fragmented",
    )
