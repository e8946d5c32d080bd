"""An etcd on a copy of the data of a fake member, and the end of its log in the format of a real log."""

import base64
import gzip
from pathlib import PurePosixPath

from etcdup.core.etcd.wal import CRC, ENTRY, SNAPSHOT, STATE, encode_record
from etcdup.core.observed.member import MemberSeen
from etcdup.remote.etcd.errors import EtcdUnavailable
from etcdup.testing.etcd_client import FakeEtcd
from etcdup.testing.machine import Answer, FakeMachine, FakeProcess
from etcdup.testing.systemd import MemberData

OK: Answer = (0, "", "")
LOG_NAME = f"{0:016x}-{0:016x}.wal"
# The data of an entry: ID 7, method PUT, path /0/version, value 3.5.0, not a directory.
V2_REQUEST = b"\x22\x1c\x08\x07\x12\x03PUT\x1a\x0a/0/version\x22\x053.5.0\x28\x00"


def log_file(machine: FakeMachine, folder: str, back: str, most: str, *texts: str) -> Answer:
    """Return a log of one file. Its member does not know that the last entry is committed."""
    node = machine.file(f"{folder}/0.wal")
    if node is None:
        return (1, "", f"no log: {folder}/*.wal")
    content = node.content or b""
    try:
        data = MemberData.decode(content)
    except ValueError:
        return _printed(content)
    cluster = machine.network.etcd.by_id[data.cluster_id]
    if back != "0" or (texts and not cluster.last_v2):
        return OK
    term, index = machine.log_end or (cluster.term, cluster.index)
    records = [
        (SNAPSHOT, _message((1, cluster.raft_snapshots.get(data.member_id, 0)), (2, term))),
        *([(ENTRY, _message((2, term), (3, cluster.last_v2)) + V2_REQUEST)] if cluster.last_v2 else []),
        (STATE, _message((1, term), (3, index - 1))),
        (ENTRY, _message((2, term), (3, index))),
    ]
    file, crc = encode_record(CRC, b"", 0)
    for kind, message in records:
        record, crc = encode_record(kind, message, crc)
        file += record
    return _printed(file)


def _printed(file: bytes) -> Answer:
    return (0, f"{LOG_NAME}\n" + base64.b64encode(gzip.compress(file, mtime=0)).decode(), "")


def append_log(machine: FakeMachine, path: str, size: str, encoded: str) -> Answer:
    is_there = machine.file(str(PurePosixPath(path).with_name("0.wal")))
    return OK if is_there else (1, "", f"truncate: cannot open '{path}'")


def _message(*fields: tuple[int, int]) -> bytes:
    return b"".join(_varint(number << 3) + _varint(value) for number, value in fields)


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128,)) + _varint(value >> 7)


def end_copy_server(machine: FakeMachine) -> Answer:
    machine.temporary_etcd = None
    return OK


def serve_copy(machine: FakeMachine, argv: tuple[str, ...]) -> list[str]:
    """Start an etcd on the copy. It ends at once if a file that it needs is missing."""
    machine.network.count(machine.name, ("hold", "etcdup-salvage"))
    keys, data, wal, exe = argv[6:10]
    log = machine.file(f"{wal or data + '/member/wal'}/0.wal")
    has_keys = all(machine.file(f"{keys}/{name}.pem") for name in ("ca", "cert", "key"))
    if log is None or not has_keys or machine.file(exe) is None or "--force-new-cluster" not in argv:
        return ["ended"]
    if any(f":{port}" in argument for port in machine.ports_taken for argument in argv):
        machine.log.append("listen tcp: bind: address already in use")
        return ["ended"]
    member = MemberData.decode(log.content or b"")
    cluster = machine.network.etcd.by_id[member.cluster_id]
    machine.temporary_etcd = FakeProcess(
        machine.real(exe), {}, machine.network.now(), cluster, member.member_id, ready=True
    )
    return []


def stop_serving_copy(machine: FakeMachine) -> None:
    machine.temporary_etcd = None


class FakeTemporaryEtcd(FakeEtcd):
    """The EtcdClient of an etcd on a copy of the data."""

    async def status(self, *, timeout_s: float) -> MemberSeen:
        process = await self._require_process(timeout_s)
        cluster = process.cluster
        return MemberSeen(
            process.member_id, cluster.cluster_id, process.version, process.member_id, cluster.term + 1,
            cluster.index, cluster.index, db_size=20_480, db_in_use=16_384, is_learner=False, members=(),
        )  # fmt: skip

    async def _require_process(
        self, timeout_s: float, *, learners: bool = False, anyone: bool = False
    ) -> FakeProcess:
        self._check_alive()
        if self._machine.temporary_etcd is None or not self._machine.answers:
            raise EtcdUnavailable(self.name, "no program listens on the client port")
        return self._machine.temporary_etcd
