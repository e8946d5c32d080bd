"""Try the ports of other hosts before etcd is installed: one read-only script, which needs bash.

A refused connection is an answer: the network permits it, and only no program has the port open yet. If the member
runs, a firewall refuses it.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from etcdup.core.observed.sections import sections_of
from etcdup.core.spec.visible import one_line

TRY_S = 2
MAX_WORDS = 80
FIREWALLS = ("firewalld", "ufw")
_REFUSED = "connection refused"
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)

# Arguments: pairs of an address and a port. Each test prints one line, so the lines of two tests cannot mix.
PEER_PORTS = r"""
say() { printf '@%s\n' "$*"; }
LC_ALL=C; export LC_ALL
say firewall
case $(systemctl is-active firewalld.service 2>/dev/null) in active) echo firewalld ;; esac
case $(grep -s -i -e '^ENABLED=yes' /etc/ufw/ufw.conf) in ?*) echo ufw ;; esac
say ports
command -v bash >/dev/null || exit 0
limit=$1
shift
while [ $# -gt 1 ]; do
  { said=$(timeout "$limit" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1)
    case $?,$said in
      0,*) ;;
      *refused*) printf '%s\n' "$1 $2 connection refused" ;;
      124,*) printf '%s\n' "$1 $2 no answer within $limit s" ;;
      *) said=${said%%
*}; printf '%s\n' "$1 $2 ${said##*: }" ;;
    esac; } &
  shift 2
done
wait
"""


@dataclass(frozen=True)
class BlockedPort:
    """A TCP port of a host that another host does not reach, and why.

    A refused connection to a member that does not run counts as reached.
    """

    source: str
    target: str
    port: int
    why: str


def peer_ports_argv(targets: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Return the command that tries these addresses and ports."""
    words = (word for address, port in targets for word in (address, str(port)))
    return ("sh", "-c", PEER_PORTS, "etcdup-peer-ports", str(TRY_S), *words)


def parse_peer_ports(
    source: str, output: str, names: dict[tuple[str, int], str], running: Collection[str] = ()
) -> tuple[str, tuple[BlockedPort, ...]]:
    """Return the firewall that runs on the host, and the ports that it does not reach.

    `names` has the host of each address and port. Lines about other ports are left out. The members on the hosts
    `running` have their ports open, so a connection that is refused is blocked.
    """
    sections = sections_of(output.splitlines())
    found = []
    for line in sections.get("ports", []):
        address, _, rest = line.partition(" ")
        port, _, why = rest.partition(" ")
        target = names.get((address, int(port) if _PORT.fullmatch(port) else 0))
        if target is not None and (why != _REFUSED or target in running):
            found.append(BlockedPort(source, target, int(port), one_line(why, MAX_WORDS)))
    firewall = next((name for name in sections.get("firewall", []) if name in FIREWALLS), "")
    return firewall, tuple(dict.fromkeys(found))
