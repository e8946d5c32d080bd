"""Guards for the endpoints of clients: the last one that clients may know needs a confirmation before it is removed.

A client that has only endpoints of former members cannot connect any more, and no member can report the new ones to it.
So a plan that replaces all endpoints stops before the last one of them that works.
"""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.host.known_endpoints import (
    endpoint_records,
    known_endpoints,
    member_markers,
    served_endpoints,
)
from etcdup.core.members.bootstrap import cluster_phase
from etcdup.core.members.member_list import answer_of, entry_of, member_list, name_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import RecordEndpoints
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

CONFIRMATION = "--consumers-have endpoints"


def desired_endpoints(spec: Spec) -> frozenset[str]:
    """Return the client URLs of all members of cluster.yaml."""
    return frozenset(spec.client_url(host) for host in spec.hosts)


def replaces_all_endpoints(spec: Spec, observed: Observed) -> bool:
    """Return whether cluster.yaml has none of the endpoints that clients may know."""
    wanted = desired_endpoints(spec)
    return any(not record & wanted for record in endpoint_records(spec.name, observed))


def record_endpoints_steps(spec: Spec, observed: Observed) -> Iterator[RecordEndpoints]:
    """Yield the step that records the present endpoints, before they change for the first time."""
    markers = member_markers(spec.name, observed)
    served = served_endpoints(observed)
    if not markers or served == desired_endpoints(spec) or any(each.endpoints for each in markers.values()):
        return
    yield RecordEndpoints(
        hosts=tuple(markers), endpoints=tuple(sorted(served)), reason="clients may know these endpoints"
    )


def confirm_endpoints(spec: Spec, observed: Observed) -> tuple[tuple[RecordEndpoints, ...], Observed]:
    """Return the step that records that clients have the endpoints of cluster.yaml, and the observation after it.

    There is no step if all markers have this record, or if the cluster is not formed yet.
    """
    wanted = tuple(sorted(desired_endpoints(spec)))
    markers = member_markers(spec.name, observed)
    names = tuple(name for name, marker in markers.items() if marker.endpoints != wanted)
    if not names or cluster_phase(spec, observed, "").name != "formed":
        return (), observed
    hosts = dict(observed.hosts)
    for name in names:
        seen = hosts[name]
        assert isinstance(seen, HostSeen), "only reachable hosts have a marker"
        hosts[name] = replace(seen, marker=replace(markers[name], endpoints=wanted))
    step = RecordEndpoints(
        hosts=names, endpoints=wanted, reason="you confirmed that clients have these endpoints"
    )
    return (step,), replace(observed, hosts=hosts)


def refuse_remove_endpoint(
    member_id: int, spec: Spec, observed: Observed, *, command: str = "apply"
) -> tuple[Refused, ...]:
    """Allow the removal of a member if another endpoint works that clients may know."""
    entry = next((each for each in member_list(observed) if each.member_id == member_id), None)
    return () if entry is None else _refuse_last_endpoint(entry, command, spec, observed)


def refuse_move_endpoint(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow another address or client port of a member if another endpoint works that clients may know."""
    host = next((each for each in spec.hosts if each.name == name), None)
    entry = entry_of(spec, host, member_list(observed)) if host else None
    return () if entry is None else _refuse_last_endpoint(entry, "apply", spec, observed)


def _refuse_last_endpoint(
    entry: ListedMember, command: str, spec: Spec, observed: Observed
) -> tuple[Refused, ...]:
    leaving = frozenset(entry.client_urls) - desired_endpoints(spec)
    working = frozenset(
        url
        for each in member_list(observed)
        if each.member_id != entry.member_id and answer_of(observed, each) is not None
        for url in each.client_urls
    )
    if not any(record & leaving and not record & working for record in endpoint_records(spec.name, observed)):
        return ()
    name = name_of(entry)
    return (
        Refused(
            f"{name} is not changed yet: it has the last endpoint that clients may know, {', '.join(sorted(leaving))}; "
            f"{describe_clients(name, observed)}",
            hint="give all clients the present and the new endpoints: `etcdup export` and `etcdup certs issue NAME` "
            f"print both. Then run `etcdup {command} {CONFIRMATION}`",
            host=name,
        ),
    )


def describe_clients(name: str, observed: Observed) -> str:
    """Return which clients are connected to this member now, and which have certificates.

    Both lists can be incomplete.
    """
    clients = ", ".join(map(str, observed.clients.get(name, ())))
    shown = (
        f"connected to {name} now: {clients}"
        if clients
        else f"no client is connected to {name} at this moment"
    )
    names = consumer_names(observed)
    return shown + (f"; etcdup has issued certificates to {', '.join(names)}" if names else "")


def consumer_names(observed: Observed) -> tuple[str, ...]:
    """Return the consumers that have a certificate of this PKI."""
    roles = sorted(role for role in observed.pki.certs if role.startswith("client/"))
    return tuple(role.partition("/")[2] for role in roles)


def endpoint_notes(spec: Spec, observed: Observed) -> Iterator[str]:
    """Yield what clients have to do if cluster.yaml changes their endpoints."""
    served = served_endpoints(observed)
    if not served or served == desired_endpoints(spec):
        return
    if not replaces_all_endpoints(spec, observed):
        yield "clients that have a list of endpoints need the new list afterwards: `etcdup export` prints it"
        return
    known = ", ".join(known_endpoints(spec.name, observed))
    yield (
        f"cluster.yaml has none of the endpoints that clients may know ({known}). Apply stops before the last one of "
        f"them leaves. First give clients the present and the new endpoints, then pass `{CONFIRMATION}`"
    )
    for name in sorted(observed.clients):
        if observed.clients[name]:
            yield f"connected to {name} now: {', '.join(map(str, observed.clients[name]))}"
