"""The clients of the members while a rotation drops the old CA: which are proved, and which were rejected.

Neither etcd nor the kernel reports the certificate of an open connection. A client is proved when it is connected to a
member that trusts only the new CA. If that member rejects it, etcd logs its address. A client that keeps one connection
to another member shows neither. So that member is first restarted with both CAs: its clients then connect to other
members, and can still return if the others reject them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from etcdup.core.certs.ca_rotation import has_past_ca_file, hosts_dropping_old_ca
from etcdup.core.observed.connections import Client
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import MoveClients
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

# A rejected gRPC client tries again after 144 s at the latest: its backoff ends at 120 s, plus up to a fifth. A client
# that did not try again in this time has a new certificate, or does not run any more.
CLIENT_RETRY = timedelta(seconds=150)

# Texts of etcd 3.4 to 3.7 and of TLS in Go. If a trusted CA has the name of the issuer and did not sign the
# certificate, Go names that CA. This distinguishes a certificate of the old CA of this cluster from an unrelated one.
_STARTING = "starting an etcd server"
_REJECTED = "rejected connection"
_OF_ANOTHER_CA = "certificate signed by unknown authority"
_OF_OUR_NAME = "candidate authority certificate"


def last_rejections(log: Iterable[str], since: datetime) -> dict[str, datetime]:
    """Return the addresses of clients with a certificate of the old CA of this cluster, which the member rejected.

    Each one has the time of its last rejection. Only lines since the last start of etcd count: before it, the member
    may have trusted other CAs.
    """
    lines = list(log)
    started = max((at for at, line in enumerate(lines) if _STARTING in line), default=0)
    found = sorted(_rejected_connections(lines[started:]))
    return {address: when for when, address in found if when >= since}


def _rejected_connections(log: Iterable[str]) -> Iterator[tuple[datetime, str]]:
    for line in log:
        if not (_REJECTED in line and _OF_ANOTHER_CA in line and _OF_OUR_NAME in line):
            continue
        try:
            entry = json.loads(line)
            address = str(entry["remote-addr"]).rpartition(":")[0].strip("[]")
            when = datetime.fromisoformat(entry["ts"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if when.tzinfo is not None:  # Every time of etcd has its zone. Without it, times cannot be compared.
            yield when, address


def members_without_old_ca(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the members that run without the old CA while others still trust it."""
    left = hosts_dropping_old_ca(spec, observed)
    return tuple(name for name in observed.running() if name not in left) if left else ()


def unproved_clients(name: str, spec: Spec, observed: Observed) -> tuple[Client, ...]:
    """Return the clients of a member that trusts the old CA, without those that are proved.

    Until a first member has dropped the old CA, no client can be proved. Return none then.
    """
    if name not in hosts_dropping_old_ca(spec, observed) or not members_without_old_ca(spec, observed):
        return ()
    return tuple(each for each in observed.clients.get(name, ()) if each not in observed.proved_clients)


def move_clients_steps(spec: Spec, observed: Observed) -> dict[str, MoveClients]:
    """Return, by member, the step that makes its clients connect to other members, if one of them is not proved.

    If the host already has the file with only the new CA, a restart would drop the old CA: then there is no such step.
    """
    steps = {}
    for name in hosts_dropping_old_ca(spec, observed):
        unproved = unproved_clients(name, spec, observed)
        if unproved and has_past_ca_file(spec, name, observed):
            why = f"{_names(unproved)}: not yet seen on a member that trusts only the new CA"
            steps[name] = MoveClients(host=name, reason=why, rules=(15, 38))
    return steps


def drop_order(spec: Spec, observed: Observed) -> dict[str, int]:
    """Return a rank for each member: lower ranks drop the old CA earlier.

    The first member is the one with the fewest clients. Then follow members whose clients are all proved, and then
    the member with the most clients that are not. Otherwise all of them would move to the member that is last.
    """
    left, done = hosts_dropping_old_ca(spec, observed), members_without_old_ca(spec, observed)
    if not done:
        return {name: len(observed.clients.get(name, ())) for name in left}
    counts = {name: len(unproved_clients(name, spec, observed)) for name in left}
    most = max(counts.values(), default=0)
    return {name: most - count + 1 if count else 0 for name, count in counts.items()}


def refuse_move_clients(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the next step on a member that trusts the old CA only if no member without the old CA rejects a client."""
    accepting = hosts_dropping_old_ca(spec, observed)
    if name not in accepting or not any(observed.rejected_clients.values()):
        return ()
    who = "; ".join(describe_rejected(observed.rejected_clients))
    return (
        Refused(
            f"a client still uses a certificate of the old CA: {who}. Members that still accept it: "
            f"{', '.join(sorted(accepting))}",
            hint="give that client a certificate of the new CA (`etcdup certs issue NAME`), or stop it. After "
            f"{CLIENT_RETRY.total_seconds():.0f} s without a rejected connection, run `etcdup apply` again. "
            "To trust the old CA again, run `etcdup certs rotate-ca --keep-old`",
            host=name,
            rules=(15,),
        ),
    )


def refuse_drop_old_ca(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow a member to drop the old CA if no client was rejected, and if each of its clients is proved (rule 15)."""
    if rejected := refuse_move_clients(name, spec, observed):
        return rejected
    unproved = unproved_clients(name, spec, observed)
    if not unproved:
        return ()
    done = ", ".join(members_without_old_ca(spec, observed))
    options = " ".join(
        f"--accept-client {address}" for address in dict.fromkeys(each.address for each in unproved)
    )
    return (
        Refused(
            f"{name} keeps the old CA, because it is not proved that these clients have a certificate of the new CA: "
            f"{_names(unproved)}. They are connected to {name}, and were not seen on {done}",
            hint="check that each of them has a certificate of the new CA and the endpoints of all members, and "
            "restart it, or stop it. Then run `etcdup apply` again. If you are sure that it has that certificate, run "
            f"`etcdup certs rotate-ca --consumers-have certs {options}`",
            host=name,
            rules=(15,),
        ),
    )


def _names(clients: Iterable[Client]) -> str:
    return ", ".join(map(str, clients))


def describe_rejected(rejected: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield `infra1 rejected 10.0.0.9` for each member that rejected clients."""
    for member, addresses in rejected.items():
        if addresses:
            yield f"{member} rejected {', '.join(addresses)}"
