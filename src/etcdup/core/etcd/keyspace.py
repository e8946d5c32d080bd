"""What etcd itself keeps in its database, bucket by bucket."""

import struct

from etcdup.core.etcd.bbolt import Bolt

_REVISION = struct.Struct(">q")
# Where compaction has taken away the last record of all, as that of a deletion, etcd goes on from there.
_COMPACTED = (b"scheduledCompactRev", b"finishedCompactRev")


def newest_revision(bolt: Bolt) -> int:
    """The keys of bucket `key` are revisions, in order. A database without any is at revision 1."""
    found = [bolt.last_key(b"key"), *(bolt.value(b"meta", name) for name in _COMPACTED)]
    return max((_REVISION.unpack_from(each)[0] for each in found if each), default=1)


def cluster_version(bolt: Bolt) -> str:
    """What all members could speak, like `3.6.0`; empty where the cluster had not agreed on it yet."""
    return (bolt.value(b"cluster", b"clusterVersion") or b"").decode("ascii", "replace")
