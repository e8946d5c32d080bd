"""What a member does with its database at the moment, from its metrics."""

from dataclasses import dataclass

_STREAMS = 'grpc_method="Snapshot",grpc_service="etcdserverpb.Maintenance"'


@dataclass(frozen=True)
class Activity:
    """What uses the database of a member.

    `defragments`: a defragmentation is in progress, of whichever program. `snapshots` is the number of clients that
    read a snapshot. `sends_snapshot`: the member sends its database to a peer that is far behind.
    """

    defragments: bool = False
    snapshots: int = 0
    sends_snapshot: bool = False


def parse_activity(metrics: str) -> Activity | None:
    """Read the activity from the metrics of a member; None if they are not those of etcd.

    A stream is open if etcd has started it and has not handled it yet. The counters exist from the first stream on.
    """
    defragments: bool | None = None
    opened = sent = 0.0
    for line in metrics.splitlines():
        name, _, text = line.rpartition(" ")
        if name == "etcd_disk_defrag_inflight":
            defragments = _number(text) > 0
        elif name.startswith("etcd_network_snapshot_send_inflights_total"):
            sent += _number(text)
        elif _STREAMS in name and name.startswith("grpc_server_started_total{"):
            opened += _number(text)
        elif _STREAMS in name and name.startswith("grpc_server_handled_total{"):
            opened -= _number(text)
    if defragments is None:
        return None
    return Activity(defragments, max(int(opened), 0), sent > 0)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if abs(value) < 1e15 else 0.0  # nan and infinity are no counts.
