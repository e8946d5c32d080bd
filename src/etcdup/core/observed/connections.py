"""The TCP connections of a host to client ports of etcd, with the programs that have them.

An address alone does not show which program has a connection: a client can run on a host of the cluster, next to etcd
and to the SSH session of etcdup. So the script also reads which process has each socket.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from etcdup.core.observed.sections import sections_of
from etcdup.core.spec.model import HostSpec

_ESTABLISHED = "01"
_NUMBER = re.compile(r"[0-9]{1,20}")

# Prints the processes of this session, all TCP sockets, and the process of each socket that listens on one of the
# ports, or is connected to one. The ports are arguments, as four hexadecimal digits. It needs only sh and coreutils.
# A program can choose its name, with line breaks and backslashes. Only the first line is printed, as it is.
CONNECTIONS = r"""
say() { printf '@%s\n' "$*"; }
ports=" $* "
say ours
pid=$$
while [ "${pid:-0}" -gt 1 ]; do
  echo "$pid"
  parent=0
  while read -r name value _; do [ "$name" != PPid: ] || { parent=$value; break; }; done <"/proc/$pid/status"
  pid=$parent
done
say sockets
tables=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
printf '%s\n' "$tables"
inodes=$(printf '%s\n' "$tables" | while read -r _ local remote state _ _ _ _ _ inode _; do
  case $state in 0A) port=${local##*:} ;; 01) port=${remote##*:} ;; *) continue ;; esac
  case $ports in *" $port "*) echo "$inode" ;; esac
done)
say owners
[ -z "$inodes" ] || for process in /proc/[0-9]*; do
  opened=$(ls -l "$process/fd" 2>/dev/null)
  for inode in $inodes; do
    case $opened in
      *"socket:[$inode]"*)
        name=
        read -r name 2>/dev/null <"$process/comm"
        printf '%s\n' "$inode ${process#/proc/} $name" ;;
    esac
  done
done
"""


@dataclass(frozen=True, order=True)
class Client:
    """A program with a connection to a client port. Neither etcd nor the kernel reports its certificate.

    The program and its process ID are known only on the hosts of the cluster. Elsewhere, all clients with one address
    are one Client.
    """

    address: str
    program: str = ""
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.address} ({self.program}, pid {self.pid})" if self.program else self.address


def connections_argv(ports: Iterable[int]) -> tuple[str, ...]:
    """Return the command that prints the connections of a host. `ports` are the client ports of all members."""
    return ("sh", "-c", CONNECTIONS, "etcdup-connections", *sorted({f"{port:04X}" for port in ports}))


@dataclass(frozen=True)
class Socket:
    """One TCP socket: its own end, the other end, and whether it is connected."""

    local: tuple[str, int]
    remote: tuple[str, int]
    inode: str
    is_connected: bool


@dataclass(frozen=True)
class HostConnections:
    """The sockets of a host. `owners` has the pid and the program of a socket by its inode, where they are known.

    `ours` are the processes of the session in which the script ran: sshd, sudo and the shell.
    """

    sockets: tuple[Socket, ...] = ()
    owners: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    ours: frozenset[int] = frozenset()

    def servers(self, ports: frozenset[int]) -> frozenset[int]:
        """Return the processes that listen on these ports. etcd also connects to itself, for its JSON gateway."""
        inodes = [each.inode for each in self.sockets if not each.is_connected and each.local[1] in ports]
        return frozenset(self.owners[inode][0] for inode in inodes if inode in self.owners)


def parse_connections(output: str) -> HostConnections:
    """Return the connections that the script printed. Lines that it does not print are ignored."""
    # `splitlines` also splits at other characters, which the name of a program can contain.
    sections = sections_of(output.split("\n"))
    owners: dict[str, tuple[int, str]] = {}
    for inode, pid, name in _owners(sections.get("owners", [])):
        owners.setdefault(inode, (int(pid), name))  # A process that was forked has the socket too.
    return HostConnections(
        tuple(_sockets(sections.get("sockets", []))),
        owners,
        frozenset(int(line) for line in sections.get("ours", []) if _NUMBER.fullmatch(line)),
    )


def _sockets(lines: Iterable[str]) -> Iterator[Socket]:
    for line in lines:
        words = line.split()
        if len(words) < 10 or words[3] not in (_ESTABLISHED, "0A"):
            continue
        try:
            local, remote = _parse_address(words[1]), _parse_address(words[2])
        except ValueError:
            continue
        yield Socket(local, remote, words[9], words[3] == _ESTABLISHED)


def _owners(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        inode, pid, name = [*line.split(" ", 2), "", ""][:3]
        if _NUMBER.fullmatch(inode) and _NUMBER.fullmatch(pid):
            yield inode, pid, name.strip()


def _parse_address(word: str) -> tuple[str, int]:
    """Parse `4201A8C0:094B`: groups of four bytes, the lowest byte first."""
    address, _, port = word.partition(":")
    packed = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    ip: IPv4Address | IPv6Address = ip_address(packed)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return str(mapped or ip), int(port, 16)


def clients_of_members(
    hosts: Mapping[str, HostSpec],
    ports: Mapping[str, frozenset[int]],
    seen: Mapping[str, HostConnections],
) -> dict[str, tuple[Client, ...]]:
    """Return the clients of each observed member. Connections of etcd and of etcdup itself are left out.

    `ports` are the client ports of each member: a member can still listen on a previous one.
    """
    origins = {
        (socket.local, socket.remote): (name, *owner)
        for name, connections in seen.items()
        for socket in connections.sockets
        if socket.is_connected and (owner := connections.owners.get(socket.inode))
    }
    found: dict[str, tuple[Client, ...]] = {}
    for name, connections in seen.items():
        clients = set()
        for socket in _served(hosts[name], ports[name], connections):
            origin = origins.get((socket.remote, socket.local))
            if origin is None:
                clients.add(Client(socket.remote[0]))
            elif origin[1] not in seen[origin[0]].ours | seen[origin[0]].servers(ports[origin[0]]):
                where, pid, program = origin
                # A client on a host of the cluster has the address of that host, even if it connects to 127.0.0.1.
                clients.add(Client(hosts[where].address, program, pid))
        found[name] = tuple(sorted(clients))
    return found


def _served(host: HostSpec, ports: frozenset[int], connections: HostConnections) -> Iterator[Socket]:
    """Yield the connections to the client ports of this member. Local members share their machine with others."""
    for socket in connections.sockets:
        is_own = host.root is None or socket.local[0] == host.address
        if socket.is_connected and socket.local[1] in ports and is_own:
            yield socket
