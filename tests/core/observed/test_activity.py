"""The activity of a member, from its metrics."""

import pytest

from etcdup.core.observed.activity import Activity, parse_activity

LABELS = 'grpc_method="Snapshot",grpc_service="etcdserverpb.Maintenance",grpc_type="server_stream"'
IDLE = "# TYPE etcd_disk_defrag_inflight gauge\netcd_disk_defrag_inflight 0\n"


def started(count: object) -> str:
    return f"grpc_server_started_total{{{LABELS}}} {count}\n"


def handled(code: str, count: int) -> str:
    return f'grpc_server_handled_total{{grpc_code="{code}",{LABELS}}} {count}\n'


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ("", None),
        ("404 page not found", None),
        (IDLE, Activity()),
        (IDLE.replace(" 0", " 1"), Activity(defragments=True)),
        (IDLE + started(3) + handled("OK", 1) + handled("Canceled", 1), Activity(snapshots=1)),
        (IDLE + started(2) + handled("OK", 2), Activity()),
        (IDLE + started("1e+06"), Activity(snapshots=1_000_000)),
        (IDLE + started("NaN") + started("+Inf") + started("x"), Activity()),
        (IDLE + started(0).replace("Snapshot", "Defragment"), Activity()),
        (
            IDLE + 'etcd_network_snapshot_send_inflights_total{To="8e9e05c5"} 1\n',
            Activity(sends_snapshot=True),
        ),
    ],
)
def test_the_activity_of_a_member(metrics: str, expected: Activity | None) -> None:
    assert parse_activity(metrics) == expected
