"""Which cluster a snapshot comes from. Names do not identify it: many clusters are called `prod`.

A snapshot file contains no cluster name, but its database lists the members with their IDs and peer URLs. One member
that is also a member of this cluster is enough. Members are replaced over time; a restore changes all member IDs and
keeps the addresses.
"""

import json
from collections.abc import Iterable
from typing import Any

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec


def read_members(entries: Iterable[bytes]) -> tuple[ListedMember, ...]:
    """Return the members from the values of etcd's bucket `members`. Values that are not a member in JSON are skipped.

    etcd 3.4 to 3.7 store each member as JSON.
    """
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def refuse_foreign_snapshot(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> tuple[Refused, ...]:
    """Refuse to replace this cluster's data by the data of another cluster.

    Hosts without data have nothing to lose. A restore that was allowed to start may resume.
    """
    if not snapshot.members or not _has_data(observed) or _was_allowed(spec, observed, snapshot):
        return ()
    if _is_ours(spec, observed, snapshot):
        return ()
    return (
        Refused(
            f"{snapshot.title} comes from another cluster{' with the same name' if snapshot.origin else ''}: its "
            f"members are {snapshot.members_text}, and cluster {spec.name} has no member with one of these IDs or "
            "peer URLs",
            hint=_hint(spec, snapshot),
        ),
    )


def _hint(spec: Spec, snapshot: SnapshotFile) -> str:
    exchanged = f"all members of {spec.name} were replaced after the snapshot was taken"
    if snapshot.origin:
        return (
            f"check that this is the right file. Pass `--from-cluster {spec.name}` if {exchanged}, or if the data of "
            "another cluster must replace the data of these hosts"
        )
    return (
        "check that this is the right file. With `--from-cluster NAME`, the data of cluster NAME in it replaces the "
        "data of these hosts. If "
        f"{exchanged}, pass `--from-cluster {spec.name}`"
    )


def _has_data(observed: Observed) -> bool:
    return bool(observed.answering()) or any(seen.has_member for seen in observed.reachable().values())


def _was_allowed(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> bool:
    markers = [seen.marker_of(spec.name) for seen in observed.reachable().values()]
    return any(
        marker is not None and marker.restored is not None and marker.restored.sha256 == snapshot.sha256
        for marker in markers
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
    """Return the peer addresses of this cluster: from the member list, cluster.yaml and the etcd processes."""
    urls = [url for each in seen for member in each.members for url in member.peer_urls]
    urls += [spec.peer_url(host) for host in spec.hosts]
    for host in observed.reachable().values():
        urls += host.unit.environment.get("ETCD_INITIAL_ADVERTISE_PEER_URLS", "").split(",")
    return _addresses(urls)


def _addresses(urls: Iterable[str]) -> set[str]:
    """Return host and port of each URL.

    The scheme does not count: a cluster that got TLS is still the same cluster. The port does: another cluster on the
    same hosts has other ports.
    """
    return {url.rpartition("://")[2].rstrip("/").lower() for url in urls} - {""}
