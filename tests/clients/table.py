"""The rows that `make test-clients` prints: what the clients observed during one operation."""

from dataclasses import dataclass, field
from typing import Any

from tests.clients.load import Writes

HEADINGS = ("operation", "client", "writes ok / failed", "longest gap", "lost", "observed")


@dataclass(frozen=True)
class Row:
    """`lost`: acknowledged writes that are gone afterwards, although nothing restored an older state."""

    operation: str
    client: str
    writes: Writes
    lost: int

    @property
    def observed(self) -> str:
        raise NotImplementedError

    def assert_consistent(self) -> None:
        """Assert what also holds in an outage: nothing acknowledged is lost, and the clients continue afterwards."""
        assert self.lost == 0, self
        assert self.writes.resumed, self

    def assert_uninterrupted(self) -> None:
        """Assert that the client observed no failure at all."""
        self.assert_consistent()
        assert self.writes.failed == 0, self

    def cells(self) -> tuple[str, ...]:
        writes = f"{len(self.writes.acknowledged)} / {self.writes.failed}"
        gap = f"{self.writes.gap_s:.1f} s" if self.writes.resumed else "no write again"
        return (self.operation, self.client, writes, gap, str(self.lost), self.observed)

    def __str__(self) -> str:
        return " | ".join(self.cells()) + "".join(f"\n  {each}" for each in self.writes.errors)


@dataclass(frozen=True)
class KubernetesRow(Row):
    """`stale`: objects that are in etcd and not in a list of the apiserver or in the informer, or the reverse."""

    stale: int
    relists: int
    failed_reads: int

    @property
    def observed(self) -> str:
        return f"{self.relists} relists, {self.stale} objects stale, {self.failed_reads} reads failed"

    def assert_consistent(self) -> None:
        super().assert_consistent()
        assert self.stale == 0, self


@dataclass(frozen=True)
class PatroniRow(Row):
    """`promotions` and `demotions` are those that Patroni logged. `two_primaries_s`: two nodes accepted writes."""

    promotions: int
    demotions: int
    two_primaries_s: float

    @property
    def observed(self) -> str:
        two = f"two primaries for {self.two_primaries_s:.1f} s" if self.two_primaries_s else "one primary"
        return f"{self.promotions} promotions, {self.demotions} demotions, {two}"

    def assert_consistent(self) -> None:
        super().assert_consistent()
        assert self.two_primaries_s == 0, self

    def assert_uninterrupted(self) -> None:
        super().assert_uninterrupted()
        assert self.promotions == self.demotions == 0, self


@dataclass
class Measured:
    """The rows of one operation. They exist when its block has ended."""

    operation: str
    rows: list[Row] = field(default_factory=list)
    rolled_back: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))

    def assert_uninterrupted(self, *, too_old: str = "", demotions: int = 0) -> None:
        """`too_old`: a Patroni that has a known fault of its own here. It must be consistent.

        `demotions`: how often it may demote its primary.
        """
        for row in self.rows:
            if row.client != too_old:
                row.assert_uninterrupted()
                continue
            assert isinstance(row, PatroniRow)
            row.assert_consistent()
            assert row.demotions <= demotions, row

    def assert_consistent(self) -> None:
        for row in self.rows:
            row.assert_consistent()


def as_text(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines: list[Any] = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
