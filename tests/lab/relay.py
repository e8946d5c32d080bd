"""Forward frames between two interfaces with delay and loss: `relay.py ONE OTHER DELAY_S LOSS [ADDRESS...]`.

These addresses cannot open a TCP connection through the relay, while the other direction works, as with a firewall.
Not every kernel has tc's filters or netfilter.

It runs in the lab's namespace as a separate process, so that a busy test does not make its delays longer.
"""

import random
import selectors
import socket
import sys
import time
from collections import deque

SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR = 263, 23, 15
ETH_P_ALL = 0x0003
# The virtio header keeps the kernel's unfinished checksums, and allows frames of up to 64 KiB.
VNET_HEADER = 10
LARGEST = VNET_HEADER + 14 + 65536
SYN, ACK = 0x02, 0x10

Waiting = deque[tuple[float, socket.socket, bytes]]


def open_interface(interface: str) -> socket.socket:
    """Return a socket that receives all frames of `interface`, for any destination."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # only `loss` drops frames
    sock.bind((interface, 0))
    sock.setblocking(False)
    return sock


def set_promiscuous(sock: socket.socket, interface: str) -> None:
    request = socket.if_nametoindex(interface).to_bytes(4, sys.byteorder) + (1).to_bytes(2, sys.byteorder)
    sock.setsockopt(SOL_PACKET, 1, request + bytes(10))  # PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC


def opens_connection(frame: bytes, denied: frozenset[bytes]) -> bool:
    """Return whether a frame is the first segment of a TCP connection over IPv4 from a denied address."""
    ip = frame[VNET_HEADER + 14 :]
    if frame[VNET_HEADER + 12 : VNET_HEADER + 14] != b"\x08\x00" or ip[9] != socket.IPPROTO_TCP:
        return False
    flags = ip[(ip[0] & 0x0F) * 4 + 13]
    return ip[12:16] in denied and flags & (SYN | ACK) == SYN


def receive(
    source: socket.socket,
    target: socket.socket,
    waiting: Waiting,
    delay_s: float,
    loss: float,
    denied: frozenset[bytes],
) -> None:
    while True:
        try:
            frame = source.recv(LARGEST)
        except BlockingIOError:
            return
        if random.random() >= loss and not (denied and opens_connection(frame, denied)):
            waiting.append((time.monotonic() + delay_s, target, frame))


def deliver(waiting: Waiting) -> float | None:
    """Send the frames that are due, and return the seconds until the next one, or None."""
    while waiting and (wait_s := waiting[0][0] - time.monotonic()) <= 0:
        _, target, frame = waiting.popleft()
        try:
            target.send(frame)
        except OSError:
            continue  # the interface is down or its queue is full, so the frame is lost
    return wait_s if waiting else None


def relay(one: str, other: str, delay_s: float, loss: float, denied: frozenset[bytes]) -> None:
    ends = {open_interface(one): one, open_interface(other): other}
    selector = selectors.DefaultSelector()
    (first, second) = ends
    for source, target in ((first, second), (second, first)):
        set_promiscuous(source, ends[source])
        selector.register(source, selectors.EVENT_READ, target)
    print("ready", flush=True)
    waiting: Waiting = deque()
    while True:
        for key, _ in selector.select(deliver(waiting)):
            assert isinstance(key.fileobj, socket.socket)
            try:
                receive(key.fileobj, key.data, waiting, delay_s, loss, denied)
            except OSError:
                time.sleep(0.05)  # the interface is down, perhaps not for long


if __name__ == "__main__":
    addresses = frozenset(map(socket.inet_aton, sys.argv[5:]))
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), addresses)
