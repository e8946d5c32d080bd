"""A client of etcd's JSON gateway that keeps one connection, as Patroni does.

It connects to another member only when its connection ends. From the member that it connects to it gets the member
list, and uses these endpoints from then on.
"""

import json
from dataclasses import dataclass, field

from etcdup.testing.machine import FakeMachine, FakeProcess, Network

_UNKNOWN_CA = (
    "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of "
    '"x509: ECDSA verification failure" while trying to verify candidate authority certificate "etcdup:prod:ca")'
)


@dataclass(eq=False)
class FakeGatewayClient:
    """The client. `issuer` is the certificate of the CA that signed its own, in PEM.

    `machine` is the machine on which it runs; empty if that is not a host of the cluster. `keeps_endpoints`: it never
    asks for the member list. `rejections` counts members that rejected it, and `cut_off` says that it has no member.
    """

    address: str
    endpoints: list[str]
    issuer: bytes
    machine: str = ""
    program: str = "patroni"
    pid: int = 812
    port: int = 40_000
    keeps_endpoints: bool = False
    process: FakeProcess | None = field(default=None, repr=False)
    member: str = ""
    rejections: int = 0
    longest_gap_s: float = 0.0
    tried_at: float = -1.0
    lost_at: float | None = None

    @property
    def cut_off(self) -> bool:
        return self.process is None

    def keep_connected(self, network: Network) -> None:
        """Keep the connection while its member runs. Otherwise try the other endpoints, and the same one at last."""
        if self._is_served(network) or network.now() == self.tried_at:
            return
        if self.process is not None:
            self.lost_at = network.now()
        self.process, self.tried_at = None, network.now()
        for machine in self._candidates(network):
            if self._connect(machine):
                self.tried_at = -1.0
                self.longest_gap_s = max(self.longest_gap_s, network.now() - (self.lost_at or network.now()))
                return

    def _is_served(self, network: Network) -> bool:
        machine = network.machines.get(self.member)
        return self.process is not None and machine is not None and machine.process is self.process

    def _candidates(self, network: Network) -> list[FakeMachine]:
        count = len(self.endpoints)
        found = [
            (machine.name == self.member, (self.endpoints.index(url) + self.port) % count, machine)
            for machine in network.machines.values()
            if machine.process is not None and machine.process.ready
            for url in machine.process.environment["ETCD_ADVERTISE_CLIENT_URLS"].split(",")
            if url in self.endpoints
        ]
        return [machine for *_, machine in sorted(found, key=lambda each: each[:2])]

    def _connect(self, machine: FakeMachine) -> bool:
        process = machine.process
        assert process is not None
        is_required = process.environment.get("ETCD_CLIENT_CERT_AUTH") != "false"
        if is_required and self.issuer.strip() not in process.ca_file:
            self.rejections += 1
            machine.log.append(self._rejection(machine.network.now_text()))
            return False
        self.process, self.member = process, machine.name
        if not self.keeps_endpoints:
            members = process.cluster.members.values()
            self.endpoints = [url for member in members for url in member.client_urls] or self.endpoints
        return True

    def _rejection(self, at: str) -> str:
        """Return the log line of etcd about it."""
        where = {"remote-addr": f"{self.address}:{self.port}", "server-name": "", "error": _UNKNOWN_CA}
        return json.dumps(
            {"level": "warn", "ts": at, "msg": "rejected connection on client endpoint", **where}
        )


def print_connections(machine: FakeMachine) -> str:
    """Return the output of the script of core/observed/connections.py."""
    sockets, owners = [], []
    for client in machine.network.clients:
        server = machine.network.machines.get(client.member)
        if client.process is None or server is None or server.process is not client.process:
            continue
        near = _hex(client.address, client.port)
        far = _hex_of_url(client.process.environment["ETCD_ADVERTISE_CLIENT_URLS"].split(",")[0])
        if client.machine == machine.name:
            inode = str(client.port)
            sockets.append(_row(near, far, inode))
            owners.append(f"{inode} {client.pid} {client.program}")
        if server is machine:
            sockets.append(_row(far, near, "1"))
    return "\n".join(["@ours", "4", "@sockets", *sockets, "@owners", *owners]) + "\n"


def _row(local: str, remote: str, inode: str) -> str:
    return f"   0: {local} {remote} 01 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0"


def _hex_of_url(url: str) -> str:
    address, _, port = url.partition("://")[2].rpartition(":")
    return _hex(address, int(port))


def _hex(address: str, port: int) -> str:
    """Return an IPv4 address and a port as in /proc/net/tcp."""
    return f"{bytes(map(int, address.split('.')))[::-1].hex().upper()}:{port:04X}"
