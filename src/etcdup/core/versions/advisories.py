"""The known faults of a version of etcd that matter for what is about to be done with it."""

from collections.abc import Collection, Iterator

from etcdup.core.etcd.known_issues import FAULTS, VULNERABILITIES, Advisory, Scope
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import NEWEST, Version

__all__ = ["Advisory", "Scope", "blocking_advisories", "is_end_of_life", "newest_patch", "warning_advisories"]

_LAST_ENDED = (3, 4)


def blocking_advisories(
    version: Version, *, members: int = 3, scopes: Collection[Scope] = (), vouched: bool = False
) -> tuple[Advisory, ...]:
    """Return the faults for which this version must not be used.

    `scopes` names what is about to be done, in addition to running the version.
    `vouched` binaries come from a distribution or from the operator. They can contain fixes without a new version
    number, so such faults give a warning instead.
    """
    relevant = _relevant_advisories(version, members, scopes)
    return tuple(advisory for advisory in relevant if _is_blocking(advisory, vouched))


def warning_advisories(
    version: Version, *, members: int = 3, scopes: Collection[Scope] = (), vouched: bool = False
) -> tuple[Advisory, ...]:
    """Return the faults that give a warning: all that matter here and are not in `blocking_advisories`."""
    relevant = _relevant_advisories(version, members, scopes)
    return tuple(advisory for advisory in relevant if not _is_blocking(advisory, vouched))


def is_end_of_life(version: Version) -> bool:
    """Return whether the etcd project makes no more fixes for this minor."""
    return version.series <= _LAST_ENDED


def newest_patch(version: Version) -> Version:
    """Return the newest release of the same minor; for an unknown minor, the newest release of all."""
    return NEWEST.get(version.series, NEWEST[max(NEWEST)])


def _relevant_advisories(version: Version, members: int, scopes: Collection[Scope]) -> Iterator[Advisory]:
    matters = {"always", *scopes} | ({"single-member"} if members == 1 else set())
    for advisory in (*FAULTS, *VULNERABILITIES):
        if advisory.scope in matters and advisory.affects(version):
            yield advisory


def _is_blocking(advisory: Advisory, vouched: bool) -> bool:
    return advisory.action == "refuse" and not (vouched and advisory.may_be_patched)


def refuse_version(spec: Spec, *, vouched: bool) -> tuple[Refused, ...]:
    """Refuse a version that can lose data, except if the operator or a distribution vouches for its binaries."""
    return tuple(
        Refused(
            f"etcd {spec.version} must not be used: {advisory.problem} ({advisory.source})",
            hint=f"set `version: {newest_patch(spec.version)}` in cluster.yaml, then run `etcdup apply`",
        )
        for advisory in blocking_advisories(spec.version, members=spec.size, vouched=vouched)
    )
