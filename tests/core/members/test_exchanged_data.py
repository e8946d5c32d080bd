"""The order in which peer URLs change in the member list, so that no two members have the same one."""

from itertools import permutations

import pytest

from etcdup.core.members.exchanged_data import peer_url_changes

URLS = tuple(f"https://192.168.8.{each}:2380" for each in range(66, 71))


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_any_exchange_ends_with_the_url_of_each_host(order: tuple[int, ...]) -> None:
    """etcd refuses a URL that another member has."""
    listed = {ident: (URLS[ident],) for ident in range(5)}
    wanted = {ident: URLS[at] for ident, at in enumerate(order) if ident != at}
    urls = {ident: each[0] for ident, each in listed.items()}
    for ident, url in peer_url_changes(wanted, listed):
        assert url not in urls.values()
        urls[ident] = url
    assert urls == {ident: wanted.get(ident, URLS[ident]) for ident in range(5)}


def test_an_exchange_of_two_needs_one_url_that_no_member_uses() -> None:
    listed = {0: (URLS[0],), 1: (URLS[1],)}
    changes = peer_url_changes({0: URLS[1], 1: URLS[0]}, listed)
    assert changes == ((0, "https://192.168.8.67:1"), (1, URLS[0]), (0, URLS[1]))
    # After the first change, an interrupted operator gets the last two.
    left = peer_url_changes({0: URLS[1], 1: URLS[0]}, {0: ("https://192.168.8.67:1",), 1: (URLS[1],)})
    assert left == changes[1:]
