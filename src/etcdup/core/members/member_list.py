"""The members of the cluster: their list, and which of its entries are hosts of cluster.yaml.

A member is identified by its peer URL (rule 5). Its name counts only if no host of cluster.yaml has this URL: then its
host has another address in cluster.yaml. So a wrong name in cluster.yaml removes no member.
"""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.plain_value import is_word


def member_list(observed: Observed) -> tuple[ListedMember, ...]:
    """Return the member list (Observed.member_list); empty if no voter answered. A learner reports no list."""
    return observed.member_list


def entry_of(spec: Spec, host: HostSpec, members: Iterable[ListedMember]) -> ListedMember | None:
    """Return the entry of this host: by its peer URL, otherwise by its name.

    A member that was added and never started has no name. An earlier entry with the name of the host has precedence.
    """
    entries, url = tuple(members), spec.peer_url(host)
    at_url = next((each for each in entries if each.name and url in each.peer_urls), None)
    return at_url or _by_name(spec, host, entries) or next((e for e in entries if url in e.peer_urls), None)


def _by_name(spec: Spec, host: HostSpec, entries: Iterable[ListedMember]) -> ListedMember | None:
    """Return the entry with the name of this host, unless another host of cluster.yaml has its peer URL."""
    taken = {spec.peer_url(each) for each in spec.hosts} - {spec.peer_url(host)}
    named = (each for each in entries if each.name and each.listed_name == host.member_name)
    return next((each for each in named if taken.isdisjoint(each.peer_urls)), None)


def with_host_names(spec: Spec, seen: MemberSeen) -> MemberSeen:
    """Return the answer of a member with the names of the hosts in its member list.

    The name of a member that belongs to no host can have any characters. If it cannot be the name of a host in commands
    and files, the ID takes its place.
    """
    found = ((host.name, entry_of(spec, host, seen.members)) for host in spec.hosts)
    names = {entry.member_id: name for name, entry in found if entry is not None and entry.name}
    members = (_named(each, names.get(each.member_id) or _usable_name(each)) for each in seen.members)
    return replace(seen, members=tuple(members))


def _usable_name(member: ListedMember) -> str:
    return member.name if not member.name or is_word(member.name) else f"member-{member.member_id:x}"


def _named(member: ListedMember, name: str) -> ListedMember:
    return member if name == member.name else replace(member, name=name, etcd_name=member.listed_name)


def stray_members(spec: Spec, members: Iterable[ListedMember]) -> tuple[ListedMember, ...]:
    """Return the members that belong to no host of cluster.yaml."""
    entries = tuple(members)
    ours = {entry.member_id for host in spec.hosts if (entry := entry_of(spec, host, entries))}
    return tuple(each for each in entries if each.member_id not in ours)


def name_of(member: ListedMember) -> str:
    """Return the name of the member in plans: its name, or its former host or its ID if it never started."""
    return member.name or member.former_host or f"member-{member.member_id:x}"


def leaving_host(spec: Spec, member: ListedMember) -> HostSpec:
    """Return the host of a member that is not in cluster.yaml any more, from its URLs.

    etcdup connects to it in the same way as to the other hosts.
    """
    peer = urlsplit(next(iter(member.peer_urls), ""))
    client = urlsplit(next(iter(member.client_urls), ""))
    name = name_of(member)
    root = _root_alongside(spec, name)
    # Not validated: the member exists, whatever its name is.
    return HostSpec.model_construct(
        name=name,
        member=member.listed_name or None,
        address=peer.hostname or "",
        peer_port=peer.port,
        client_port=client.port,
        local=root is not None,
        root=root,
    )


def is_known_address(pki: PkiSeen, address: str) -> bool:
    """Return whether a server certificate of the operator's PKI has this address.

    A member can report any address. etcdup connects only to those that the operator gave at some time.
    """
    servers = (cert for role, cert in pki.certs.items() if role.startswith("server/"))
    return bool(address) and any(address in (*cert.addresses, *cert.dns_names) for cert in servers)


def client_ports(spec: Spec, observed: Observed, name: str) -> frozenset[int]:
    """Return the client ports of a member: the one of cluster.yaml, and the one that the member listens on now."""
    listed = (url for each in member_list(observed) if each.name == name for url in each.client_urls)
    urls = (urlsplit(url) for url in listed)
    return frozenset(
        {spec.client_port(host_of(spec, observed, name)), *(url.port for url in urls if url.port)}
    )


def host_of(spec: Spec, observed: Observed, name: str) -> HostSpec:
    """Return the host with that name, in cluster.yaml or leaving. Raise KeyError if there is none."""
    return observed.leaving[name] if name in observed.leaving else spec.host(name)


def voter_names(observed: Observed) -> tuple[str, ...]:
    """Return the sorted names of the observed voters: those of cluster.yaml and those that leave."""
    voting = {name_of(each) for each in member_list(observed) if not each.is_learner}
    return tuple(sorted(voting & observed.members.keys()))


def answer_of(observed: Observed, member: ListedMember) -> MemberSeen | None:
    """Return the answer of the member, found by its ID. A new member on a wiped host has the same name and a new ID."""
    return next((seen for seen in observed.answering().values() if seen.member_id == member.member_id), None)


def member_list_differences(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return how the member list differs from cluster.yaml, one line for each member; none without a list."""
    members = member_list(observed)
    if not members:
        return ()
    own = (_difference(spec, host, entry_of(spec, host, members)) for host in spec.hosts)
    stray = (_stray(each) for each in stray_members(spec, members))
    return (*filter(None, own), *sorted(stray))


def _stray(member: ListedMember) -> str:
    name, started = name_of(member), "" if member.name else ", never started"
    if member.is_learner:
        return f"{name} is a learner in the member list{started}, has no vote, and is not in cluster.yaml"
    return f"{name} is in the member list{started}{',' if started else ''} and not in cluster.yaml"


def _difference(spec: Spec, host: HostSpec, entry: ListedMember | None) -> str:
    if entry is None:
        return f"{host.name} is in cluster.yaml and not in the member list"
    if entry.name and entry.listed_name != host.member_name:
        return f"{host.name} is the member {entry.listed_name} in the member list, not {host.member_name}"
    if spec.peer_url(host) not in entry.peer_urls:
        return peer_url_difference(spec, host, entry)
    if not entry.name:
        return f"{host.name} was added to the member list and never started"
    return f"{host.name} is a learner and has no vote yet" if entry.is_learner else ""


def peer_url_difference(spec: Spec, host: HostSpec, entry: ListedMember) -> str:
    """Return the text about a member whose peer URL in the member list is not the one of cluster.yaml."""
    return (
        f"{host.name} has the peer URL {', '.join(entry.peer_urls)} in the member list, "
        f"and {spec.peer_url(host)} in cluster.yaml"
    )


def _root_alongside(spec: Spec, name: str) -> str | None:
    """Return the directory of a local member, if all local members have `PARENT/NAME` with the same PARENT."""
    folders = {host.root.removesuffix(f"/{host.name}") for host in spec.hosts if host.root}
    regular = all(host.root and host.root.endswith(f"/{host.name}") for host in spec.hosts)
    return f"{folders.pop()}/{name}" if regular and len(folders) == 1 else None


def former_hosts(spec: Spec, observed: Observed) -> tuple[HostSpec, ...]:
    """Return the former hosts: hosts that are not in cluster.yaml any more and may still run a member.

    Their server certificates show them. The PKI keeps these until the hosts are cleared.
    If no host of cluster.yaml has a marker of a formed cluster, hosts whose address changed in cluster.yaml are former
    hosts too. Otherwise etcdup could form a second cluster while the first one runs at the old addresses.
    """
    markers = (seen.marker for seen in observed.reachable().values())
    known = any(marker is not None and (marker.formed or marker.replaces) for marker in markers)
    hosts = (
        _former_host(spec, role.removeprefix("server/"), cert, known=known)
        for role, cert in sorted(observed.pki.certs.items())
        if role.startswith("server/")
    )
    return tuple(host for host in hosts if host)


def _former_host(spec: Spec, name: str, cert: CertSeen, *, known: bool) -> HostSpec | None:
    addresses = [*cert.addresses, *cert.dns_names]
    if name not in {host.name for host in spec.hosts}:
        root = _root_alongside(spec, name)
    elif not known and addresses and spec.host(name).address not in addresses:
        name, root = f"{name}@{addresses[0]}", None  # the host with that name has another address now
    else:
        return None
    if not addresses:
        return None
    return HostSpec.model_construct(name=name, address=addresses[0], local=root is not None, root=root)
