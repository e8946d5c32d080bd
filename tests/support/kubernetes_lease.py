"""Lease objects of Kubernetes as kube-apiserver stores them: messages of protobuf with the time of the last renewal."""

from datetime import datetime

from etcdup.core.etcd.varint import write_varint


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return write_varint(number << 3) + write_varint(content)
    return write_varint(number << 3 | 2) + write_varint(len(content)) + content


def renewal(at: datetime) -> bytes:
    """Return a Lease object as kube-apiserver stores it."""
    spec = field(1, b"node-1") + field(2, 40) + field(4, field(1, int(at.timestamp())) + field(2, 5))
    return b"k8s\x00" + field(1, b"type") + field(2, field(1, b"metadata") + field(2, spec)) + field(3, b"")
