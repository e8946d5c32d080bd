"""What speaks against a version of etcd, for what is about to be done with it."""

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
    """The faults for which this version must not be used.

    `scopes` name what is about to be done, beside running it. `vouched` binaries come from a distribution or
    from the operator: they may be patched under their old number, so they are warned of instead.
    """
    applying = _relevant_advisories(version, members, scopes)
    return tuple(advisory for advisory in applying if _is_blocking(advisory, vouched))


def warning_advisories(
    version: Version, *, members: int = 3, scopes: Collection[Scope] = (), vouched: bool = False
) -> tuple[Advisory, ...]:
    """The faults to be told of: every one that matters here and that `refusals` does not hold."""
    applying = _relevant_advisories(version, members, scopes)
    return tuple(advisory for advisory in applying if not _is_blocking(advisory, vouched))


def is_end_of_life(version: Version) -> bool:
    """Whether the series gets no more fixes from etcd itself."""
    return version.series <= _LAST_ENDED


def newest_patch(version: Version) -> Version:
    """The release to move to: the newest of the same series, or of the newest series known."""
    return NEWEST.get(version.series, NEWEST[max(NEWEST)])


def _relevant_advisories(version: Version, members: int, scopes: Collection[Scope]) -> Iterator[Advisory]:
    matters = {"always", *scopes} | ({"single-member"} if members == 1 else set())
    for advisory in (*FAULTS, *VULNERABILITIES):
        if advisory.scope in matters and advisory.affects(version):
            yield advisory


def _is_blocking(advisory: Advisory, vouched: bool) -> bool:
    return advisory.action == "refuse" and not (vouched and advisory.may_be_patched)


def refuse_version(spec: Spec, *, vouched: bool) -> tuple[Refused, ...]:
    """A version that loses data, unless the operator or a distribution stands for its binaries."""
    return tuple(
        Refused(
            f"etcd {spec.version} must not be used: {advisory.problem} ({advisory.source})",
            hint=f"set `version` to {newest_patch(spec.version)}",
        )
        for advisory in blocking_advisories(spec.version, members=spec.size, vouched=vouched)
    )
