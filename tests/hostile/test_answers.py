"""Whatever a member answers, it is that member's error, and nothing of it reaches a file or a plan unchecked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.spec.plain_value import is_member_url, is_plain
from etcdup.remote.etcd.answers import MAX_MEMBERS, listed_members, member_seen
from etcdup.remote.etcd.errors import EtcdInternalError
from etcdup.remote.etcd.grpc_library import pb

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        [
            "3.6.14",
            "garbage",
            "../../x",
            "\x1b[2J",
            'a"\nX="y',
            "https://x;id>y;:2380",
            "https://[::",
            "x" * 10**5,
        ]
    ),
)
NUMBERS = st.integers(0, 2**64 - 1)


@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS, TEXTS, NUMBERS, st.integers(-(2**63), 2**63 - 1))
def test_any_status(version: str, error: str, minor: str, number: int, size: int) -> None:
    info = pb.DowngradeInfo(enabled=True, targetVersion=minor)
    status = pb.StatusResponse(
        version=version, errors=[error] * 40, storageVersion=minor, raftTerm=number, dbSize=size, dbSizeInUse=size,
        dbSizeQuota=size, leader=number, downgradeInfo=info,
    )  # fmt: skip
    try:
        seen = member_seen("infra1", status, ())
    except EtcdInternalError:
        return
    assert seen.db_size >= 0
    assert len(seen.errors) <= 16
    for text in (*seen.errors, seen.storage_version, seen.downgrade_to):
        assert "\n" not in text
        assert len(text) < 2000


@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_any_member_list(name: str, peer_url: str, client_url: str) -> None:
    member = pb.Member(ID=1, name=name, peerURLs=[peer_url], clientURLs=[client_url])
    try:
        (listed,) = listed_members("infra1", pb.MemberListResponse(members=[member]))
    except EtcdInternalError:
        return
    assert is_plain(listed.name)
    assert is_member_url(listed.peer_urls[0])
    assert is_member_url(listed.client_urls[0])


def test_a_member_list_is_bounded() -> None:
    many = [pb.Member(ID=number) for number in range(MAX_MEMBERS + 1)]
    with pytest.raises(EtcdInternalError):
        listed_members("infra1", pb.MemberListResponse(members=many))
    urls = [f"https://h:{port}" for port in range(1, 100)]
    with pytest.raises(EtcdInternalError):
        listed_members("infra1", pb.MemberListResponse(members=[pb.Member(ID=1, peerURLs=urls)]))


def test_a_list_of_etcd_itself_is_read() -> None:
    member = pb.Member(ID=7, name="default", peerURLs=["http://localhost:2380", "https://[fd00::1]:2380"])
    (listed,) = listed_members("infra1", pb.MemberListResponse(members=[member]))
    assert (listed.member_id, listed.name) == (7, "default")
