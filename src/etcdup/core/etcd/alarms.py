"""The alarms in etcd's database. They outlive a restart and a restore: `snapshot restore` keeps their bucket.

The key of a row is an AlarmMember: https://github.com/etcd-io/etcd/blob/main/api/etcdserverpb/rpc.proto
"""

from itertools import islice

from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.wal import fields_of

BUCKET = b"alarm"
CORRUPT = "CORRUPT"
NOSPACE = "NOSPACE"
_KINDS = {1: NOSPACE, 2: CORRUPT}
_MEMBER, _KIND = 1, 2  # fields of AlarmMember
# A cluster has at most one alarm of each kind for each of its members.
_MOST_ALARMS = 64


def alarm_text(kind: str, member_id: int) -> str:
    """Return `KIND`, or `KIND on member ID`."""
    return f"{kind} on member {member_id:x}" if member_id else kind


def read_alarms(bolt: Bolt) -> tuple[str, ...]:
    """Return the alarms of a database. Raise ValueError if it is damaged."""
    return tuple(_alarm(key) for key, _ in islice(bolt.items(BUCKET), _MOST_ALARMS))


def _alarm(key: bytes) -> str:
    fields = dict(fields_of(key))
    kind, member = fields.get(_KIND, 0), fields.get(_MEMBER, 0)
    if not isinstance(kind, int) or not isinstance(member, int):
        raise ValueError("an alarm is not readable")
    return alarm_text(_KINDS.get(kind, f"alarm {kind}"), member)
