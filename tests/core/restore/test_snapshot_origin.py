"""Which cluster a snapshot is from, by the members that it lists.

A snapshot of this cluster is never refused. One of another cluster is refused only if data would be lost.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.members.member_list import member_list
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.marker import Restored
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.restore.restore import plan_restore
from etcdup.core.restore.snapshot_origin import read_members, refuse_foreign_snapshot
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import TOKEN, ObservedModel
from tests.support.texts import Texts

SPEC = spec_of(3, version=BASE)
OURS = tuple(SPEC.peer_url(host) for host in SPEC.hosts)
THEIRS = tuple(f"https://10.9.9.{number}:2380" for number in (1, 2, 3))


def observed_of(members: str = "HHH") -> Observed:
    """Return the observation of a cluster; `members` is as in first_states."""
    return ObservedModel(SPEC, SPEC).observed(next(first_states(tuple(members))))


def snapshot_of(*urls: str, ids: tuple[int, ...] = (), **facts: Any) -> SnapshotFile:
    """Return a snapshot of a cluster whose members have the same names as ours."""
    members = tuple(
        ListedMember(ids[at] if ids else 900 + at, f"infra{at + 1}", (url,), (), is_learner=False)
        for at, url in enumerate(urls)
    )
    return SnapshotFile("/s.db", "ab" * 32, 1 << 20, 7, "3.6.0", members=members, **facts)


def with_restored(observed: Observed, restored: Restored) -> Observed:
    hosts = {
        name: replace(host, marker=replace(host.marker, restored=restored))
        for name, host in observed.hosts.items()
        if isinstance(host, HostSeen) and host.marker is not None
    }
    return replace(observed, hosts=hosts)


def with_other_urls(observed: Observed) -> Observed:
    """Return an observation whose member list has other URLs than cluster.yaml, as during a change of addresses."""
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


IDS = tuple(each.member_id for each in member_list(observed_of()))
CLUSTER = f"{next(iter(observed_of().answering().values())).cluster_id:x}"


@pytest.mark.parametrize(
    ("file", "observed"),
    [
        pytest.param(snapshot_of(*OURS, ids=IDS), observed_of(), id="the same members"),
        pytest.param(snapshot_of(*OURS), observed_of(), id="other IDs, as after a restore"),
        pytest.param(snapshot_of(*OURS), observed_of("DDD"), id="no member answers"),
        pytest.param(
            snapshot_of(OURS[2], *THEIRS[:2]), observed_of(), id="two were replaced on other machines"
        ),
        pytest.param(snapshot_of(OURS[0]), observed_of(), id="the cluster grew from one member"),
        pytest.param(snapshot_of(*THEIRS, OURS[1]), observed_of(), id="the cluster shrank"),
        pytest.param(
            snapshot_of(*THEIRS, ids=(1, 2, IDS[1])),
            observed_of(),
            id="the last common member has moved since",
        ),
        pytest.param(
            snapshot_of(*THEIRS),
            with_other_urls(observed_of()),
            id="URLs of the member list, not of cluster.yaml",
        ),
        pytest.param(
            snapshot_of(OURS[0].upper().replace("HTTPS", "http") + "/"),
            observed_of(),
            id="before the cluster had TLS",
        ),
        pytest.param(
            snapshot_of(*THEIRS, cluster_id=CLUSTER),
            observed_of(),
            id="all members replaced, with a manifest",
        ),
        pytest.param(snapshot_of(), observed_of(), id="a file without a member list"),
        pytest.param(snapshot_of(*THEIRS), observed_of("FFF"), id="fresh hosts: a clone"),
        pytest.param(snapshot_of(*THEIRS), observed_of("WWW"), id="lost disks: no data to lose"),
        pytest.param(
            snapshot_of(*THEIRS),
            with_restored(observed_of(), Restored("ab" * 32, "placed", "aside-1")),
            id="a restore that has started",
        ),
    ],
)
def test_a_snapshot_of_this_cluster_or_without_loss_is_allowed(
    file: SnapshotFile, observed: Observed
) -> None:
    assert refuse_foreign_snapshot(SPEC, observed, file) == ()


OTHER_PORTS = tuple(url.replace("2380", "2382") for url in OURS)
NAMESAKE = snapshot_of(*THEIRS, origin="backup x of cluster prod", cluster_id="1f")
OTHER_RESTORE = Restored("cd" * 32, "done", "aside-1")


@pytest.mark.parametrize(
    ("file", "observed"),
    [
        pytest.param(snapshot_of(*THEIRS), observed_of(), id="members of the same names elsewhere"),
        pytest.param(snapshot_of(*THEIRS), observed_of("DDD"), id="no member answers"),
        pytest.param(snapshot_of(*THEIRS), observed_of("DWW"), id="one has data"),
        pytest.param(snapshot_of(*OTHER_PORTS), observed_of(), id="other ports on our own hosts"),
        pytest.param(NAMESAKE, observed_of(), id="namesake"),
        pytest.param(snapshot_of(*THEIRS), with_restored(observed_of(), OTHER_RESTORE), id="an earlier restore"),
    ],
)  # fmt: skip
def test_a_snapshot_of_another_cluster_is_refused(
    texts: Texts, file: SnapshotFile, observed: Observed
) -> None:
    (reason,) = against = refuse_foreign_snapshot(SPEC, observed, file)
    texts(reason)
    answer = plan_restore(SPEC, observed, file, "prod-fresh", "aside-1", against=against)
    assert isinstance(answer, Refusal)
    assert answer.reasons[0] == reason
    assert file.members_text in answer.notes[1]


def test_a_confirmed_snapshot_of_another_cluster_is_planned_like_any_other() -> None:
    answer = plan_restore(SPEC, observed_of("DDD"), snapshot_of(*THEIRS), TOKEN, "aside-1")
    assert isinstance(answer, Plan), answer


def test_members_are_read_as_etcd_stores_them() -> None:
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
