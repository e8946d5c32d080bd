"""Whose a snapshot is, by the members that it lists: ours is never refused, another's only where data would be lost."""

import json
from dataclasses import replace
from typing import Any

import pytest

from etcdup.core.members.member_list import listed
from etcdup.core.observed.model import HostSeen, ListedMember, MemberSeen, Observed, Restored
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.restore.restore import SnapshotFile, plan_restore
from etcdup.core.restore.snapshot_origin import against_stranger, read_members
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import TOKEN, Sight

SPEC = spec_of(3, version=BASE)
OURS = tuple(SPEC.peer_url(host) for host in SPEC.hosts)
THEIRS = tuple(f"https://10.9.9.{number}:2380" for number in (1, 2, 3))


def seen(members: str = "HHH") -> Observed:
    """`members` as in first_states."""
    return Sight(SPEC, SPEC).observed(next(first_states(tuple(members))))


def snapshot(*urls: str, ids: tuple[int, ...] = (), **facts: Any) -> SnapshotFile:
    """Of a cluster whose members are called as ours are."""
    members = tuple(
        ListedMember(ids[at] if ids else 900 + at, f"infra{at + 1}", (url,), (), is_learner=False)
        for at, url in enumerate(urls)
    )
    return SnapshotFile("/s.db", "ab" * 32, 1 << 20, 7, "3.6.0", members=members, **facts)


def marked(observed: Observed, restored: Restored) -> Observed:
    hosts = {
        name: replace(host, marker=replace(host.marker, restored=restored))
        for name, host in observed.hosts.items()
        if isinstance(host, HostSeen) and host.marker is not None
    }
    return replace(observed, hosts=hosts)


def moved(observed: Observed) -> Observed:
    """The member list says other places than cluster.yaml does: an address is being changed."""
    there = {
        name: replace(
            member,
            members=tuple(
                replace(each, peer_urls=(url,)) for each, url in zip(member.members, THEIRS, strict=True)
            ),
        )
        for name, member in observed.members.items()
        if isinstance(member, MemberSeen)
    }
    return replace(observed, members={**observed.members, **there})


IDS = tuple(each.member_id for each in listed(seen()))
CLUSTER = f"{next(iter(seen().answering().values())).cluster_id:x}"


@pytest.mark.parametrize(
    ("file", "observed"),
    [
        pytest.param(snapshot(*OURS, ids=IDS), seen(), id="the same members"),
        pytest.param(snapshot(*OURS), seen(), id="other IDs, as after a restore"),
        pytest.param(snapshot(*OURS), seen("DDD"), id="nobody answers"),
        pytest.param(snapshot(OURS[2], *THEIRS[:2]), seen(), id="two were replaced on other machines"),
        pytest.param(snapshot(OURS[0]), seen(), id="it grew from one"),
        pytest.param(snapshot(*THEIRS, OURS[1]), seen(), id="it shrank"),
        pytest.param(
            snapshot(*THEIRS, ids=(1, 2, IDS[1])), seen(), id="the last one of them has moved since"
        ),
        pytest.param(snapshot(*THEIRS), moved(seen()), id="as the member list has it, not cluster.yaml"),
        pytest.param(
            snapshot(OURS[0].upper().replace("HTTPS", "http") + "/"), seen(), id="before it had TLS"
        ),
        pytest.param(snapshot(*THEIRS, cluster_id=CLUSTER), seen(), id="all exchanged, with a manifest"),
        pytest.param(snapshot(), seen(), id="a file that lists nobody"),
        pytest.param(snapshot(*THEIRS), seen("FFF"), id="fresh hosts: a clone"),
        pytest.param(snapshot(*THEIRS), seen("WWW"), id="lost disks: nothing takes its place"),
        pytest.param(snapshot(*THEIRS), marked(seen(), Restored("ab" * 32, "placed", "aside-1")), id="begun"),
    ],
)
def test_it_may_be_restored(file: SnapshotFile, observed: Observed) -> None:
    assert against_stranger(SPEC, observed, file) == ()


@pytest.mark.parametrize(
    ("file", "observed"),
    [
        pytest.param(snapshot(*THEIRS), seen(), id="members of the same names elsewhere"),
        pytest.param(snapshot(*THEIRS), seen("DDD"), id="nobody answers, data is there"),
        pytest.param(snapshot(*THEIRS), seen("DWW"), id="one has data"),
        pytest.param(snapshot(*(url.replace("2380", "2382") for url in OURS)), seen(), id="on our own hosts"),
        pytest.param(snapshot(*THEIRS, origin="backup x of cluster prod", cluster_id="1f"), seen(), id="namesake"),
        pytest.param(snapshot(*THEIRS), marked(seen(), Restored("cd" * 32, "done", "aside-1")), id="restored before"),
    ],
)  # fmt: skip
def test_it_is_refused(file: SnapshotFile, observed: Observed) -> None:
    (reason,) = against = against_stranger(SPEC, observed, file)
    what = "another cluster of that name" if file.origin else "another cluster"
    assert reason.message.startswith(f"{file.title} is of {what}: its members are infra1 (http")
    assert "`--from-cluster prod`" in reason.hint
    assert ("`--from-cluster NAME`" in reason.hint) == (not file.origin)
    answer = plan_restore(SPEC, observed, file, "prod-fresh", "aside-1", against=against)
    assert isinstance(answer, Refusal)
    assert answer.reasons[0] == reason
    assert file.roll in answer.notes[1]


def test_what_is_said_to_be_anothers_is_planned_like_any_other() -> None:
    answer = plan_restore(SPEC, seen("DDD"), snapshot(*THEIRS), TOKEN, "aside-1")
    assert isinstance(answer, Plan), answer


def test_members_are_read_as_etcd_writes_them() -> None:
    entry = {
        "id": 2**63 + 1,
        "peerURLs": ["http://a:2380", "http://b:2380"],
        "name": "m1",
        "clientURLs": ["c"],
    }
    learner = {"id": 5, "peerURLs": ["http://d:2380"], "isLearner": True}
    values = [json.dumps(entry).encode(), json.dumps(learner).encode()]
    assert read_members(values) == (
        ListedMember(5, "", ("http://d:2380",), (), is_learner=True),
        ListedMember(2**63 + 1, "m1", ("http://a:2380", "http://b:2380"), ("c",), is_learner=False),
    )
    assert read_members([b"\xff", b"[]", b"{}", b'{"id": "x"}', b'{"id": 1, "peerURLs": 3}', b"7"]) == ()
