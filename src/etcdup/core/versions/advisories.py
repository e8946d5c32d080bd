"""What speaks against a version of etcd, for what is about to be done with it."""

from collections.abc import Collection, Iterator

from etcdup.core.etcd.known_issues import FAULTS, HOLES, Advisory, Scope
from etcdup.core.spec.version import NEWEST, Version

__all__ = ["Advisory", "Scope", "is_end_of_life", "newest_patch", "refusals", "warnings_for"]

_LAST_ENDED = (3, 4)


def refusals(
    version: Version, *, members: int = 3, scopes: Collection[Scope] = (), vouched: bool = False
) -> tuple[Advisory, ...]:
    """The faults for which this version must not be used.

    `scopes` name what is about to be done, beside running it. `vouched` binaries come from a distribution or
    from the operator: they may be patched under their old number, so they are warned of instead.
    """
    applying = _applying(version, members, scopes)
    return tuple(advisory for advisory in applying if _refuses(advisory, vouched))


def warnings_for(
    version: Version, *, members: int = 3, scopes: Collection[Scope] = (), vouched: bool = False
) -> tuple[Advisory, ...]:
    """The faults to be told of: every one that matters here and that `refusals` does not hold."""
    applying = _applying(version, members, scopes)
    return tuple(advisory for advisory in applying if not _refuses(advisory, vouched))


def is_end_of_life(version: Version) -> bool:
    """Whether the series gets no more fixes from etcd itself."""
    return version.series <= _LAST_ENDED


def newest_patch(version: Version) -> Version:
    """The release to move to: the newest of the same series, or of the newest series known."""
    return NEWEST.get(version.series, NEWEST[max(NEWEST)])


def _applying(version: Version, members: int, scopes: Collection[Scope]) -> Iterator[Advisory]:
    matters = {"always", *scopes} | ({"single-member"} if members == 1 else set())
    for advisory in (*FAULTS, *HOLES):
        if advisory.scope in matters and advisory.affects(version):
            yield advisory


def _refuses(advisory: Advisory, vouched: bool) -> bool:
    return advisory.action == "refuse" and not (vouched and advisory.may_be_patched)
