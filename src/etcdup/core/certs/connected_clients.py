"""Who uses the members, as far as their hosts tell: who is connected now, and who was turned away for its certificate.

Neither etcd nor the kernel says which certificate an open connection began with. Whoever shows one of the old CA is
seen when a member that trusts the new CA alone turns it away: etcd then logs where it came from.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

# A gRPC client that is turned away tries again after two minutes at the latest (its backoff ends at 120 s, and a
# fifth more); whoever did not come back for this long was mended, or is gone.
CLIENT_RETRY = timedelta(seconds=150)

_ESTABLISHED = "01"
# As etcd 3.4 to 3.7 and Go's TLS write them. Go names the CA that has the issuer's name and is not it: that is how a
# certificate of this cluster's former CA is told from a stranger's.
_STARTING = "starting an etcd server"
_REJECTED = "rejected connection"
_OF_ANOTHER_CA = "certificate signed by unknown authority"
_OF_OUR_NAME = "candidate authority certificate"


def connected_addresses(tables: str, port: int) -> tuple[str, ...]:
    """Addresses with an open connection to `port`, by /proc/net/tcp and tcp6; the host's own are left out."""
    found, own = set(), set()
    for line in tables.splitlines():
        words = line.split()
        if len(words) < 4 or words[3] != _ESTABLISHED:
            continue
        (local, local_port), (remote, _) = _parse_socket_address(words[1]), _parse_socket_address(words[2])
        own.add(local)
        if local_port == port:
            found.add(remote)
    return tuple(sorted(found - own))


def _parse_socket_address(word: str) -> tuple[str, int]:
    """`4201A8C0:094B`: words of four bytes, the lowest first."""
    address, _, port = word.partition(":")
    packed = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    ip: IPv4Address | IPv6Address = ip_address(packed)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return str(mapped or ip), int(port, 16)


def rejected_addresses(log: Iterable[str], since: datetime) -> tuple[str, ...]:
    """Addresses that showed a certificate of a CA that has this cluster's CA's name, and is not it; since etcd's last
    start, for before that it may have trusted other CAs."""
    lines = list(log)
    started = max((at for at, line in enumerate(lines) if _STARTING in line), default=0)
    return tuple(
        sorted({address for when, address in _rejected_connections(lines[started:]) if when >= since})
    )


def _rejected_connections(log: Iterable[str]) -> Iterator[tuple[datetime, str]]:
    for line in log:
        if not (_REJECTED in line and _OF_ANOTHER_CA in line and _OF_OUR_NAME in line):
            continue
        try:
            entry = json.loads(line)
            address = str(entry["remote-addr"]).rpartition(":")[0].strip("[]")
            yield datetime.fromisoformat(entry["ts"]), address
        except (ValueError, KeyError, TypeError):
            continue


def refuse_drop_old_ca(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """The next member drops the old CA only when those that did so already turn nobody away (rule 15)."""
    if name not in hosts_dropping_old_ca(spec, observed) or not any(observed.rejected_clients.values()):
        return ()
    who = "; ".join(describe_rejected(observed.rejected_clients))
    return (
        Refused(
            f"a client still shows a certificate of the old CA, which {name} and others still take: {who}",
            hint="give that client a certificate of the new CA (`etcdup certs issue NAME`), or stop it; "
            f"what it tried more than {CLIENT_RETRY.total_seconds():.0f} s ago is not counted any more. Then "
            "`etcdup apply` goes on; "
            "`etcdup certs rotate-ca --keep-old` is the way back",
            host=name,
            rules=(15,),
        ),
    )


def describe_rejected(away: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """`infra1 turned away 10.0.0.9`, for each member that did so."""
    for member, addresses in away.items():
        if addresses:
            yield f"{member} turned away {', '.join(addresses)}"
