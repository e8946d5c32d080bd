"""Clients that repeat a new TLS handshake on ports, and record serial numbers and failures. They never retry."""

import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

TIMEOUT_S = 30.0


class HandshakeClients:
    """One thread for each port, for the length of the block. The client's files are read once, by the constructor."""

    def __init__(self, ca: Path, cert: Path, key: Path, ports: Sequence[tuple[str, int]]) -> None:
        self.serials: dict[tuple[str, int], set[str]] = {port: set() for port in ports}
        self.handshakes = dict.fromkeys(ports, 0)
        self.failed: list[str] = []
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(cert, key)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run_handshakes, args=(port,), daemon=True) for port in ports
        ]

    def __enter__(self) -> "HandshakeClients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S * 2)

    def _run_handshakes(self, port: tuple[str, int]) -> None:
        while not self._stop.is_set():
            try:
                with (
                    socket.create_connection(port, timeout=TIMEOUT_S) as plain,
                    self._context.wrap_socket(plain, server_hostname=port[0]) as secured,
                ):
                    certificate = secured.getpeercert() or {}
                    self.serials[port].add(str(certificate.get("serialNumber")))
                    self.handshakes[port] += 1
            except OSError as error:
                self.failed.append(f"{port}: {error}")
