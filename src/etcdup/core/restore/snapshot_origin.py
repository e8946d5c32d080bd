"""Whose data a snapshot holds. Names say little: many a cluster is called `prod`, and its first member `infra1`.

No file says a cluster's name, but its database lists the members with their IDs and peer URLs. One of them that is
one of ours is enough: members come and go, a restore gives all of them other IDs, and keeps their addresses.
"""

import json
from collections.abc import Iterable
from typing import Any

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.model import ListedMember, MemberSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec


def read_members(entries: Iterable[bytes]) -> tuple[ListedMember, ...]:
    """The values of etcd's bucket `members`: JSON from 3.4 to 3.7. One that is not does not say whose it is."""
    found = (_member(entry) for entry in entries)
    return tuple(sorted((each for each in found if each), key=lambda each: (each.name, each.member_id)))


def _member(entry: bytes) -> ListedMember | None:
    try:
        facts: dict[str, Any] = json.loads(entry)
        return ListedMember(
            member_id=int(facts["id"]),
            name=str(facts.get("name") or ""),
            peer_urls=tuple(map(str, facts.get("peerURLs") or ())),
            client_urls=tuple(map(str, facts.get("clientURLs") or ())),
            is_learner=bool(facts.get("isLearner")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def refuse_foreign_snapshot(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> tuple[Refused, ...]:
    """Where another cluster's data would take the place of this one's. On hosts without data there is none to lose, and
    what was let begin may go on."""
    if not snapshot.members or not _has_data(observed) or _was_allowed(spec, observed, snapshot):
        return ()
    if _is_ours(spec, observed, snapshot):
        return ()
    return (
        Refused(
            f"{snapshot.title} is of another cluster{' of that name' if snapshot.origin else ''}: its members are "
            f"{snapshot.members_text}, and {spec.name} has none of these, neither by its ID nor by its peer URL",
            hint=_hint(spec, snapshot),
        ),
    )


def _hint(spec: Spec, snapshot: SnapshotFile) -> str:
    own = f"this cluster's own, and all of its members were exchanged since: then `--from-cluster {spec.name}` says so"
    if snapshot.origin:
        return f"it may be {own}; so it does where the other's data is wanted here, as a clone"
    return f"`--from-cluster NAME` restores it here all the same, as a clone of cluster NAME; or it is {own}"


def _has_data(observed: Observed) -> bool:
    return bool(observed.answering()) or any(seen.has_member for seen in observed.reachable().values())


def _was_allowed(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> bool:
    marks = [seen.marker for seen in observed.reachable().values() if seen.marker is not None]
    return any(
        mark.cluster == spec.name and mark.restored is not None and mark.restored.sha256 == snapshot.sha256
        for mark in marks
    )


def _is_ours(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> bool:
    seen = list(observed.answering().values())
    if snapshot.cluster_id in {f"{each.cluster_id:x}" for each in seen}:
        return True
    if {each.member_id for each in snapshot.members} & _ids(seen):
        return True
    urls = (url for each in snapshot.members for url in each.peer_urls)
    return not _addresses(urls).isdisjoint(_own_addresses(spec, observed, seen))


def _ids(seen: Iterable[MemberSeen]) -> set[int]:
    return {number for each in seen for number in (each.member_id, *(m.member_id for m in each.members))}


def _own_addresses(spec: Spec, observed: Observed, seen: Iterable[MemberSeen]) -> set[str]:
    """Where members are now by their own list, where cluster.yaml has them, and where a process was told that it is."""
    urls = [url for each in seen for member in each.members for url in member.peer_urls]
    urls += [spec.peer_url(host) for host in spec.hosts]
    for host in observed.reachable().values():
        urls += host.unit.environment.get("ETCD_INITIAL_ADVERTISE_PEER_URLS", "").split(",")
    return _addresses(urls)


def _addresses(urls: Iterable[str]) -> set[str]:
    """Host and port: a cluster that was given TLS is the same one, and another on the same hosts has other ports."""
    return {url.rpartition("://")[2].rstrip("/").lower() for url in urls} - {""}
