"""A marker is the word of one host. Whatever it says, no command crashes and no other host is stopped or cleared."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.host.marker import marker_text
from etcdup.core.members.bootstrap import cluster_phase
from etcdup.core.members.superseded import distrust_markers, explain_superseded, superseded_hosts
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.marker import Marker, Restored
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.parse_marker import MAX_BUMP, UnreadableMarker, parse_marker
from etcdup.core.plan.host_steps import RetireMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import Step
from etcdup.core.planner.destroy import plan_destroy
from etcdup.core.planner.guards import refuse_step
from etcdup.core.planner.planner import plan
from etcdup.core.restore.undo import plan_undo
from tests.support.fake_world import TOKEN, spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import ObservedModel
from tests.support.texts import Texts

SPEC = spec_of(3, version=BASE)
LIAR = "infra1"
HONEST = ("infra2", "infra3")
VALID: dict[str, Any] = {
    "cluster": "prod",
    "member": LIAR,
    "token": TOKEN,
    "data_dir": "/var/lib/etcd",
    "formed": True,
    "replaces": "",
    "mount": False,
    "restored": {
        "sha256": "ab" * 32,
        "stage": "done",
        "aside": "aside-20261122T120000Z",
        "bump": 1,
        "former": ["x"],
        "members": "0123456789ab",
    },
    "endpoints": ["https://192.168.8.66:2379"],
    "adopted": "waiting",
    "settings": "ab" * 32,
}
INJECTION = f'{TOKEN}"\nETCD_CLIENT_CERT_AUTH="false"\nLD_PRELOAD="/x'
HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(
        [
            INJECTION,
            "../../etc",
            "\x1b[2J",
            "$(id)",
            "a\u202eb",
            2**63,
            10**400,
            -1,
            [],
            {},
            [[]],
            "x" * 10**5,
        ]
    ),
    st.lists(st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def observed_of(members: str = "HHH") -> Observed:
    return ObservedModel(SPEC, SPEC).observed(next(first_states(tuple(members))))


def with_marker(observed: Observed, text: str) -> Observed:
    """Return the observation as observe.py makes it, if the marker of LIAR has this text."""
    try:
        seen: HostSeen | Unreachable = replace(observed.reachable()[LIAR], marker=parse_marker(text))
    except UnreadableMarker as error:
        seen = Unreachable(LIAR, str(error))
    found = replace(observed, hosts={**observed.hosts, LIAR: seen})
    return explain_superseded(SPEC, distrust_markers(SPEC, found))


def hosts_of(step: Step) -> Iterator[str]:
    yield from (getattr(step, "hosts", ()) or (getattr(step, "host", ""),))


def steps_elsewhere(answer: Plan | Refusal) -> list[Step]:
    steps = answer.steps if isinstance(answer, Plan) else ()
    return [step for step in steps if not set(hosts_of(step)) <= {LIAR, ""}]


@settings(max_examples=400, deadline=None)
@given(key=st.sampled_from(sorted(VALID)), value=HOSTILE)
def test_each_field_is_a_valid_value_or_the_marker_is_unreadable(key: str, value: Any) -> None:
    text = json.dumps(VALID | {key: value})
    try:
        marker = parse_marker(text)
    except UnreadableMarker:
        return
    assert marker_text(marker).isascii()
    assert parse_marker(marker_text(marker)) == marker


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(VALID["restored"])), value=HOSTILE)
def test_each_field_of_the_history_too(key: str, value: Any) -> None:
    text = json.dumps(VALID | {"restored": VALID["restored"] | {key: value}})
    try:
        marker = parse_marker(text)
    except UnreadableMarker:
        return
    assert marker.restored is not None
    assert 0 <= marker.restored.bump <= MAX_BUMP


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", '{"cluster": "prod"}', "x" * 70_000])
def test_a_text_that_is_no_marker_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableMarker):
        parse_marker(text)


def test_an_unknown_key_makes_the_marker_unreadable() -> None:
    for broken in (VALID | {"more": 1}, VALID | {"restored": VALID["restored"] | {"more": 1}}):
        with pytest.raises(UnreadableMarker):
            parse_marker(json.dumps(broken))


@pytest.mark.parametrize("digest", [None, 1, "ab", "0123456789AB", "0123456789abc", "0123456789ab\n", ["ab"]])
def test_the_digest_of_a_member_list_has_twelve_digits(digest: Any) -> None:
    with pytest.raises(UnreadableMarker):
        parse_marker(json.dumps(VALID | {"restored": VALID["restored"] | {"members": digest}}))


@settings(max_examples=300, deadline=None)
@given(
    members=st.sampled_from(["HHH", "HHD", "DHH", "HDD", "DDD", "UHH"]),
    key=st.sampled_from(sorted(VALID)),
    value=st.one_of(HOSTILE, st.sampled_from(["prod", "other", "prod-other", "1", True, False])),
)
def test_no_other_host_gets_a_step_that_it_would_not_get(members: str, key: str, value: Any) -> None:
    """The plan has the steps of an honest host or of one that cannot be observed, or all of it is refused."""
    before = observed_of(members)
    if LIAR not in before.reachable():
        return
    truth = json.loads(
        marker_text(before.reachable()[LIAR].marker or Marker("prod", LIAR, TOKEN, "/x", False))
    )
    gone = replace(before, hosts={**before.hosts, LIAR: Unreachable(LIAR, "no route")})
    allowed = [each.identity for seen in (before, gone) for each in steps_elsewhere(plan(SPEC, seen, TOKEN))]
    found = with_marker(before, json.dumps(truth | {key: value}))
    for step in steps_elsewhere(plan(SPEC, found, TOKEN)):
        assert step.identity in allowed, step
    plan_destroy(SPEC, found, "aside-1")
    plan_undo(SPEC, found, "aside-1")


def accusing(observed: Observed, *, other_cluster: bool = False) -> Observed:
    """Return an observation in which one marker names the token of the others as that of a former cluster."""
    lie = replace(
        observed.reachable()[LIAR].marker or Marker("prod", LIAR, TOKEN, "/var/lib/etcd", True),
        token="prod-ffffffffffff",
        restored=Restored("ab" * 32, "done", "aside-20261122T120000Z", 0, (TOKEN,)),
    )
    member = observed.members[LIAR]
    if other_cluster and not isinstance(member, MemberSilent):
        observed = replace(observed, members={**observed.members, LIAR: replace(member, cluster_id=99)})
    return with_marker(observed, marker_text(lie))


@pytest.mark.parametrize("other_cluster", [False, True])
@pytest.mark.parametrize("members", ["HHH", "HHD", "HDH", "DHH", "DHD", "DDD"])
def test_one_marker_never_clears_other_hosts(members: str, other_cluster: bool) -> None:
    """Not if etcd shows that all are one cluster, and not a healthy voter, whatever the member of the liar answers."""
    found = accusing(observed_of(members), other_cluster=other_cluster)
    answer = plan(SPEC, found, TOKEN)
    served = {name for name in HONEST if name in found.answering()}
    cleared = {each.host for each in getattr(answer, "steps", ()) if isinstance(each, RetireMember)}
    assert not cleared & served
    if not (other_cluster and LIAR in found.answering()):
        assert not cleared


def test_the_host_with_the_lie_is_reported_and_the_others_are_served(texts: Texts) -> None:
    found = accusing(observed_of())
    lost = found.hosts[LIAR]
    assert isinstance(lost, Unreachable)
    texts(lost)
    assert isinstance(plan(SPEC, found, TOKEN), Plan)


def test_a_second_witness_confirms_it() -> None:
    """The record of the operator, or the marker of a second host."""
    found = accusing(observed_of(), other_cluster=True)
    assert superseded_hosts(SPEC, found) == ()
    recorded = replace(found, superseded=frozenset({TOKEN}))
    assert superseded_hosts(SPEC, recorded) == HONEST
    second = replace(found.reachable()["infra2"], marker=found.reachable()[LIAR].marker)
    both = replace(found, hosts={**found.hosts, "infra2": second})
    assert superseded_hosts(SPEC, both) == ("infra3",)


def test_the_guard_refuses_a_planned_clearing_once_the_member_is_healthy() -> None:
    found = accusing(observed_of(), other_cluster=True)
    step = RetireMember(host="infra2", suffix="aside-1", reason="", superseded=True)
    assert refuse_step(step, SPEC, found)
    assert not refuse_step(replace(step, superseded=False), SPEC, found), "the operator named the host"
    unmarked = replace(found.reachable()["infra2"], marker=None)
    gone = replace(found, hosts={**found.hosts, "infra2": unmarked})
    assert refuse_step(replace(step, superseded=False), SPEC, gone)


def test_the_token_of_a_first_cluster_is_a_word() -> None:
    """The token of one host is written to all hosts."""
    with pytest.raises(UnreadableMarker):
        parse_marker(json.dumps(VALID | {"token": INJECTION, "formed": False}))
    found = with_marker(observed_of(), json.dumps(VALID | {"token": INJECTION}))
    assert cluster_phase(SPEC, found, "prod-fresh").token == TOKEN
