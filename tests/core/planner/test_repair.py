"""`maintain repair`: which member is replaced, and each reason against it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.audit.findings import MemberHash
from etcdup.core.etcd.log_messages import damage_of
from etcdup.core.members.quorum import refuse_corrupt_alarm
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import (
    CompactHistory,
    DefragmentMember,
    DisarmCorruptAlarm,
    DisarmSpaceAlarm,
)
from etcdup.core.plan.member_steps import AddLearner, RemoveMember, RestartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import HostStep
from etcdup.core.planner.guards import is_of_repair, refuse_step
from etcdup.core.planner.repair import Repair, decide_repair, plan_repair, refuse_other_changes
from etcdup.core.planner.repair_data import Evidence, same_data
from etcdup.core.spec.model import Spec
from tests.support.fake_world import TOKEN, spec_of
from tests.support.initial_states import first_states
from tests.support.observed_model import ObservedModel
from tests.support.texts import Texts

THREE, FIVE = spec_of(3), spec_of(5)
NAMES = ("infra1", "infra2", "infra3", "infra4", "infra5")


def observed_of(members: str, spec: Spec = THREE) -> Observed:
    return ObservedModel(spec, spec).observed(next(first_states(tuple(members))))


def hashes(values: str) -> tuple[MemberHash, ...]:
    """Return a hash for each letter: `?` could not be read, `+` has another compaction, `-` another revision."""
    special: Mapping[str, MemberHash] = {
        "?": MemberHash("", why="no answer within 10 s"),
        "+": MemberHash("", 1, 40, revision=57),
        "-": MemberHash("", 1, 30, revision=56),
    }
    return tuple(
        replace(special.get(letter, MemberHash("", ord(letter), 30, revision=57)), member=name)
        for name, letter in zip(NAMES, values, strict=False)
    )


def with_alarm(observed: Observed, alarm: str) -> Observed:
    members = {
        name: replace(seen, alarms=(alarm,)) if isinstance(seen, MemberSeen) else seen
        for name, seen in observed.members.items()
    }
    return replace(observed, members=members, repaired="infra2")


def named(observed: Observed, name: str) -> Observed:
    ident = next(each.member_id for each in observed.member_list if each.name == name)
    return with_alarm(observed, f"CORRUPT on member {ident:x}")


def decided(
    values: str, members: str = "HHH", damage: str = "", alarm: str = "", name: str = "infra2"
) -> str:
    """Return the kind of the repair of a member, or the message against it."""
    spec = THREE if len(members) == 3 else FIVE
    observed = observed_of(members, spec)
    observed = named(observed, alarm) if alarm else observed
    found = decide_repair(spec, name, observed, Evidence(hashes(values), damage))
    return found.kind if isinstance(found, Repair) else found[0].message


@pytest.mark.parametrize("alarm", ["", "infra2"])
@pytest.mark.parametrize(
    ("values", "members", "outcome"),
    [
        ("ABA", "HHH", "replace"),
        ("AAA", "HHH", "disarm"),
        ("AAB", "HHH", "infra3, which differs from that of infra1, infra2"),
        ("BBA", "HHH", "infra3, which differs"),
        ("ABC", "HHH", "no majority"),
        ("A?A", "HHH", "infra2 could not be compared"),
        ("AA?", "HHH", "infra3 could not be compared"),
        ("A", "HHH", "infra2 could not be compared"),
        ("A+A", "HHH", "infra2 could not be compared"),
        ("A-A", "HHH", "infra2 could not be compared"),
        ("AA+", "HHH", "compacted at different revisions"),
        ("ABAAA", "HHHHH", "replace"),
        ("ABABA", "HHHHH", "infra4, which differs"),
        ("ABACA", "HHHHH", "infra4, which differs"),
        ("ABABC", "HHHHH", "no majority"),
        ("ABBBA", "HHHHH", "infra1, which differs"),
    ],
)
def test_the_hashes_decide(values: str, members: str, outcome: str, alarm: str) -> None:
    """An alarm, which each member can raise, changes nothing for a member that answers."""
    if values == "A":
        outcome = "could not be compared"
    assert outcome in decided(values, members, alarm=alarm)


@pytest.mark.parametrize(
    ("members", "damage", "alarm", "outcome"),
    [
        ("HDH", "its database is damaged", "", "replace"),
        ("HDH", "", "infra2", "replace"),
        ("HDH", "", "", "its log does not say"),
        ("HHD", "", "", "infra3 is not healthy"),
        ("HDD", "its database is damaged", "", "are not healthy"),
    ],
)
def test_a_member_that_does_not_answer(members: str, damage: str, alarm: str, outcome: str) -> None:
    values = "".join("A" if each == "H" else "?" for each in members)
    assert outcome in decided(values, members, damage, alarm)


def test_two_voters_are_a_majority_only_if_their_data_is_the_same(texts: Texts) -> None:
    spec = spec_of(1)
    found = decide_repair(spec, "infra1", observed_of("H", spec), Evidence(hashes("A")))
    assert isinstance(found, Repair)
    assert found.kind == "disarm"
    observed = without(observed_of("HHH"), "infra3")
    same = decide_repair(THREE, "infra2", observed, Evidence(hashes("AA")))
    assert isinstance(same, Repair)
    assert same.kind == "disarm"
    other = decide_repair(THREE, "infra2", observed, Evidence(hashes("AB")))
    assert isinstance(other, tuple)
    texts(other[0])


def without(observed: Observed, name: str) -> Observed:
    """Return the observation of a cluster from which this member was removed."""
    members = {
        each: replace(seen, members=tuple(entry for entry in seen.members if entry.name != name))
        for each, seen in observed.answering().items()
        if each != name
    }
    return replace(observed, members={**members, name: MemberSilent("etcd does not run")})


def test_a_learner_must_be_a_voter_first() -> None:
    for name in ("infra2", "infra3"):
        found = decide_repair(THREE, name, observed_of("HLH"), Evidence(hashes("A?A")))
        assert isinstance(found, tuple), name


def test_a_learner_can_be_removed_during_the_alarm(texts: Texts) -> None:
    """`apply` is refused then, so a hint with it would lead back to this verb."""
    observed = with_alarm(observed_of("HHHHL", FIVE), "CORRUPT")
    texts(decide_repair(FIVE, "infra3", observed, Evidence(hashes("AABA?"))))


def test_each_refusal_has_a_command() -> None:
    for values in ("AAB", "ABC", "A?A", "AA?", "A+A", "AA+"):
        found = decide_repair(THREE, "infra2", observed_of("HHH"), Evidence(hashes(values)))
        assert isinstance(found, tuple)
        assert all("`etcdup " in each.hint for each in found)


@pytest.mark.parametrize("members", ["HDH", "HHHHD"])
def test_a_lost_member_can_be_removed_during_the_alarm(texts: Texts, members: str) -> None:
    """`member replace` is refused then, so its hint would lead back to this verb."""
    spec = THREE if len(members) == 3 else FIVE
    observed = observed_of(members, spec)
    values = "".join("A" if each == "H" else "?" for each in members)
    for seen in (observed, with_alarm(observed, "CORRUPT")):
        found = decide_repair(spec, "infra2", seen, Evidence(hashes(values)))
        assert isinstance(found, tuple)
        texts(found[0])


def test_the_only_member_that_decides_is_not_removed(texts: Texts) -> None:
    found = decide_repair(THREE, "infra2", with_alarm(observed_of("HHD"), "CORRUPT"), Evidence(hashes("AB?")))
    assert isinstance(found, tuple)
    texts(found[0])


@pytest.mark.parametrize(
    "values",
    [
        "AAB",
        "AABAA",
        "ABBAA",
        "ABC",
    ],
)
def test_a_refusal_says_which_data_is_right(texts: Texts, values: str) -> None:
    """Another name was meant, or the majority has data that no old backup has."""
    spec = THREE if len(values) == 3 else FIVE
    found = decide_repair(spec, "infra2", observed_of("H" * len(values), spec), Evidence(hashes(values)))
    assert isinstance(found, tuple)
    texts(found[0])


@pytest.mark.parametrize("alarm", ["CORRUPT", "CORRUPT on member 1f"])
def test_writes_are_accepted_again_as_soon_as_the_member_is_removed(alarm: str) -> None:
    """The alarm has no member in most versions, or the ID of a member that was removed."""
    observed = with_alarm(observed_of("HHH"), alarm)
    found = decide_repair(THREE, "infra2", observed, Evidence(hashes("ABA")))
    assert isinstance(found, Repair)
    answer = plan_repair(THREE, found, observed, TOKEN)
    assert isinstance(answer, Plan), answer
    kinds = [step.kind for step in answer.steps]
    assert kinds[:3] == ["MarkReplacement", "RemoveMember", "DisarmCorruptAlarm"]
    assert {"SetAside", "AddLearner", "JoinMember", "PromoteMember"} <= set(kinds)
    assert "differs" in answer.steps[0].reason


def test_an_alarm_that_names_a_right_member_does_not_prevent_the_repair() -> None:
    """While the leader has the wrong data, an older etcd names a follower."""
    observed = named(observed_of("HHH"), "infra3")
    answer = plan_repair(THREE, Repair("replace", "infra2", 2, "x"), observed, TOKEN)
    assert isinstance(answer, Plan), answer
    assert "DisarmCorruptAlarm" in [step.kind for step in answer.steps]


def test_an_alarm_of_a_member_that_cannot_be_compared_is_not_disarmed(texts: Texts) -> None:
    answer = plan_repair(THREE, Repair("disarm", "infra2"), named(observed_of("HHD"), "infra3"), TOKEN)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


def test_other_members_are_not_changed_at_the_same_time(texts: Texts) -> None:
    """The plan could be refused half-way, with the member removed and the alarm still active."""
    with_removal = Plan("prod", (RemoveMember(host="infra3", member_id="3", reason="x"),))
    (reason,) = refuse_other_changes(with_removal, "infra2")
    texts(reason)
    assert refuse_other_changes(with_removal, "infra3") == ()


def test_only_this_verb_may_change_a_cluster_with_the_alarm(texts: Texts) -> None:
    observed = named(observed_of("HHH"), "infra2")
    assert refuse_corrupt_alarm(observed) == ()
    texts(refuse_corrupt_alarm(replace(observed, repaired=""))[0])


@given(st.text("ABC?+-", min_size=5, max_size=5), st.sampled_from(["", *NAMES]), st.sampled_from(NAMES))
def test_a_minority_never_gets_a_right_member_replaced(values: str, alarm: str, name: str) -> None:
    """`A` is right, and each other letter is a member with wrong data, a lie or silence. Three of five are right."""
    if values.count("A") < 3:
        return
    observed = observed_of("HHHHH", FIVE)
    observed = named(observed, alarm) if alarm else observed
    found = decide_repair(FIVE, name, observed, Evidence(hashes(values)))
    if isinstance(found, Repair) and found.kind == "replace":
        assert values[NAMES.index(name)] != "A"
        assert values.count("A") == 4


def test_a_silent_member_is_in_no_majority() -> None:
    observed = observed_of("HHH")
    silent = replace(observed, members={**observed.members, "infra3": MemberSilent("no answer")})
    assert same_data(silent, hashes("AAA")) == ("infra1", "infra2")
    assert same_data(silent, hashes("ABA")) == ()
    assert same_data(observed, (*hashes("AB"), *hashes("AB"))) == (), "each voter counts once"


def other_hash(*urls: str) -> list[str]:
    """Return what etcd logs if its data differs from that of the peers at these URLs."""
    found = [
        json.dumps(
            {
                "level": "warn",
                "msg": "found different hash values from remote peer",
                "remote-peer-endpoints": [url],
            }
        )
        for url in urls
    ]
    end = "2 found data inconsistency with peers"
    return [*found, json.dumps({"level": "fatal", "msg": "discovery failed", "error": end})]


@pytest.mark.parametrize(
    ("starts", "damage"),
    [
        ([other_hash("https://1", "https://3")], "its data differs from that of other members"),
        ([other_hash("https://3", "https://3")], ""),
        ([other_hash("https://1", "https://3"), ["bind: address already in use"]], ""),
        ([["walpb: crc mismatch"], []], "its write-ahead log is corrupt"),
        (
            [['{"level":"panic","msg":"failed to open database","error":"invalid database"}']],
            "its database is damaged",
        ),
        ([["panic: freepages: failed to get all reachable pages (page 5)"]], "its database is damaged"),
        ([["invalid database"]], ""),
        ([["walpb: crc mismatch"], ["ready to serve client requests", "received signal"]], ""),
        ([["walpb: crc mismatch", "ready to serve client requests"]], ""),
        (
            [["ready to serve client requests", "panic: Page expected to be: 7, but self identifies as 0"]],
            "its database is damaged",
        ),
        ([], ""),
    ],
)
def test_the_log_says_that_the_data_is_damaged(starts: list[list[str]], damage: str) -> None:
    """One peer with other data is no proof: that peer may be the wrong one."""
    assert damage_of(starts, 2) == damage


def with_drift(members: str = "HHH") -> tuple[Spec, Observed]:
    """Return a cluster.yaml with another setting for all members, and a cluster with the alarm."""
    spec = spec_of(3, "etcd: {quota: 4GiB}\n")
    return spec, with_alarm(observed_of(members), "CORRUPT")


@pytest.mark.parametrize("kind", ["replace", "resume"])
def test_a_repair_has_only_its_own_steps(texts: Texts, kind: Literal["replace", "resume"]) -> None:
    """The alarm forbids to restart the other members for a new setting. `apply` does that afterwards."""
    spec, observed = with_drift()
    ident = next(each.member_id for each in observed.member_list if each.name == "infra2")
    if kind == "resume":
        host = observed.reachable()["infra2"]
        assert host.marker is not None
        marked = replace(host, marker=replace(host.marker, formed=False, replaces=f"{ident:x}"))
        observed = replace(observed, hosts={**observed.hosts, "infra2": marked})
    answer = plan_repair(spec, Repair(kind, "infra2", ident, "its data differs"), observed, TOKEN)
    assert isinstance(answer, Plan), answer
    assert {step.host for step in answer.steps if isinstance(step, HostStep)} == {"infra2"}
    assert "RestartMember" not in [step.kind for step in answer.steps]
    texts(answer.notes)


def test_the_alarm_forbids_all_other_steps_during_a_repair() -> None:
    _, observed = with_drift()
    for step in (
        RestartMember(host="infra1", version="3.6.14", reason=""),
        CompactHistory(revision=5, reason=""),
        DisarmSpaceAlarm(reason=""),
        DisarmCorruptAlarm(member="infra1", reason=""),
    ):
        assert is_of_repair(step, "infra2") is False
    assert refuse_step(RestartMember(host="infra1", version="3.6.14", reason=""), THREE, observed)
    assert refuse_step(DefragmentMember(host="infra1", in_use=1, reason=""), THREE, observed)
    assert is_of_repair(AddLearner(host="infra2", peer_url="x", reason=""), "infra2")
    assert is_of_repair(DisarmCorruptAlarm(member="infra2", reason=""), "infra2")
