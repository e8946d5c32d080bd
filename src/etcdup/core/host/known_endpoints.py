"""The endpoints that clients may know, as the markers of the members' hosts record them.

etcdup cannot read the configuration of clients. The endpoints of a new cluster are recorded when it is formed. They
stay recorded while members are added and removed, in one run or in several, until the operator confirms that the
clients have the new endpoints. The marker of each new member gets the record of the other members.
"""

from collections.abc import Mapping

from etcdup.core.observed.marker import Marker
from etcdup.core.observed.model import Observed


def member_markers(cluster: str, observed: Observed) -> Mapping[str, Marker]:
    """Return the markers of reachable hosts whose member is a voter.

    A host that left and joins again can have the marker of its former member until its new member is promoted.
    """
    listed = {each.name for each in observed.member_list if not each.is_learner}
    return {
        name: marker
        for name, seen in sorted(observed.reachable().items())
        if name in listed and (marker := seen.marker_of(cluster)) is not None
    }


def endpoint_records(cluster: str, observed: Observed) -> tuple[frozenset[str], ...]:
    """Return each record of endpoints that clients may know. Without a record, these are the present endpoints."""
    found = [frozenset(marker.endpoints) for marker in member_markers(cluster, observed).values()]
    return tuple(filter(None, found)) or ((served,) if (served := served_endpoints(observed)) else ())


def known_endpoints(cluster: str, observed: Observed) -> tuple[str, ...]:
    """Return the endpoints that a new marker records: those that most other markers have."""
    records = endpoint_records(cluster, observed)
    most = max(records, key=lambda each: (records.count(each), sorted(each)), default=frozenset[str]())
    return tuple(sorted(most))


def served_endpoints(observed: Observed) -> frozenset[str]:
    """Return the client URLs in the member list."""
    return frozenset(url for each in observed.member_list for url in each.client_urls)
