"""The clients of the members: which addresses are connected, and which were rejected because of their certificate.

Neither etcd nor the kernel reports the certificate of an open connection. A client with a certificate of the old CA
becomes visible when a member that trusts only the new CA rejects it: etcd then logs the address of the client.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

# A rejected gRPC client tries again after 144 s at the latest: its backoff ends at 120 s, plus up to a fifth. A client
# that did not try again in this time has a new certificate, or does not run any more.
CLIENT_RETRY = timedelta(seconds=150)

_ESTABLISHED = "01"
# Texts of etcd 3.4 to 3.7 and of TLS in Go. If a trusted CA has the name of the issuer and did not sign the
# certificate, Go names that CA. This distinguishes a certificate of the old CA of this cluster from an unrelated one.
_STARTING = "starting an etcd server"
_REJECTED = "rejected connection"
_OF_ANOTHER_CA = "certificate signed by unknown authority"
_OF_OUR_NAME = "candidate authority certificate"


def connected_addresses(tables: str, port: int) -> tuple[str, ...]:
    """Return the addresses with an open connection to `port`, from /proc/net/tcp and tcp6, without own addresses."""
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
    """Parse `4201A8C0:094B`: groups of four bytes, the lowest byte first."""
    address, _, port = word.partition(":")
    packed = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    ip: IPv4Address | IPv6Address = ip_address(packed)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return str(mapped or ip), int(port, 16)


def rejected_addresses(log: Iterable[str], since: datetime) -> tuple[str, ...]:
    """Return the addresses of clients with a certificate of the old CA of this cluster, which the member rejected.

    Only lines since the last start of etcd count: before it, the member may have trusted other CAs.
    """
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
    """Allow the next member to drop the old CA only if the members without the old CA reject no client (rule 15)."""
    if name not in hosts_dropping_old_ca(spec, observed) or not any(observed.rejected_clients.values()):
        return ()
    who = "; ".join(describe_rejected(observed.rejected_clients))
    return (
        Refused(
            f"a client still uses a certificate of the old CA, which {name} and other members still accept: {who}",
            hint="give that client a certificate of the new CA (`etcdup certs issue NAME`), or stop it. After "
            f"{CLIENT_RETRY.total_seconds():.0f} s without a rejected connection, run `etcdup apply` again. "
            "To trust the old CA again, run `etcdup certs rotate-ca --keep-old`",
            host=name,
            rules=(15,),
        ),
    )


def describe_rejected(rejected: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield `infra1 rejected 10.0.0.9` for each member that rejected clients."""
    for member, addresses in rejected.items():
        if addresses:
            yield f"{member} rejected {', '.join(addresses)}"
