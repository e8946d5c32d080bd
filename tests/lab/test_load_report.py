"""The figures of a load, computed from handwritten records: each fault is reported, and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tests.lab.load_records import Event, Kind, Record, Request, from_lines, to_line
from tests.lab.load_report import Report, report_of
from tests.lab.restart_history import FOREVER, History, Message, Span

S = 1_000_000_000
REFUSED = "EtcdUnavailable: failed to connect to all addresses"
CHANGED = "NoLeader: infra2: etcdserver: leader changed"
SILENCE = "EtcdTimeout: infra2: no answer within 3 s"


def request(at_s: float, member: str, kind: Kind, value: str | None, key: str = "r", **more: str) -> Request:
    role = "reader" if kind == "read" else "writer"
    begin = int(at_s * S)
    done = Request(kind, key, member, f"{member}/{role}", begin, begin + S // 100, value)
    return replace(done, **more)  # type: ignore[arg-type]


def writes(member: str, times: Iterable[float]) -> list[Record]:
    return [request(at, member, "write", f"{member}:{at}") for at in times]


def tenths(begin_s: float, end_s: float) -> list[float]:
    return [number / 10 for number in range(round(begin_s * 10), round(end_s * 10))]


def make_report(
    records: Sequence[Record], machines: History | None = None, kept: Sequence[str] = ()
) -> Report:
    events = [Event("added", "infra1", 0), Event("added", "infra2", 0), Event("stopped", "", 10 * S)]
    return report_of([*events, *records], kept, machines or History())


ONE = writes("infra1", tenths(0, 10))
BOTH = [*ONE, *writes("infra2", [at + 0.05 for at in tenths(0, 10)])]


def test_a_load_without_failures_is_clean() -> None:
    report = make_report([*BOTH, request(9.97, "infra1", "append", "a", key="log/1")], kept=["log/1"])
    report.assert_clean()
    assert str(report) == (
        "load: 10.0 s, 201 writes acknowledged, 0 lost; 200 operations on 1 registers linearizable; "
        "longest write gap 0.050 s (by member: infra1 0.100, infra2 0.100); "
        "failed requests: none, 0 of them during a leadership transfer; clients without CPU for 0.000 s; "
        "one write to the disk needed 0.000 s"
    )


def test_gaps_are_measured_over_all_members_and_for_each() -> None:
    two = writes("infra2", [*(at + 0.05 for at in tenths(0, 2)), *(at + 0.05 for at in tenths(5, 10))])
    report = make_report([*writes("infra1", [*tenths(0, 3), *tenths(4.5, 10)]), *two])
    assert round(report.gaps["infra1"].seconds, 2) == 1.6
    assert round(report.gaps["infra2"].seconds, 2) == 3.1
    assert (round(report.gap.seconds, 2), round(report.gap.after_s, 2)) == (1.6, 2.91)
    assert report.faults() == [
        "no write was acknowledged for 1.600 s, 2.910 s after the start; this computer stood still for 0.000 s of it"
    ]
    assert report.faults(gap_s=2.0) == []


def test_a_gap_is_reported_with_the_messages_of_its_time() -> None:
    lines = {
        1: '{"level":"warn","msg":"slow fdatasync"}',
        4: '{"level":"info","msg":"elected leader"}',
        5: '{"level":"info","msg":"apply"}',
        6: '{"level":"warn","msg":"slow fdatasync","took":"1.9s"}',
    }
    messages = tuple(Message("infra2", at * S, "", line) for at, line in lines.items())
    report = make_report(writes("infra1", [*tenths(0, 4), *tenths(7, 10)]), History(messages=messages))
    assert report.faults()[1:] == [f"     4.000 s infra2: {lines[4]}", f"     6.000 s infra2: {lines[6]}"]


def test_stalls_of_this_computer_are_not_part_of_a_gap() -> None:
    """The disk stalls from 3.5 to 5.0, and the clients have no CPU from 4.5 to 5.5: 2 seconds together."""
    stalls = [Event("disk stalled", "", 5 * S, 1.5), Event("stalled", "", 5 * S + S // 2, 1.0)]
    records = [*writes("infra1", [*tenths(0, 3), *tenths(6, 8), *tenths(9, 10)]), *stalls]
    report = make_report(records)
    assert (round(report.gap.seconds, 2), round(report.gap.stalled_s, 2)) == (3.1, 2.0)
    assert report.faults(gap_s=1.2) == []
    assert len(report.faults(gap_s=1.05)) == 1
    assert report.disk_stall_s == 1.5


def test_a_gap_at_the_end_counts() -> None:
    assert round(make_report(writes("infra1", tenths(0, 4))).gap.seconds, 2) == 6.09


def test_the_time_before_and_after_a_members_load_is_no_gap() -> None:
    events = [
        Event("added", "infra1", 0), Event("added", "infra3", 4 * S), Event("removed", "infra3", 6 * S),
        Event("added", "infra3", 8 * S), Event("removed", "infra3", 9 * S), Event("stopped", "", 10 * S),
    ]  # fmt: skip
    three = writes("infra3", [*tenths(4, 6), *tenths(8, 9)])
    assert round(report_of([*events, *ONE, *three], (), History()).gaps["infra3"].seconds, 2) == 0.1


def test_lost_writes_and_failed_writes_that_exist_are_reported() -> None:
    appends = [
        request(1.01, "infra1", "append", "a", key="log/kept"),
        request(2.01, "infra1", "append", "a", key="log/lost"),
        request(3.01, "infra1", "append", "a", key="log/cut", outcome="unknown", error="cut"),
        request(4.01, "infra1", "append", "a", key="log/ghost", outcome="failed", error=REFUSED),
    ]
    report = make_report([*BOTH, *appends], kept=["log/kept", "log/ghost"])
    assert report.lost == ("log/lost",)
    assert report.unexpected == ("log/ghost",)
    assert [line.split(":")[0] for line in report.faults(restarted={"infra1"})][:2] == [
        "1 acknowledged writes are lost",
        "failed writes exist",
    ]


def test_a_stale_read_is_a_fault() -> None:
    report = make_report([*BOTH, request(5.02, "infra1", "read", "infra1:1.0")])
    assert report.violation is not None
    assert "not linearizable: r: no order explains" in report.faults()[0]


def test_only_a_stop_of_the_members_own_explains_its_failures() -> None:
    def failed(at_s: float, member: str) -> Request:
        return request(at_s, member, "write", f"x{at_s}", outcome="failed", error=REFUSED)

    records = [
        *BOTH,
        failed(3.02, "infra1"),
        failed(4.92, "infra1"),
        failed(3.02, "infra2"),
        failed(7.02, "infra1"),
    ]
    report = make_report(records, History((Span("infra1", 3 * S, 4 * S),)))
    assert [(each.member, each.invoked_ns / S) for each in report.unexplained({"infra1"})] == [
        ("infra2", 3.02), ("infra1", 7.02)
    ]  # fmt: skip
    assert len(report.unexplained(())) == 4
    removed = make_report(records, History((Span("infra1", 3 * S, FOREVER),)))
    assert [each.member for each in removed.unexplained({"infra1"})] == ["infra2"]


def test_failures_during_a_leadership_transfer_are_counted_separately() -> None:
    def failed(at_s: float, kind: Kind, error: str) -> Request:
        return request(at_s, "infra2", kind, f"x{at_s}", outcome="unknown", error=error)

    during = [failed(2.02, "read", CHANGED), failed(2.04, "write", SILENCE)]
    others = [failed(2.06, "write", "EtcdUnavailable: Socket closed"), failed(6.02, "read", CHANGED)]
    machines = History(transfers=(Span("infra1", 2 * S, 2 * S + S // 10),))
    report = make_report([*BOTH, *during, *others], machines)
    assert report.during_transfer == tuple(during)
    assert report.unexplained({"infra1"}) == tuple(others)
    assert len(report.unexplained({"infra2"})) == 4, "infra1 was not to be restarted"


def test_records_come_back_as_they_were_written() -> None:
    records: list[Record] = [
        Event("stalled", "", 5, 0.25),
        request(1, "infra1", "read", None, outcome="unknown", error="é"),
    ]
    assert list(from_lines(to_line(each) for each in records)) == records
