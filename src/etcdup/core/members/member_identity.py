"""Guards against a cluster.yaml that describes other members than those that run.

A wrong name, or the file of another cluster, would otherwise remove members and add new ones.
"""

from etcdup.core.host.known_endpoints import endpoint_records
from etcdup.core.members.endpoints import desired_endpoints
from etcdup.core.members.fixed_values import write_back
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import HostSpec, Spec, is_host_name
from etcdup.core.spec.template import scalar


def refuse_other_names(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse another name for a member that runs at the peer URL of a host (rule 5).

    The marker on the host has precedence: a name that only etcd has was not set by etcdup, and a restart corrects it.
    """
    members = member_list(observed)
    found = ((host, entry_of(spec, host, members)) for host in spec.hosts)
    return tuple(
        _refused_name(host, entry)
        for host, entry in found
        if entry is not None
        and entry.name
        and entry.listed_name != host.member_name
        and not _is_vouched(spec, host, entry, observed.reachable().get(host.name))
    )


def refuse_other_member(
    spec: Spec, host: HostSpec, entry: ListedMember, observed: Observed
) -> tuple[Refused, ...]:
    """Refuse a new address of a member if another member answers there: its name alone does not identify it."""
    seen = observed.answering().get(host.name)
    if seen is None or seen.member_id == entry.member_id:
        return ()
    return (
        Refused(
            f"{host.name}: the member at {spec.peer_url(host)} has the ID {seen.member_id:x}, and the member list has "
            f"{host.name} with the ID {entry.member_id:x} at {', '.join(entry.peer_urls)}",
            hint=f"check `address` of {host.name} in cluster.yaml",
            host=host.name,
            rules=(5, 36),
        ),
    )


def _is_vouched(spec: Spec, host: HostSpec, entry: ListedMember, seen: HostSeen | None) -> bool:
    """Return whether the marker has the name of cluster.yaml, or says that a new member replaces this one."""
    if seen is None or seen.marker is None or not seen.is_marked(spec.name):
        return False
    return seen.marker.member_name == host.member_name or seen.marker.replaces == f"{entry.member_id:x}"


def _refused_name(host: HostSpec, entry: ListedMember) -> Refused:
    name = entry.listed_name
    hint = write_back(host, name)
    if host.member is None and is_host_name(name):
        hint = f"write `name: {scalar(name)}` back for the host with the address {host.address}"
    return Refused(
        f"{host.name}: etcd has the member {name} at {', '.join(entry.peer_urls)}, not {host.member_name}, and a "
        "member keeps its name",
        hint=f"in cluster.yaml, {hint}",
        host=host.name,
        rules=(5,),
    )


def refuse_new_majority(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse an edit that replaces a majority of the members at once, except an exchange of all hosts.

    Too few of the members would be proved for a long time, and such an edit is a mistake in most cases. An exchange of
    all hosts stops until the operator confirms it (endpoints.py), and continues after a kill.
    """
    members = member_list(observed)
    voters = {each.member_id: each for each in members if not each.is_learner}
    entries = [entry_of(spec, host, members) for host in spec.hosts]
    kept = [each for each in entries if each is not None and each.member_id in voters]
    new = [host.name for host, entry in zip(spec.hosts, entries, strict=True) if entry is None]
    is_most = len(new) >= quorum_of(spec.size) and len(kept) < quorum_of(len(voters))
    if not voters or not is_most or _exchanges_all(spec, kept, observed):
        return ()
    most = len(voters) - quorum_of(len(voters))
    return (
        Refused(
            f"cluster.yaml keeps {len(kept)} of {len(voters)} members, and {', '.join(new)} would be new: this would "
            "replace a majority of the cluster",
            hint=f"check the hosts in cluster.yaml. Change at most {most} of them, run `etcdup apply`, and repeat. To "
            "exchange all hosts, write only new ones, then run `etcdup apply`: it stops when clients need the new "
            "endpoints",
            rules=(26, 34),
        ),
    )


def _exchanges_all(spec: Spec, kept: list[ListedMember], observed: Observed) -> bool:
    """Return whether no host is one of the first members, or the operator confirmed the endpoints of cluster.yaml.

    The markers have the first endpoints as long as the exchange is not confirmed.
    """
    records = endpoint_records(spec.name, observed)
    if records and all(desired_endpoints(spec) <= record for record in records):
        return True
    first = frozenset[str]().union(*records)
    return not any(first.intersection(each.client_urls) for each in kept)
