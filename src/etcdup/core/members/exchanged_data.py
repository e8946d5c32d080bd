"""Members with the data of other hosts: the data directories of two hosts were exchanged, or one was copied.

etcd takes its ID from its data, and the other members connect to the peer URL that the member list has for this ID. So
two exchanged members have no connection to each other, although each follows a leader for some time. The cluster has no
quorum when another member fails (seen with 3.5.33 and 3.6.14). etcdup finds a member by the peer URL of its host, so
each step on one of them would change the other one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

# No member listens on this port. It is the peer URL of an ID until the other ID has left the URL of its host.
_UNUSED_PORT = 1


@dataclass(frozen=True)
class MisplacedMember:
    """A member that runs on `host`, although the member list has its ID at the peer URL of the host `owner`."""

    host: str
    owner: str
    member: ListedMember


def misplaced_members(spec: Spec, observed: Observed) -> tuple[MisplacedMember, ...]:
    """Return the members that run on another host than that of their peer URL.

    A member whose own address changes is none of them: neither has another member the new URL, nor another host the old
    one.
    """
    members = {each.member_id: each for each in member_list(observed)}
    urls = {spec.peer_url(host): host.name for host in spec.hosts}
    users = {url: each.member_id for each in members.values() if each.name for url in each.peer_urls}
    found = []
    for host in spec.hosts:
        seen, url = observed.answering().get(host.name), spec.peer_url(host)
        member = members.get(seen.member_id) if seen is not None else None
        if member is None or url in member.peer_urls:
            continue
        if url in users or any(each in urls for each in member.peer_urls):
            found.append(MisplacedMember(host.name, _owner(spec, member), member))
    return tuple(found)


def _owner(spec: Spec, member: ListedMember) -> str:
    at_url = (host.name for host in spec.hosts if spec.peer_url(host) in member.peer_urls)
    return next(at_url, name_of(member))


def refuse_exchanged_data(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse each change of a cluster in which a member has the data of another host."""
    found = misplaced_members(spec, observed)
    ids = [seen.member_id for name, seen in observed.answering().items() if name not in observed.leaving]
    copies = [each for each in found if ids.count(each.member.member_id) > 1]
    if copies:
        return tuple(_refused_copy(each) for each in copies)
    if not found:
        return ()
    what = ", and ".join(f"{each.host} has the data of {each.owner}" for each in found)
    return (
        Refused(
            f"{what}. These members have no connection to each other, so the cluster can lose its quorum when one more "
            "fails",
            hint=_exchange_hint(spec, observed, found),
            rules=(5, 36),
        ),
    )


def _refused_copy(each: MisplacedMember) -> Refused:
    return Refused(
        f"{each.host} has a copy of the data of {each.owner}, so two processes have the member ID "
        f"{each.member.member_id:x}. In an election, this member can vote twice",
        hint=f"stop etcd on {each.host} now, with `systemctl stop etcd`. If you have the data of {each.host}, put it "
        f"back and run `etcdup apply`. Otherwise run `etcdup member replace {each.host}`",
        host=each.host,
        rules=(5, 32),
    )


def _exchange_hint(spec: Spec, observed: Observed, found: tuple[MisplacedMember, ...]) -> str:
    """Return the commands that give each ID the peer URL of its host. They need a quorum, and move no data."""
    answering = observed.answering()
    leaders = {seen.leader_id for seen in answering.values()} - {0}
    through = [name for name, seen in sorted(answering.items()) if seen.member_id in leaders]
    hosts = [each.host for each in found]
    if not through:
        where = " and ".join(hosts)
        return (
            f"start the members that do not run first. If no member has a leader after that, run `systemctl stop etcd` "
            f"on {where}, put the data of each host back into its data directory, and start etcd there"
        )
    wanted = {each.member.member_id: spec.peer_url(spec.host(each.host)) for each in found}
    listed = {each.member_id: each.peer_urls for each in member_list(observed)}
    commands = [
        f"`etcdup ctl --endpoint {through[0]} -- member update {ident:x} --peer-urls={url}`"
        for ident, url in peer_url_changes(wanted, listed)
    ]
    return (
        f"run {', then '.join(commands)}. They give each member ID the peer URL of the host that has its data. Or stop "
        f"etcd on {' and '.join(hosts)}, and put the data of each host back into its data directory"
    )


def peer_url_changes(
    wanted: Mapping[int, str], listed: Mapping[int, tuple[str, ...]]
) -> tuple[tuple[int, str], ...]:
    """Return the changes of peer URLs, in order. etcd refuses a URL that another member has at that time.

    A URL of a member that is not in `wanted` is not available, so there is no change for who wants it.
    """
    urls, left, changes = dict(listed), dict(wanted), []
    while left:
        ident = next((each for each, url in left.items() if not _is_used(url, each, urls)), None)
        if ident is not None:
            urls[ident] = (left.pop(ident),)
        else:
            # Each member in a circle waits for the next one.
            ident = next((each for each in left if any(url in left.values() for url in urls[each])), None)
            if ident is None:
                break
            urls[ident] = (_at_unused_port(left[ident]),)
        changes.append((ident, urls[ident][0]))
    return tuple(changes)


def _is_used(url: str, ident: int, urls: Mapping[int, tuple[str, ...]]) -> bool:
    return any(url in each for other, each in urls.items() if other != ident)


def _at_unused_port(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{_UNUSED_PORT}").geturl()
