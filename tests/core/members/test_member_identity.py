"""A member is found by its peer URL, and an edit that would replace a majority of the members is refused."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from etcdup.core.members.member_identity import refuse_new_majority, refuse_other_member, refuse_other_names
from etcdup.core.members.member_list import entry_of, stray_members, with_host_names
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import parse_version
from tests.support.texts import Texts


def file_of(*hosts: str) -> Spec:
    """Return the spec of hosts such as `infra1 1` or `infra1 1 infra_1`: name, address and name in etcd."""
    lines = ""
    for name, number, *member in map(str.split, hosts):
        more = f", member: {member[0]}" if member else ""
        lines += f"  - {{name: {name}, address: 10.0.0.{number}{more}}}\n"
    return load(f"name: prod\nversion: 3.6.14\nhosts:\n{lines}")


def listed(name: str, number: int) -> ListedMember:
    url = f"https://10.0.0.{number}"
    return ListedMember(number, name, (f"{url}:2380",), (f"{url}:2379",), is_learner=False)


def answer(*members: ListedMember) -> MemberSeen:
    return MemberSeen(
        1, 7, parse_version("3.6.14"), 1, 2, 9, 9, 4096, 4096, is_learner=False, members=members
    )


def observed(spec: Spec, *members: ListedMember) -> Observed:
    """Observe these members as ops/world/observe.py does. No host can be reached."""
    seen = with_host_names(spec, answer(*members))
    return Observed(datetime(2026, 11, 30, tzinfo=UTC), {}, {"infra1": seen}, PkiSeen("managed"))


THREE = (listed("infra1", 1), listed("infra2", 2), listed("infra3", 3))


@pytest.mark.parametrize(
    "hosts",
    [
        ("infra1 1", "infra2 2", "infra-3 3"),
        ("a 1", "b 2", "c 3"),
        ("infra2 1", "infra3 2", "infra1 3"),
        ("infra1 1", "infra2 2", "infra3 3 infra_3"),
        ("infra1 1", "other 2 infra3", "last 3 infra2"),
    ],
)
def test_no_wrong_name_removes_a_member(hosts: tuple[str, ...]) -> None:
    spec = file_of(*hosts)
    seen = observed(spec, *THREE)
    assert stray_members(spec, seen.member_list) == ()
    assert refuse_other_names(spec, seen)
    assert [each.name for each in seen.member_list] == [host.name for host in spec.hosts]


@pytest.mark.parametrize("member", ["infra_1", "Infra1", "0123", "a b", "北京"])
def test_a_name_of_etcd_belongs_to_the_host_with_its_peer_url(member: str) -> None:
    spec = load(
        f"name: prod\nversion: 3.6.14\nhosts: [{{name: infra1, address: 10.0.0.1, member: '{member}'}}]\n"
    )
    seen = observed(spec, listed(member, 1))
    assert (seen.member_list[0].name, seen.member_list[0].listed_name) == ("infra1", member)
    assert refuse_other_names(spec, seen) == ()


def test_two_members_of_one_name_belong_to_two_hosts() -> None:
    """etcd permits this: https://github.com/etcd-io/etcd/issues/5244"""
    spec = file_of("a 1 default", "b 2 x", "c 3 y")
    twins = observed(spec, listed("default", 1), listed("default", 2), listed("default", 3))
    assert [each.name for each in twins.member_list] == ["a", "b", "c"]


def test_a_host_with_another_address_is_found_by_its_name() -> None:
    spec = file_of("infra1 1 infra_1", "infra2 2", "infra3 9 infra_3")
    seen = observed(spec, listed("infra_1", 1), listed("infra2", 2), listed("infra_3", 3))
    moved = entry_of(spec, spec.host("infra3"), seen.member_list)
    assert moved is not None
    assert moved.member_id == 3
    assert refuse_other_names(spec, seen) == ()


def test_a_new_host_does_not_get_the_member_of_another_host() -> None:
    """The name of a member was given to a new host, and its own host has another name."""
    spec = file_of("infra1 1", "infra2 2", "renamed 3", "infra3 4", "infra5 5")
    seen = observed(spec, *THREE)
    assert entry_of(spec, spec.host("infra3"), seen.member_list) is None
    assert [reason.host for reason in refuse_other_names(spec, seen)] == ["renamed"]


@pytest.mark.parametrize(
    "hosts",
    [
        "infra-1 1",
        "infra1 1 infra_1",
        "other 1 infra_1",
    ],
)
def test_the_hint_has_the_line_to_write(texts: Texts, hosts: str) -> None:
    spec = file_of(hosts)
    (reason,) = refuse_other_names(spec, observed(spec, listed("infra1", 1)))
    texts(reason)


KEPT = {
    "the same hosts": ("infra1 1", "infra2 2", "infra3 3"),
    "one other host": ("infra1 1", "infra2 2", "infra4 4"),
    "two more hosts": ("infra1 1", "infra2 2", "infra3 3", "infra4 4", "infra5 5"),
    "fewer hosts": ("infra1 1",),
    "only new hosts": ("infra4 4", "infra5 5", "infra6 6"),
    "only new hosts, another number": ("infra4 4",),
}


@pytest.mark.parametrize("hosts", KEPT.values(), ids=KEPT)
def test_an_edit_that_keeps_a_majority_or_nothing_is_allowed(hosts: tuple[str, ...]) -> None:
    spec = file_of(*hosts)
    assert refuse_new_majority(spec, observed(spec, *THREE)) == ()


@pytest.mark.parametrize(
    ("hosts", "is_refused"),
    [(("infra1 1", "infra2 2", "infra6 6"), False), (("infra1 1", "infra6 6", "infra7 7"), True)],
)
def test_fewer_hosts_with_a_new_one(hosts: tuple[str, ...], *, is_refused: bool) -> None:
    five = (*THREE, listed("infra4", 4), listed("infra5", 5))
    spec = file_of(*hosts)
    assert bool(refuse_new_majority(spec, observed(spec, *five))) == is_refused


LOST = {
    "two of three": ("infra1 1", "infra4 4", "infra5 5"),
    "two of three, and two more": ("infra1 1", "infra4 4", "infra5 5", "infra6 6", "infra7 7"),
    "names without addresses": ("infra1 1", "infra2 8", "infra3 9"),
}


def test_an_edit_that_replaces_a_majority_is_refused(texts: Texts) -> None:
    for hosts in (LOST["two of three"], LOST["two of three, and two more"]):
        spec = file_of(*hosts)
        (reason,) = refuse_new_majority(spec, observed(spec, *THREE))
        texts(reason)


def test_other_addresses_of_the_same_members_are_no_new_majority() -> None:
    spec = file_of(*LOST["names without addresses"])
    assert refuse_new_majority(spec, observed(spec, *THREE)) == ()


def test_a_learner_does_not_count() -> None:
    spec = file_of("infra1 1", "infra2 2", "infra4 4")
    learner = replace(listed("infra4", 4), is_learner=True)
    assert refuse_new_majority(spec, observed(spec, *THREE, learner)) == ()


def test_another_member_at_the_new_address_is_refused() -> None:
    """A machine of a former member has the same name, and another ID."""
    spec = file_of("infra1 1", "infra2 2", "infra3 9")
    seen = observed(spec, *THREE)
    own, other = answer(*THREE), replace(answer(*THREE), member_id=77)
    moving = replace(seen, members={**seen.members, "infra3": replace(own, member_id=3)})
    assert refuse_other_member(spec, spec.host("infra3"), THREE[2], moving) == ()
    wrong = replace(seen, members={**seen.members, "infra3": other})
    (reason,) = refuse_other_member(spec, spec.host("infra3"), THREE[2], wrong)
    assert reason.host == "infra3"
