"""Who is in the cluster: the newest member list that was seen, and which of its entries are cluster.yaml's.

A member is known by its name. One that was added and never started has no name yet: it is known by its peer URL.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from etcdup.core.observed.model import CertSeen, ListedMember, MemberSeen, Observed
from etcdup.core.spec.model import HostSpec, Spec


def member_list(observed: Observed) -> tuple[ListedMember, ...]:
    """The newest member list that was seen; empty where no voter answered. A learner does not tell one."""
    return observed.member_list


def entry_of(spec: Spec, host: HostSpec, members: Iterable[ListedMember]) -> ListedMember | None:
    """This host's entry: by name, or by the peer URL where it has yet to start."""
    entries = tuple(members)
    by_name = next((each for each in entries if each.name == host.name), None)
    url = spec.peer_url(host)
    return by_name or next((each for each in entries if not each.name and url in each.peer_urls), None)


def stray_members(spec: Spec, members: Iterable[ListedMember]) -> tuple[ListedMember, ...]:
    """Members that no host of cluster.yaml stands for."""
    entries = tuple(members)
    ours = {entry.member_id for host in spec.hosts if (entry := entry_of(spec, host, entries))}
    return tuple(each for each in entries if each.member_id not in ours)


def name_of(member: ListedMember) -> str:
    """What a member is called in plans: its name, or its ID where it never started."""
    return member.name or f"member-{member.member_id:x}"


def leaving_host(spec: Spec, member: ListedMember) -> HostSpec:
    """Where a member runs that cluster.yaml no longer names: its URLs tell. It is reached as the others are."""
    peer = urlsplit(next(iter(member.peer_urls), ""))
    client = urlsplit(next(iter(member.client_urls), ""))
    name = name_of(member)
    root = _root_alongside(spec, name)
    # Not validated: what a member calls itself is not for us to refuse.
    return HostSpec.model_construct(
        name=name,
        address=peer.hostname or "",
        peer_port=peer.port,
        client_port=client.port,
        local=root is not None,
        root=root,
    )


def host_of(spec: Spec, observed: Observed, name: str) -> HostSpec:
    """The host of that name, in cluster.yaml or leaving; KeyError if there is none."""
    return observed.leaving[name] if name in observed.leaving else spec.host(name)


def voter_names(observed: Observed) -> tuple[str, ...]:
    """Names of the voters that were looked at, sorted: those of cluster.yaml and those that leave."""
    voting = {name_of(each) for each in member_list(observed) if not each.is_learner}
    return tuple(sorted(voting & observed.members.keys()))


def answer_of(observed: Observed, member: ListedMember) -> MemberSeen | None:
    """What the member itself answered, found by its ID: a wiped host's new member is not its old one."""
    return next((seen for seen in observed.answering().values() if seen.member_id == member.member_id), None)


def member_list_differences(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """How the member list differs from cluster.yaml, a line for each member; none where nobody tells a list."""
    members = member_list(observed)
    if not members:
        return ()
    own = (_difference(spec, host, entry_of(spec, host, members)) for host in spec.hosts)
    beyond = (
        f"{name_of(each)} is in the cluster{'' if each.name else ', never started,'} and not in cluster.yaml"
        for each in stray_members(spec, members)
    )
    return (*filter(None, own), *sorted(beyond))


def _difference(spec: Spec, host: HostSpec, entry: ListedMember | None) -> str:
    if entry is None:
        return f"{host.name} is in cluster.yaml and not in the cluster"
    if spec.peer_url(host) not in entry.peer_urls:
        return f"{host.name} is in the cluster as {', '.join(entry.peer_urls)}, not {spec.peer_url(host)}"
    if not entry.name:
        return f"{host.name} was added to the cluster and has never started"
    return f"{host.name} is a learner, which has no vote yet" if entry.is_learner else ""


def _root_alongside(spec: Spec, name: str) -> str | None:
    """The folder of a local member, where every other has its folder in one place, called by its name."""
    folders = {host.root.removesuffix(f"/{host.name}") for host in spec.hosts if host.root}
    regular = all(host.root and host.root.endswith(f"/{host.name}") for host in spec.hosts)
    return f"{folders.pop()}/{name}" if regular and len(folders) == 1 else None


def former_hosts(spec: Spec, observed: Observed) -> tuple[HostSpec, ...]:
    """Where members may run that cluster.yaml no longer names, by the certificates that they were given and that are
    kept until their hosts are cleared.

    Where no host of cluster.yaml knows a cluster, also those that it names elsewhere now: a cluster whose hosts were
    all exchanged must not be formed anew beside itself.
    """
    marks = (seen.marker for seen in observed.reachable().values())
    known = any(mark is not None and (mark.formed or mark.replaces) for mark in marks)
    places = (
        _former_host(spec, role.removeprefix("server/"), cert, known=known)
        for role, cert in sorted(observed.pki.certs.items())
        if role.startswith("server/")
    )
    return tuple(place for place in places if place)


def _former_host(spec: Spec, name: str, cert: CertSeen, *, known: bool) -> HostSpec | None:
    addresses = [*cert.addresses, *cert.dns_names]
    if name not in {host.name for host in spec.hosts}:
        root = _root_alongside(spec, name)
    elif not known and addresses and spec.host(name).address not in addresses:
        name, root = f"{name}@{addresses[0]}", None  # the host of that name is another machine now
    else:
        return None
    if not addresses:
        return None
    return HostSpec.model_construct(name=name, address=addresses[0], local=root is not None, root=root)
