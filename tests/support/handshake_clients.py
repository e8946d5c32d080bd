"""Those who greet ports over and over, each time by a new TLS handshake, and count how that goes, the first time."""

import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PATIENCE_S = 30.0


class HandshakeClients:
    """A thread for each port, from `with` on until its end. The client's files are read at its beginning."""

    def __init__(self, ca: Path, cert: Path, key: Path, ports: Sequence[tuple[str, int]]) -> None:
        self.serials: dict[tuple[str, int], set[str]] = {port: set() for port in ports}
        self.greeted = dict.fromkeys(ports, 0)
        self.failed: list[str] = []
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(cert, key)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run_handshakes, args=(port,), daemon=True) for port in ports
        ]

    def __enter__(self) -> "HandshakeClients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S * 2)

    def _run_handshakes(self, port: tuple[str, int]) -> None:
        while not self._over.is_set():
            try:
                with (
                    socket.create_connection(port, timeout=PATIENCE_S) as plain,
                    self._context.wrap_socket(plain, server_hostname=port[0]) as secured,
                ):
                    shown = secured.getpeercert() or {}
                    self.serials[port].add(str(shown.get("serialNumber")))
                    self.greeted[port] += 1
            except OSError as error:
                self.failed.append(f"{port}: {error}")
