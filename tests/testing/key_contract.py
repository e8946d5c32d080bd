"""How keys are read, and written if they have the expected revisions. Real etcd and the fake fulfil this contract."""

import pytest

from etcdup.remote.etcd.client import EtcdClient, GuardedPut
from etcdup.remote.etcd.errors import EtcdRefused
from tests.support.real_and_fake_etcd import ClusterUnderTest

S = 10.0
MOST_OPERATIONS = 128


async def keeps_what_changed(place: ClusterUnderTest) -> None:
    """All keys of a request are written, or none."""
    async with place.client("m1") as client:
        await client.put(b"/k/a", b"1", timeout_s=S)
        (a, b) = await client.read_keys([b"/k/a", b"/k/b"], timeout_s=S)
        assert a is not None
        assert (a.value, a.lease, b) == (b"1", 0, None)
        puts = [GuardedPut(b"/k/a", b"old a", a.revision), GuardedPut(b"/k/b", b"old b", 0)]
        await client.put(b"/k/a", b"1", timeout_s=S)
        assert not await client.put_guarded(puts, timeout_s=S), "the same value with another revision"
        assert await values(client) == (b"1", None)
        (a,) = await client.read_keys([b"/k/a"], timeout_s=S)
        assert a is not None
        puts[0] = GuardedPut(b"/k/a", b"old a", a.revision)
        assert await client.put_guarded(puts, timeout_s=S)
        assert await values(client) == (b"old a", b"old b")
        assert not await client.put_guarded(puts, timeout_s=S), "a repeated request changes nothing"
        await client.delete(b"/k/a", timeout_s=S)
        assert not await client.put_guarded(puts[:1], timeout_s=S), "a deleted key is not written"
        assert await client.put_guarded([GuardedPut(b"/k/a", b"again", 0)], timeout_s=S)


async def counts_keys_of_a_prefix(place: ClusterUnderTest) -> None:
    async with place.client("m1") as client:
        for key in (b"/k", b"/k/a", b"/k/b", b"/l"):
            await client.put(key, b"", timeout_s=S)
        prefixes = (b"/k/", b"/k", b"/", b"/m")
        counts = [(await client.count_keys(prefix, timeout_s=S)).keys for prefix in prefixes]
        assert counts == [2, 3, 4, 0]
        everything = await client.count_keys(b"", timeout_s=S)
        assert everything.keys >= 4
        (found,) = await client.read_keys([b"/k"], everything.revision, timeout_s=S)
        assert found is not None
        assert found.revision < everything.revision


async def limits_the_operations_of_a_request(place: ClusterUnderTest) -> None:
    async with place.client("m1") as client:
        puts = [GuardedPut(b"/k/%d" % number, b"", 0) for number in range(MOST_OPERATIONS + 1)]
        with pytest.raises(EtcdRefused, match="too many operations"):
            await client.put_guarded(puts, timeout_s=S)
        assert await client.put_guarded(puts[:-1], timeout_s=S)
        assert (await client.count_keys(b"/k/", timeout_s=S)).keys == MOST_OPERATIONS


async def values(client: EtcdClient) -> tuple[bytes | None, ...]:
    found = await client.read_keys([b"/k/a", b"/k/b"], timeout_s=S)
    return tuple(each.value if each else None for each in found)


PROMISES = (keeps_what_changed, counts_keys_of_a_prefix, limits_the_operations_of_a_request)
